//! A conversation as a value to which messages are appended.

use crate::answer::Answer;
use crate::content::Contents;
use crate::v1;
use crate::v1::{Content, Message, Role, ToolCall, ToolChoice, ToolChoiceMode, tool_choice};

/// A conversation: the messages and the tools that the model may call.
///
/// A conversation without a name is sent whole with each call. One with a
/// [name](Self::stored) is kept by a gateway with a store: its messages are the new ones only.
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
pub struct Conversation {
    raw: v1::Conversation,
    last_turn: Option<i32>,
}

impl Conversation {
    /// Creates an empty conversation with this model.
    pub fn new(model: impl Into<String>) -> Self {
        Self::from(v1::Conversation {
            model: model.into(),
            ..v1::Conversation::default()
        })
    }

    /// Creates a conversation that the gateway stores: `conversations/ID`. Its model is that of the
    /// stored conversation; [`model`](Self::model) sets another one.
    pub fn stored(name: impl Into<String>) -> Self {
        Self::from(v1::Conversation {
            name: name.into(),
            ..v1::Conversation::default()
        })
    }

    /// Sets the model.
    pub fn model(&mut self, model: impl Into<String>) -> &mut Self {
        self.raw.model = model.into();
        self
    }

    /// Returns the latest turn of a stored conversation that this object knows: that of the last
    /// answer that was appended.
    pub fn last_turn(&self) -> Option<i32> {
        self.last_turn
    }

    /// Sets the latest turn that is known; with `None`, it is not compared.
    pub fn set_last_turn(&mut self, turn: Option<i32>) -> &mut Self {
        self.last_turn = turn;
        self
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

    /// Appends an answer of the model. The messages of a stored conversation are removed, because
    /// the gateway has stored them with the answer.
    pub fn append(&mut self, answer: &Answer) -> &mut Self {
        if self.raw.name.is_empty() {
            self.raw.messages.push(answer.message().clone());
            return self;
        }
        self.raw.messages.clear();
        if let Some(used) = answer.history_used() {
            self.last_turn = Some(used.turn);
        }
        self
    }

    /// Appends the result of a tool call.
    pub fn tool_result(&mut self, call: &ToolCall, result: impl Into<String>) -> &mut Self {
        self.raw.messages.push(Message {
            role: Role::Tool.into(),
            content: vec![Content::from(result.into())],
            tool_call_id: call.id.clone(),
            ..Message::default()
        });
        self
    }

    /// Declares a tool. [`crate::Client::run_tools`] does this itself.
    pub fn tool(&mut self, tool: impl Into<v1::Tool>) -> &mut Self {
        self.raw.tools.push(tool.into());
        self
    }

    /// Sets whether the model must, may or must not call a tool.
    pub fn tool_choice(&mut self, mode: ToolChoiceMode) -> &mut Self {
        let kind = Some(tool_choice::Kind::Mode(mode.into()));
        self.raw.tool_choice = Some(ToolChoice { kind });
        self
    }

    /// Returns the message that is sent.
    pub fn raw(&self) -> &v1::Conversation {
        &self.raw
    }

    /// Returns the message that is sent. May be modified.
    pub fn raw_mut(&mut self) -> &mut v1::Conversation {
        &mut self.raw
    }

    fn say(&mut self, role: Role, content: Vec<Content>) -> &mut Self {
        self.raw.messages.push(Message {
            role: role.into(),
            content,
            ..Message::default()
        });
        self
    }
}

/// A stored conversation that the gateway returned continues after its `last_turn`.
impl From<v1::Conversation> for Conversation {
    fn from(mut raw: v1::Conversation) -> Self {
        let last_turn = (raw.last_turn > 0).then_some(raw.last_turn);
        raw.last_turn = 0;
        Self { raw, last_turn }
    }
}

impl From<&v1::Conversation> for Conversation {
    fn from(raw: &v1::Conversation) -> Self {
        Self::from(raw.clone())
    }
}

impl From<&Conversation> for Conversation {
    fn from(conversation: &Conversation) -> Self {
        conversation.clone()
    }
}

impl From<&mut Conversation> for Conversation {
    fn from(conversation: &mut Conversation) -> Self {
        conversation.clone()
    }
}

/// The message that is sent.
impl From<Conversation> for v1::Conversation {
    fn from(conversation: Conversation) -> Self {
        conversation.raw
    }
}

/// The message that is sent.
impl From<&Conversation> for v1::Conversation {
    fn from(conversation: &Conversation) -> Self {
        conversation.raw.clone()
    }
}

#[cfg(test)]
mod tests {
    use crate::headers::Headers;
    use crate::v1::HistoryUsed;

    use super::*;

    fn answer(turn: i32) -> Answer {
        let history_used = Some(HistoryUsed {
            turn,
            ..HistoryUsed::default()
        });
        let raw = v1::ConverseResponse {
            history_used,
            ..v1::ConverseResponse::default()
        };
        Answer::new(raw, Headers::new())
    }

    #[test]
    fn a_stored_conversation_keeps_new_messages_and_the_latest_turn() {
        let mut conversation = Conversation::stored("conversations/a");
        conversation.user("a").tool_choice(ToolChoiceMode::None);
        assert_eq!(conversation.last_turn(), None);
        conversation.append(&answer(7));
        assert_eq!(conversation.last_turn(), Some(7));
        assert!(conversation.raw().messages.is_empty());
        assert!(conversation.raw().tool_choice.is_some());

        let mut whole = Conversation::new("m");
        whole.user("a").append(&answer(7));
        assert_eq!(whole.raw().messages.len(), 2);
        assert_eq!(whole.last_turn(), None);
    }

    #[test]
    fn a_conversation_that_the_gateway_returned_continues_after_its_latest_turn() {
        let returned = v1::Conversation {
            name: "conversations/a".to_owned(),
            last_turn: 3,
            ..v1::Conversation::default()
        };
        let conversation = Conversation::from(&returned);
        assert_eq!(conversation.last_turn(), Some(3));
        assert_eq!(conversation.raw().last_turn, 0);
    }
}
