//! The format of a job with stored conversations.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What is done with stored conversations.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StoredStep {
    /// Creates one.
    Create {
        /// Its id.
        id: Option<String>,
        /// The model.
        model: Option<String>,
        /// The labels.
        labels: Option<BTreeMap<String, String>>,
        /// The time to live.
        ttl_seconds: Option<u64>,
    },
    /// Returns one.
    Get {
        /// Its name.
        name: String,
    },
    /// Returns all.
    List {
        /// The page size.
        #[serde(default)]
        page_size: i32,
    },
    /// Changes one.
    Update {
        /// Its name.
        name: String,
        /// The model.
        model: Option<String>,
        /// The labels.
        labels: Option<BTreeMap<String, String>>,
        /// The time to live.
        ttl_seconds: Option<u64>,
    },
    /// Deletes one.
    Delete {
        /// Its name.
        name: String,
    },
    /// Returns the turns of one.
    Turns {
        /// Its name.
        name: String,
        /// Whether the latest turn is the first.
        #[serde(default)]
        newest_first: bool,
        /// Whether media are returned as bytes.
        #[serde(default)]
        include_media: bool,
        /// The page size.
        #[serde(default)]
        page_size: i32,
    },
    /// Deletes a turn.
    DeleteTurn {
        /// Its name.
        name: String,
    },
    /// Copies one.
    Fork {
        /// Its name.
        name: String,
        /// The last turn that is copied.
        last_turn: Option<i32>,
        /// The id of the copy.
        id: Option<String>,
    },
    /// Cancels the turn that is running.
    CancelTurn {
        /// The name of the conversation.
        name: String,
        /// The request id of the turn.
        request_id: Option<String>,
    },
    /// One unary call.
    Converse {
        /// `dashgate.v1.Conversation`.
        conversation: Value,
        /// The latest turn that is known.
        expected_turn: Option<i32>,
        /// `dashgate.v1.HistoryPolicy`.
        history: Option<Value>,
    },
}
