//! The answer to one call, as a stream with clocks. Dropping it closes the connection to DashScope,
//! settles what was used, and writes the report: each exactly once, at every stage.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::Stream;

use crate::chat::event::Event;
use crate::error::Error;
use crate::memory::CallMemory;

use super::attempt::Attempts;
use super::core::{Core, lock};
use super::ledger::Ledger;
use super::place::Place;
use super::stage::{Stage, Times};
use super::watch::Watched;

/// The answer to one call. A stream of events that keeps the contract of [`crate::chat::event`].
pub struct Reply {
    core: Arc<Mutex<Core>>,
    /// Goes after it.
    watched: Option<Watched<Mutex<Core>>>,
    /// Where the answer is charged.
    pub(super) memory: Option<CallMemory>,
}

/// How long a call took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From arrival to the first event.
    pub first_event: Option<Duration>,
    /// From arrival until now.
    pub total: Duration,
    /// How often DashScope was asked.
    pub attempts: u32,
}

/// What a call holds while its response is unread: the exchange with DashScope, if it still runs,
/// and the call's places. Dropping it after the [`Reply`] frees the places.
pub struct UnreadCall {
    core: Arc<Mutex<Core>>,
}

impl UnreadCall {
    /// When the call must be over.
    pub fn deadline(&self) -> Instant {
        lock(&self.core).deadline()
    }

    /// Ends the call because its deadline has passed: closes the exchange with DashScope and frees
    /// the places, now.
    pub fn too_late(self) -> Error {
        let mut core = lock(&self.core);
        let error = core.too_late();
        core.end(error)
    }

    /// The same with this error.
    pub fn end(self, error: Error) -> Error {
        lock(&self.core).end(error)
    }
}

impl std::fmt::Debug for UnreadCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnreadCall").finish_non_exhaustive()
    }
}

impl Reply {
    pub(super) fn new(
        stage: Stage,
        times: Times,
        attempts: Attempts,
        ledger: Box<Ledger>,
        place: Option<Place>,
    ) -> Self {
        let core = Core::new(stage, times, attempts, ledger, place);
        Self {
            core: Arc::new(Mutex::new(core)),
            watched: None,
            memory: None,
        }
    }

    /// Somebody watches over it.
    pub(super) fn watched(&mut self, watched: Watched<Mutex<Core>>) {
        self.watched = Some(watched);
    }

    /// What the call holds, for whoever sees whether the response is read.
    pub fn unread_call(&self) -> UnreadCall {
        UnreadCall {
            core: Arc::clone(&self.core),
        }
    }

    /// Charges the answer to the memory of its call.
    pub(super) fn charge_to(&mut self, memory: CallMemory) {
        self.lock().memory = Some(memory.clone());
        self.memory = Some(memory);
    }

    /// Ends the call with this error. The one that comes back is for its caller.
    pub fn end(&self, error: Error) -> Error {
        self.lock().end(error)
    }

    /// How long it took so far.
    pub fn timing(&self) -> Timing {
        let core = self.lock();
        Timing {
            first_event: core.ledger.report.first_event,
            total: core.ledger.arrived.elapsed(),
            attempts: core.attempts.load(Ordering::Relaxed),
        }
    }

    /// Whether this is the answer to another call of the same name.
    pub fn is_joined(&self) -> bool {
        self.lock().joined
    }

    pub(super) fn core(&self) -> &Arc<Mutex<Core>> {
        &self.core
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

impl Stream for Reply {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lock().poll(cx)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.lock().cancel();
    }
}
