//! The events of a running call that are not in the store yet.

use std::time::Duration;

use tokio::time::Instant;

use crate::chat::event::Event;
use crate::memory::{Claim, Share};
use crate::store::calls::Batch;

use super::stored_events;

/// How long events wait to be written together, and how often replicas look for them.
pub(super) const BATCH_TIME: Duration = Duration::from_millis(250);

/// The bytes of events that are written without waiting for more.
const BATCH_BYTES: usize = 256 * 1024;

/// Events that are not in the store yet.
pub(super) struct Unwritten {
    bytes: Vec<u8>,
    /// The number of the first of them.
    first: i64,
    count: i64,
    /// When they should be written.
    pub(super) due: Option<Instant>,
    /// Whether the last attempt to write them failed.
    failed: bool,
    /// Whether the answer is too long to be kept: the others are not stored either.
    dropped: bool,
    memory: Option<Share>,
}

impl Unwritten {
    /// None yet, charged to this share.
    pub(super) fn new(memory: Option<Share>) -> Self {
        Self {
            bytes: Vec::new(),
            first: 0,
            count: 0,
            due: None,
            failed: false,
            dropped: false,
            memory,
        }
    }

    /// Adds an event.
    pub(super) fn add(&mut self, event: &Event) {
        if self.dropped {
            return;
        }
        let encoded = stored_events::encode(event, &mut self.bytes).is_ok();
        if !encoded || !self.hold() {
            return self.drop_all();
        }
        self.count += 1;
        let now = Instant::now();
        match self.bytes.len() >= BATCH_BYTES && !self.failed {
            true => self.due = Some(now),
            false => self.due = self.due.or(Some(now + BATCH_TIME)),
        }
    }

    /// Charges the bytes to the memory of kept answers.
    fn hold(&mut self) -> bool {
        let bytes = self.bytes.len();
        let memory = self.memory.as_mut();
        memory.is_none_or(|memory| memory.hold(bytes, Claim::Running).is_ok())
    }

    /// Stores no more of an answer that is too long to be kept.
    pub(super) fn drop_all(&mut self) {
        self.dropped = true;
        self.due = None;
        self.bytes = Vec::new();
        self.hold();
    }

    /// All of them, if there are any and they are to be stored.
    pub(super) fn batch(&self) -> Option<Batch> {
        (!self.dropped && self.count > 0).then(|| Batch {
            first: self.first,
            events: self.bytes.clone(),
        })
    }

    /// Records that the batch was stored.
    pub(super) fn written(&mut self) {
        self.first += self.count;
        self.count = 0;
        self.bytes.clear();
        self.due = None;
        self.failed = false;
        self.hold();
    }

    /// Records that the batch could not be stored yet.
    pub(super) fn retry(&mut self) {
        self.failed = true;
        self.due = self.due.map(|_| Instant::now() + BATCH_TIME);
    }
}
