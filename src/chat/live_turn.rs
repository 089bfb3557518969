//! What a live session reads from a stored conversation, and what it adds to it.

use std::sync::Arc;
use std::time::Duration;

use super::message::{Body, Turn};
use super::stored::HistoryUsed;
use super::usage::Usage;

/// The maximum text of a history that a session sends: about a quarter of the context of realtime
/// models.
pub const MAX_HISTORY_BYTES: usize = 64 * 1024;

/// The maximum number of messages of it.
pub const MAX_HISTORY_MESSAGES: usize = 1024;

/// A message of a history, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpokenText {
    /// Whether the user said it.
    pub by_user: bool,
    /// The text.
    pub text: String,
}

/// The history that a session sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveHistory {
    /// The latest instructions, if the session has none of its own.
    pub instructions: Option<String>,
    /// The messages, the oldest first.
    pub messages: Vec<SpokenText>,
    /// What was sent; its turn is the latest one.
    pub used: HistoryUsed,
}

/// A turn of a session that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveTurn {
    /// Its position among the turns of the session.
    pub position: u32,
    /// The model that answered.
    pub model: Arc<str>,
    /// The new messages.
    pub messages: Vec<Turn>,
    /// The answer, as far as there is one.
    pub answer: Option<Turn>,
    /// Its usage.
    pub usage: Option<Usage>,
    /// How it ended.
    pub end: LiveTurnEnd,
    /// From the start of the response to its end.
    pub took: Duration,
}

impl LiveTurn {
    /// About the bytes of its texts.
    pub fn weight(&self) -> usize {
        let texts = |turn: &Turn| {
            let parts = turn.parts.iter().map(|part| match &part.body {
                Body::Text(text) => text.len(),
                Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => 0,
            });
            let calls = turn.tool_calls.iter().map(|call| call.arguments.len());
            parts.sum::<usize>() + calls.sum::<usize>()
        };
        self.messages.iter().chain(&self.answer).map(texts).sum()
    }
}

/// How a turn of a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveTurnEnd {
    /// It has an answer, which may have been interrupted.
    Answered,
    /// It failed, for the reason of this name.
    Failed(&'static str),
    /// The caller left.
    Cancelled,
}
