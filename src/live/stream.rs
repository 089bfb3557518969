//! The stream of a session's events, as one call of its caller reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tokio_stream::Stream;

use crate::error::Error;
use crate::secret::Secret;

use super::event::{LiveEvent, SessionStarted};
use super::resumable_sessions::Entry;
use super::resume_journal::Read;
use super::stop::Stop;

/// An event with its sequence number.
pub type Item = (i32, LiveEvent);

/// The events of a session. Dropping it leaves the session, which can be resumed for a while.
pub struct EventStream {
    entry: Arc<Entry>,
    reader: u64,
    deadline: Instant,
    /// The token of the session, for its caller.
    token: Secret,
    /// Whether the stream resumes the session.
    is_resumed: bool,
    /// The number of the last event that was received before, until the stream has reported that it
    /// resumes.
    resumed_after: Option<i32>,
    is_over: bool,
}

/// Ends a session from outside of its stream, while that stream reads it.
#[derive(Clone, Debug)]
pub struct Handle {
    entry: Arc<Entry>,
    reader: u64,
    /// The deadline of the call.
    pub deadline: Instant,
}

impl EventStream {
    /// A stream of a new session.
    pub(super) fn new(entry: Arc<Entry>, reader: u64, deadline: Instant, token: Secret) -> Self {
        Self {
            entry,
            reader,
            deadline,
            token,
            is_resumed: false,
            resumed_after: None,
            is_over: false,
        }
    }

    /// The stream resumes its session after this event.
    pub(super) fn resumed(mut self, last_sequence: i32) -> Self {
        self.is_resumed = true;
        // Who received nothing gets the first report of the start.
        self.resumed_after = Some(last_sequence).filter(|last| *last > 0);
        self
    }

    /// The handle of the session.
    pub fn handle(&self) -> Handle {
        Handle {
            entry: Arc::clone(&self.entry),
            reader: self.reader,
            deadline: self.deadline,
        }
    }

    /// The start of the session, as this stream reports it.
    fn started(&self, started: &SessionStarted) -> LiveEvent {
        LiveEvent::Started(Box::new(SessionStarted {
            resume_token: self.token.clone(),
            resumed: self.is_resumed,
            ..started.clone()
        }))
    }
}

impl Handle {
    /// Ends the session with this error, unless another stream has taken its place.
    pub fn end(&self, error: Error) {
        if self.entry.journal.is_read_by(self.reader) {
            self.entry.stop(Stop::Now(error));
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(last) = self.resumed_after.take()
            && let Some(started) = self.entry.started.get()
        {
            return Poll::Ready(Some(Ok((last, self.started(started)))));
        }
        let read = std::task::ready!(self.entry.journal.poll_read(self.reader, cx));
        Poll::Ready(match read {
            Read::Event(sequence, LiveEvent::Started(started)) => {
                Some(Ok((sequence, self.started(&started))))
            }
            Read::Event(sequence, event) => Some(Ok((sequence, event))),
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
