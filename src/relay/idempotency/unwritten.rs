//! The events of a call that its owner has not stored yet.

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
    /// Batches that were attempted to be written. They do not change any more: an attempt may have
    /// succeeded unnoticed, and other replicas may have read them.
    attempted: Vec<Batch>,
    attempted_bytes: usize,
    /// The events since then.
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
    /// None yet. They are charged to this memory.
    pub(super) fn new(memory: Option<Share>) -> Self {
        Self {
            attempted: Vec::new(),
            attempted_bytes: 0,
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
        let bytes = self.attempted_bytes + self.bytes.len();
        let memory = self.memory.as_mut();
        memory.is_none_or(|memory| memory.hold(bytes, Claim::Running).is_ok())
    }

    /// Stores no more of an answer that is too long to be kept.
    pub(super) fn drop_all(&mut self) {
        self.dropped = true;
        self.due = None;
        self.bytes = Vec::new();
        self.attempted = Vec::new();
        self.attempted_bytes = 0;
        self.hold();
    }

    /// All of them, to be written now.
    pub(super) fn batches(&mut self) -> &[Batch] {
        if self.count > 0 && !self.dropped {
            let events = std::mem::take(&mut self.bytes);
            self.attempted_bytes += events.len();
            self.attempted.push(Batch {
                first: self.first,
                events,
            });
            self.first += self.count;
            self.count = 0;
        }
        &self.attempted
    }

    /// What [`Unwritten::batches`] returned is in the store.
    pub(super) fn written(&mut self) {
        self.attempted.clear();
        self.attempted_bytes = 0;
        self.due = None;
        self.failed = false;
        self.hold();
    }

    /// What [`Unwritten::batches`] returned may not be in the store.
    pub(super) fn retry(&mut self) {
        self.failed = true;
        self.due = self.due.map(|_| Instant::now() + BATCH_TIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::event::Started;

    fn started() -> Event {
        Event::Started(Started::default())
    }

    #[test]
    fn a_batch_does_not_change_after_an_attempt_to_write_it() {
        let mut unwritten = Unwritten::new(None);
        let firsts = |unwritten: &mut Unwritten| -> Vec<(i64, usize)> {
            let batches = unwritten.batches().iter();
            batches
                .map(|batch| {
                    (
                        batch.first,
                        stored_events::decode(&batch.events).unwrap().len(),
                    )
                })
                .collect()
        };
        assert!(unwritten.batches().is_empty());
        unwritten.add(&started());
        unwritten.add(&started());
        assert_eq!(firsts(&mut unwritten), [(0, 2)]);
        unwritten.retry();
        unwritten.add(&started());
        assert_eq!(firsts(&mut unwritten), [(0, 2), (2, 1)]);
        unwritten.written();
        assert!(unwritten.batches().is_empty());
        unwritten.add(&started());
        assert_eq!(firsts(&mut unwritten), [(3, 1)]);
        unwritten.drop_all();
        assert!(unwritten.batches().is_empty());
    }
}
