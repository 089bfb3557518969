//! Stored conversations: the life of a turn, and what callers do with conversations.
//!
//! A turn is a call: it begins and ends with the record of its call in the store. This module knows
//! what a turn consists of and which part of the history is sent; who runs the call, and when, is
//! known to `relay`.

mod content;
pub mod errors;
pub mod history;
pub mod live;
pub mod management;
pub mod turn;

use std::time::Duration;

use crate::store::Store;

/// The settings of stored conversations.
#[derive(Clone, Copy, Debug)]
pub struct ConversationsConfig {
    /// How long a conversation is kept after its latest turn or update, by default.
    pub ttl: Duration,
    /// The maximum bytes of media in the messages of one turn.
    pub max_media_bytes: usize,
}

/// The stored conversations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Conversations {
    store: Store,
    config: ConversationsConfig,
}

impl Conversations {
    /// The conversations in this store.
    pub fn new(store: Store, config: ConversationsConfig) -> Self {
        Self { store, config }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
