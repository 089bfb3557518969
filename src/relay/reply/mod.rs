//! The answer to one call, as a stream with deadlines. Dropping it closes the connection to
//! DashScope, settles the usage, and writes the report: each exactly once, at every stage.

pub(super) mod call_state;
pub(super) mod stage;

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};

use crate::chat::answer::{Answer, AnswerBuilder};
use crate::chat::call::Call;
use crate::chat::event::Event;
use crate::error::Error;
use crate::memory::{CALL, CallMemory};

use super::admission::CallPermits;
use super::attempt::{self, AttemptContext, Attempts};
use super::call_recorder::{CallRecorder, report};
use super::idempotency::replay_log::{ReplayReader, UsageSoFar};
use super::in_flight::LiveEntry;
use super::retry::silent;
use super::upstream_span::UpstreamSpan;
use call_state::{CallState, lock};
use stage::{Stage, Times};

/// The answer to one call. A stream of events with the contract of [`crate::chat::event`].
pub struct Reply {
    core: Arc<Mutex<CallState>>,
    /// Dropped after it.
    watched: Option<LiveEntry<Mutex<CallState>>>,
    /// The memory to which the answer is charged.
    pub(super) memory: Option<CallMemory>,
}

/// The times of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From arrival to the first event.
    pub first_event: Option<Duration>,
    /// From arrival until now.
    pub total: Duration,
    /// The number of requests sent to DashScope.
    pub attempts: u32,
}

/// The resources of a call whose response is unread: the exchange with DashScope, if it still runs,
/// and the call's permits. Dropping it after the [`Reply`] releases the permits.
pub struct UnreadCall {
    core: Arc<Mutex<CallState>>,
}

impl UnreadCall {
    /// The deadline of the call.
    pub fn deadline(&self) -> Instant {
        lock(&self.core).deadline()
    }

    /// Ends the call because its deadline has passed: closes the exchange with DashScope and
    /// releases the permits immediately.
    pub fn too_late(self) -> Error {
        let mut core = lock(&self.core);
        let error = core.too_late();
        core.end(error)
    }

    /// As [`UnreadCall::too_late`], with this error.
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
        recorder: Box<CallRecorder>,
        place: Option<CallPermits>,
    ) -> Self {
        let core = CallState::new(stage, times, attempts, recorder, place);
        Self {
            core: Arc::new(Mutex::new(core)),
            watched: None,
            memory: None,
        }
    }

    /// Adds the entry in the list of calls in flight.
    pub(super) fn watched(&mut self, watched: LiveEntry<Mutex<CallState>>) {
        self.watched = Some(watched);
    }

    /// The resources of the call, for the clock that observes whether the response is read.
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

    /// Ends the call with this error. The returned error is for the caller.
    pub fn end(&self, error: Error) -> Error {
        self.lock().end(error)
    }

    /// A function that returns the usage reported so far, without keeping the call alive.
    pub(super) fn usage_so_far(&self) -> UsageSoFar {
        let core = Arc::downgrade(&self.core);
        Box::new(move || lock(&*core.upgrade()?).usage_so_far())
    }

    /// The times so far.
    pub fn timing(&self) -> Timing {
        let core = self.lock();
        Timing {
            first_event: core.recorder.report.first_event,
            total: core.recorder.arrived.elapsed(),
            attempts: core.attempts.load(Ordering::Relaxed),
        }
    }

    /// Whether this is the answer to another call with the same request id.
    pub fn is_joined(&self) -> bool {
        self.lock().joined
    }

    /// Whether the call goes on for a while without its reader, who can then resume it.
    pub fn may_be_resumed(&self) -> bool {
        self.lock().may_be_resumed()
    }

    pub(super) fn core(&self) -> &Arc<Mutex<CallState>> {
        &self.core
    }

    fn lock(&self) -> MutexGuard<'_, CallState> {
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

impl Reply {
    /// Waits for the whole answer. It stays charged to the memory of the call.
    pub async fn whole(&mut self) -> Result<Answer, Error> {
        let mut fold = AnswerBuilder::default();
        let mut held = 0;
        while let Some(event) = self.next().await {
            let event = event?;
            held += event.weight();
            if let Some(memory) = &self.memory {
                let charged = memory.answer(held.saturating_sub(CALL));
                charged.map_err(|error| self.end(error))?;
            }
            if let Some(answer) = fold.push(event) {
                return Ok(answer);
            }
        }
        Err(silent())
    }
}

/// A reply that calls DashScope itself.
pub(super) fn direct(
    asker: &Arc<AttemptContext>,
    mut call: Arc<Call>,
    times: Times,
    (place, memory): (CallPermits, &CallMemory),
) -> Reply {
    let attempts = Attempts::default();
    let asking = UpstreamSpan::begin(&asker.telemetry, &mut call);
    let report = report(&call, false);
    let recorder = CallRecorder::direct(&asker.telemetry, report, times.arrived)
        .asking(call.prompt.estimated_input_tokens())
        .traced(asking);
    let stage = opening(asker, call, times, (&attempts, memory));
    Reply::new(stage, times, attempts, recorder, Some(place))
}

/// A call that is to run on its own. Its readers have the permits and write the reports; it settles
/// the tokens, independent of which of them stay. Dropped before it has started, it costs nothing.
pub(super) struct Unstarted {
    pub(super) asker: Arc<AttemptContext>,
    pub(super) call: Arc<Call>,
    pub(super) times: Times,
    pub(super) memory: CallMemory,
    /// The reservation of the call's tokens.
    pub(super) tokens: Option<CallPermits>,
}

impl Unstarted {
    /// The events of the call, which is sent when they are polled.
    pub(super) fn start(mut self, attempts: &Attempts) -> Reply {
        let (asker, mut call) = (&self.asker, Arc::clone(&self.call));
        let asking = UpstreamSpan::begin(&asker.telemetry, &mut call);
        let report = report(&call, false);
        let recorder = CallRecorder::silent(&asker.telemetry, report, self.times.arrived)
            .asking(call.prompt.estimated_input_tokens())
            .traced(asking);
        let stage = opening(asker, call, self.times, (attempts, &self.memory));
        Reply::new(
            stage,
            self.times,
            Arc::clone(attempts),
            recorder,
            self.tokens.take(),
        )
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(tokens) = &mut self.tokens {
            tokens.free();
        }
    }
}

/// A reply that reads a call which runs on its own.
pub(super) fn joined(
    asker: &AttemptContext,
    reader: ReplayReader,
    call: &Call,
    times: Times,
    mut place: Option<CallPermits>,
) -> Reply {
    let attempts = reader.attempts();
    let twin = reader.is_twin();
    if twin {
        // The first call with the request id is charged.
        if let Some(place) = &mut place {
            place.free();
        }
    }
    let recorder = CallRecorder::joined(&asker.telemetry, report(call, twin), times.arrived);
    Reply::new(Stage::Joined(reader), times, attempts, recorder, place)
}

fn opening(
    asker: &Arc<AttemptContext>,
    call: Arc<Call>,
    times: Times,
    (attempts, memory): (&Attempts, &CallMemory),
) -> Stage {
    let (asker, attempts) = (Arc::clone(asker), Arc::clone(attempts));
    Stage::Opening(Box::pin(attempt::open(
        asker,
        call,
        times.deadline,
        (attempts, memory.clone()),
    )))
}
