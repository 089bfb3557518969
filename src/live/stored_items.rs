//! What the caller of a session adds to a stored conversation, before it becomes messages.

use crate::chat::message::{Body, Part, Role, Turn};

/// The maximum number of items of the caller in one turn. The oldest items go first.
pub(super) const MAX_ITEMS: usize = 256;

/// The maximum bytes of text of each side of a turn: more than the context of a realtime model
/// holds.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// What the caller adds to the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Text.
    Text(String),
    /// An image.
    Image,
    /// Speech, by the id of its item.
    Speech { id: String, words: Words },
    /// The result of a tool call.
    Result { call_id: String, output: String },
}

/// The words of speech.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// They may come.
    Awaited,
    /// They do not come.
    Unknown,
    /// They are complete.
    Said(String),
}

impl Item {
    /// The bytes of its texts.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Speech { id, words } => {
                id.len()
                    + match words {
                        Words::Said(text) => text.len(),
                        Words::Awaited | Words::Unknown => 0,
                    }
            }
            Self::Result { call_id, output } => call_id.len() + output.len(),
            Self::Image => 0,
        }
    }

    /// Whether its words may still come.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self, Self::Speech { words, .. } if *words == Words::Awaited)
    }

    /// The words of the speech with this id; without an id, of the first that is awaited.
    pub(super) fn words_of(&mut self, item_id: &str) -> Option<&mut Words> {
        match self {
            Self::Speech { id, words } => {
                let is_meant = match item_id {
                    "" => *words == Words::Awaited,
                    item_id => id == item_id,
                };
                is_meant.then_some(words)
            }
            Self::Text(_) | Self::Image | Self::Result { .. } => None,
        }
    }
}

/// The messages of a turn. What the caller said in a row is one message.
pub(super) fn messages(instructions: Option<String>, items: Vec<Item>) -> Vec<Turn> {
    let mut messages = Vec::new();
    if let Some(text) = instructions {
        messages.push(with_text(Role::System, text));
    }
    for item in items {
        let text = match item {
            Item::Result { call_id, output } => {
                let mut result = with_text(Role::Tool, output);
                result.tool_call_id = call_id;
                messages.push(result);
                continue;
            }
            Item::Speech {
                words: Words::Said(text),
                ..
            } if !text.is_empty() => text,
            Item::Text(text) => text,
            // As in a history whose media are left out.
            Item::Speech { .. } => "[audio]".to_owned(),
            Item::Image => "[image]".to_owned(),
        };
        match messages.last_mut() {
            Some(last) if last.role == Role::User => {
                last.parts.push(Part::from(Body::Text(text)));
            }
            Some(_) | None => messages.push(with_text(Role::User, text)),
        }
    }
    messages
}

fn with_text(role: Role, text: String) -> Turn {
    let mut message = Turn::new(role);
    message.parts.push(Part::from(Body::Text(text)));
    message
}

/// A text of at most [`MAX_BYTES`].
pub(super) fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}
