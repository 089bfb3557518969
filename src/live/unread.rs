//! The events of a session that its caller has not read.
//!
//! The end of a response that is a turn of a stored conversation is held until the turn is stored,
//! and with it later responses; other events pass.

use std::collections::VecDeque;

use super::event::LiveEvent;

/// Events that were not read, in order.
#[derive(Debug, Default)]
pub(super) struct Unread {
    entries: VecDeque<(LiveEvent, usize)>,
    bytes: usize,
}

impl Unread {
    /// The bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether one can be read.
    pub(super) fn is_readable(&self) -> bool {
        self.readable().is_some()
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: LiveEvent) {
        let bytes = event.weight();
        self.bytes += bytes;
        self.entries.push_back((event, bytes));
    }

    /// Takes the next event that can be read, with its bytes.
    pub(super) fn pop(&mut self) -> Option<(LiveEvent, usize)> {
        let index = self.readable()?;
        let (event, bytes) = self.entries.remove(index)?;
        self.bytes -= bytes;
        Some((event, bytes))
    }

    /// Removes the deltas of a response.
    pub(super) fn withdraw(&mut self, response: &str) {
        self.entries.retain(|(event, _)| {
            !matches!(
                event,
                LiveEvent::Delta { response_id, .. } if **response_id == *response
            )
        });
        self.count();
    }

    /// The next turn was stored with this number: the end of its response can be read.
    pub(super) fn stored(&mut self, number: i64) {
        if let Some(held) = self.held()
            && let Some((event, _)) = self.entries.get_mut(held)
        {
            event.stored_as(number);
        }
    }

    /// Removes what waits for a turn that will not be stored.
    pub(super) fn drop_held(&mut self) {
        if let Some(held) = self.held() {
            self.entries.truncate(held);
            self.count();
        }
    }

    fn count(&mut self) {
        self.bytes = self.entries.iter().map(|(_, bytes)| bytes).sum();
    }

    /// The first event that is held.
    fn held(&self) -> Option<usize> {
        self.entries.iter().position(|(event, _)| event.is_held())
    }

    fn readable(&self) -> Option<usize> {
        let (first, _) = self.entries.front()?;
        match first.is_held() {
            false => Some(0),
            true => {
                let passes = |(event, _): &(LiveEvent, usize)| !event.follows_responses();
                self.entries.iter().position(passes)
            }
        }
    }
}
