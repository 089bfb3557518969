//! Calls of stored conversations: which one, and which part of its history is sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The stored conversation of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredConversation {
    /// Its id.
    pub id: Arc<str>,
    /// The number of its latest turn that the caller knows, to be compared.
    pub expected_turn: Option<i64>,
    /// Which part of its history is sent.
    pub policy: HistoryPolicy,
    /// Whether the call uses the model of the conversation, because it names none.
    pub uses_model: bool,
}

/// Which part of a history is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryPolicy {
    /// The maximum number of turns.
    pub max_turns: u32,
    /// The maximum of their estimated input tokens, if limited.
    pub max_input_tokens: Option<u64>,
    /// Which media are sent.
    pub media: HistoryMedia,
}

/// Which media of a history are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistoryMedia {
    /// Those of all turns that are sent.
    All,
    /// Those of the latest turn.
    LastTurn,
    /// None.
    None,
}

/// The turn that a call made, and the history that it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryUsed {
    /// The number of the turn.
    pub turn: i64,
    /// The number of turns that were sent.
    pub turns_sent: i64,
    /// The number of turns that were left out.
    pub turns_left_out: i64,
    /// The number of media that were left out of the turns sent.
    pub media_left_out: i64,
    /// The estimated input tokens of what was sent.
    pub estimated_input_tokens: i64,
}
