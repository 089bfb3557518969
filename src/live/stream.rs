//! The stream of a session's events, as one call of its caller reads it.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;
use tokio_stream::Stream;

use crate::error::Error;

use super::event::{LiveEvent, SessionStarted};
use super::journal::Read;
use super::registry::Entry;
use super::stop::Stop;

/// An event with its sequence number.
pub type Item = (i32, LiveEvent);

/// The events of a session. Dropping it leaves the session, which can be resumed for a while.
pub struct EventStream {
    entry: Arc<Entry>,
    reader: u64,
    deadline: Instant,
    /// The number of the last event that was received before, if the stream resumes.
    resumed_after: Option<i32>,
    is_over: bool,
}

/// Ends a session from outside of its stream.
#[derive(Clone, Debug)]
pub struct Handle {
    entry: Arc<Entry>,
    /// The deadline of the call.
    pub deadline: Instant,
}

impl EventStream {
    pub(super) fn new(
        entry: Arc<Entry>,
        reader: u64,
        deadline: Instant,
        resumed_after: Option<i32>,
    ) -> Self {
        Self {
            entry,
            reader,
            deadline,
            resumed_after,
            is_over: false,
        }
    }

    /// The handle of the session.
    pub fn handle(&self) -> Handle {
        Handle {
            entry: Arc::clone(&self.entry),
            deadline: self.deadline,
        }
    }

    fn started(&self) -> Option<SessionStarted> {
        let started = self.entry.started.lock();
        let started = started.unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(SessionStarted {
            resumed: true,
            ..started
        })
    }
}

impl Handle {
    /// Ends the session with this error.
    pub fn end(&self, error: Error) {
        self.entry.stop.send_replace(Stop::Now(error));
    }
}

impl Stream for EventStream {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(last) = self.resumed_after.take()
            && let Some(started) = self.started()
        {
            return Poll::Ready(Some(Ok((last, LiveEvent::Started(Box::new(started))))));
        }
        let read = std::task::ready!(self.entry.journal.poll_read(self.reader, cx));
        Poll::Ready(match read {
            Read::Event(sequence, event) => {
                if let LiveEvent::Started(started) = &event {
                    let kept = self.entry.started.lock();
                    *kept.unwrap_or_else(PoisonError::into_inner) = Some((**started).clone());
                }
                Some(Ok((sequence, event)))
            }
            Read::End(outcome) => {
                self.is_over = true;
                outcome.err().map(Err)
            }
        })
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.entry.journal.detach(self.reader);
    }
}
