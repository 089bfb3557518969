//! A conversation as a value to which messages are appended.

use crate::answer::Answer;
use crate::content::Contents;
use crate::v1;
use crate::v1::{Content, Message, Role, ToolCall, ToolChoice, ToolChoiceMode, tool_choice};

/// A conversation: the messages so far, and the tools that the model may call. The gateway keeps
/// nothing, so all of it is sent with each call.
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
    /// A conversation with this model, in which nothing was said yet.
    pub fn new(model: impl Into<String>) -> Self {
        Self(v1::Conversation {
            model: model.into(),
            ..v1::Conversation::default()
        })
    }

    /// Instructions for the whole conversation.
    pub fn system(&mut self, content: impl Contents) -> &mut Self {
        self.say(Role::System, content.contents())
    }

    /// What the person or program asks: a string, one part, or several.
    pub fn user(&mut self, content: impl Contents) -> &mut Self {
        self.say(Role::User, content.contents())
    }

    /// What the model is taken to have said. For its real answers there is [`append`](Self::append).
    pub fn assistant(&mut self, content: impl Contents) -> &mut Self {
        self.say(Role::Assistant, content.contents())
    }

    /// Appends what the model answered.
    pub fn append(&mut self, answer: &Answer) -> &mut Self {
        self.0.messages.push(answer.message().clone());
        self
    }

    /// Appends the result of a tool that the model called.
    pub fn tool_result(&mut self, call: &ToolCall, result: impl Into<String>) -> &mut Self {
        self.0.messages.push(Message {
            role: Role::Tool.into(),
            content: vec![Content::from(result.into())],
            tool_call_id: call.id.clone(),
            ..Message::default()
        });
        self
    }

    /// Declares a tool. [`crate::Client::run_tools`] does so by itself.
    pub fn tool(&mut self, tool: impl Into<v1::Tool>) -> &mut Self {
        self.0.tools.push(tool.into());
        self
    }

    /// Whether the model must, may or must not call a tool.
    pub fn tool_choice(&mut self, mode: ToolChoiceMode) -> &mut Self {
        let kind = Some(tool_choice::Kind::Mode(mode.into()));
        self.0.tool_choice = Some(ToolChoice { kind });
        self
    }

    /// The message that is sent.
    pub fn raw(&self) -> &v1::Conversation {
        &self.0
    }

    /// The same, to be changed.
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
