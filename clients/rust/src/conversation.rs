//! A conversation as a value to which messages are appended.

use crate::answer::Answer;
use crate::content::Contents;
use crate::v1;
use crate::v1::{Content, Message, Role, ToolCall, ToolChoice, ToolChoiceMode, tool_choice};

/// A conversation: the messages and the tools that the model may call. The gateway stores no
/// conversations: each call sends all of it.
///
/// ```
/// use dashgate_client::{Conversation, Media, text, v1};
///
/// let mut conversation = Conversation::new("qwen3-vl-plus");
/// conversation.system("Answer in one sentence.");
/// conversation.user("Good morning!");
/// assert_eq!(conversation.raw().messages.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation(v1::Conversation);

impl Conversation {
    /// Creates an empty conversation with this model.
    pub fn new(model: impl Into<String>) -> Self {
        Self(v1::Conversation {
            model: model.into(),
            ..v1::Conversation::default()
        })
    }

    /// Appends a system message: instructions for the whole conversation.
    pub fn system(&mut self, content: impl Contents) -> &mut Self {
        self.say(Role::System, content.contents())
    }

    /// Appends a user message: a string, one part, or several.
    pub fn user(&mut self, content: impl Contents) -> &mut Self {
        self.say(Role::User, content.contents())
    }

    /// Appends an assistant message, for example as a sample. For answers of the model use
    /// [`append`](Self::append).
    pub fn assistant(&mut self, content: impl Contents) -> &mut Self {
        self.say(Role::Assistant, content.contents())
    }

    /// Appends an answer of the model.
    pub fn append(&mut self, answer: &Answer) -> &mut Self {
        self.0.messages.push(answer.message().clone());
        self
    }

    /// Appends the result of a tool call.
    pub fn tool_result(&mut self, call: &ToolCall, result: impl Into<String>) -> &mut Self {
        self.0.messages.push(Message {
            role: Role::Tool.into(),
            content: vec![Content::from(result.into())],
            tool_call_id: call.id.clone(),
            ..Message::default()
        });
        self
    }

    /// Declares a tool. [`crate::Client::run_tools`] does this itself.
    pub fn tool(&mut self, tool: impl Into<v1::Tool>) -> &mut Self {
        self.0.tools.push(tool.into());
        self
    }

    /// Sets whether the model must, may or must not call a tool.
    pub fn tool_choice(&mut self, mode: ToolChoiceMode) -> &mut Self {
        let kind = Some(tool_choice::Kind::Mode(mode.into()));
        self.0.tool_choice = Some(ToolChoice { kind });
        self
    }

    /// Returns the message that is sent.
    pub fn raw(&self) -> &v1::Conversation {
        &self.0
    }

    /// Returns the message that is sent. May be modified.
    pub fn raw_mut(&mut self) -> &mut v1::Conversation {
        &mut self.0
    }

    fn say(&mut self, role: Role, content: Vec<Content>) -> &mut Self {
        self.0.messages.push(Message {
            role: role.into(),
            content,
            ..Message::default()
        });
        self
    }
}

impl From<v1::Conversation> for Conversation {
    fn from(raw: v1::Conversation) -> Self {
        Self(raw)
    }
}

impl From<Conversation> for v1::Conversation {
    fn from(conversation: Conversation) -> Self {
        conversation.0
    }
}

impl From<&Conversation> for v1::Conversation {
    fn from(conversation: &Conversation) -> Self {
        conversation.0.clone()
    }
}
