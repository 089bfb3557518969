//! Turns of conversations, as values.

use std::sync::Arc;

use bytes::Bytes;

pub use super::media::Digest;

/// A turn that is to begin.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// The conversation.
    pub conversation: Arc<str>,
    /// The number of the latest turn, if it is to be compared.
    pub expected: Option<i64>,
    /// The model.
    pub model: Arc<str>,
    /// The new messages.
    pub messages: StoredContent,
    /// Whether some of them are instructions.
    pub has_system: bool,
}

/// Messages as bytes, and their media.
#[derive(Clone, Debug, Default)]
pub struct StoredContent {
    /// The messages.
    pub bytes: Vec<u8>,
    /// The media that they refer to, by digest and sorted by it.
    pub media: Vec<(Digest, Bytes)>,
    /// The bytes of the media, each as often as it is referred to: so often it is sent.
    pub media_bytes: usize,
    /// The estimated tokens.
    pub tokens: i64,
}

impl StoredContent {
    /// The number of bytes of the messages.
    pub(super) fn byte_count(&self) -> i64 {
        count(self.bytes.len())
    }

    /// The number of bytes of the media, as they are sent.
    pub(super) fn media_byte_count(&self) -> i64 {
        count(self.media_bytes)
    }
}

fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX / 4)
}

/// A turn that this replica runs.
#[derive(Clone, Debug)]
pub struct OwnedTurn {
    /// The conversation.
    pub conversation: Arc<str>,
    /// Its number.
    pub number: i64,
    /// The number of turns of the history before it.
    pub turns_before: i64,
    /// The latest turn of the history with instructions; 0: none.
    pub system_turn: i64,
}

/// The answer of a turn.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The message.
    pub message: StoredContent,
    /// The usage.
    pub usage: Vec<u8>,
}

/// Why a call cannot be the next turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such conversation.
    NotFound,
    /// The call with this request id is a turn that runs.
    Busy(String),
    /// Another turn than expected is the latest.
    Stale(i64),
    /// The conversation has had fewer turns than the expected one.
    Regressed(i64),
    /// The conversation has too many turns.
    TooLong,
}

/// How a turn ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// It failed, for the reason of this name.
    Failed(&'static str),
    /// It was cancelled.
    Cancelled,
}

/// Why this replica does not own a turn any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The turn or its conversation was deleted.
    Deleted,
    /// The turn was cancelled.
    Cancelled,
    /// Its lease ended.
    Lease,
}
