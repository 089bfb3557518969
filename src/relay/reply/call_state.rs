//! The state of one call: its stage, its deadlines, its permits, and their settlement at its end.
//!
//! It is behind a lock because a call must also end when its [`Reply`] is not polled; the lock is
//! otherwise never contended.
//!
//! [`Reply`]: super::reply::Reply

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;

use crate::chat::call::Caller;
use crate::chat::event::Event;
use crate::chat::usage::Usage;
use crate::error::{Error, Reason, Sent};
use crate::memory::CallMemory;
use crate::relay::accounts::Lease;
use crate::relay::admission::CallPermits;
use crate::relay::attempt::Attempts;
use crate::relay::call_recorder::CallRecorder;
use crate::relay::retry::silent;
use crate::telemetry::in_flight::InFlight;

use super::stage::{Stage, Times};

/// The state of one call.
pub(in crate::relay) struct CallState {
    stage: Stage,
    deadline: Instant,
    idle_timeout: Duration,
    /// The next time at which a deadline may have passed. Reset only when it fires, so that an
    /// event costs no work on the timer wheel.
    alarm: Pin<Box<Sleep>>,
    last_event: Instant,
    waker: Option<Waker>,
    /// The number of requests sent to DashScope.
    pub(in crate::relay) attempts: Attempts,
    /// The recorder of the call.
    pub(in crate::relay) recorder: Box<CallRecorder>,
    /// Whether it reads the answer of another call with its request id.
    pub(in crate::relay) joined: bool,
    /// The account, once its answer has begun.
    lease: Option<Lease>,
    /// The permits and the token reservation.
    place: Option<CallPermits>,
    /// The usage reported by the end of the call.
    usage: Option<Arc<Usage>>,
    /// The memory charged for it, until its response is read.
    pub(in crate::relay) memory: Option<CallMemory>,
}

/// A panic under the lock leaves a call that is over, not one that is inconsistent.
pub(in crate::relay) fn lock(core: &Mutex<CallState>) -> MutexGuard<'_, CallState> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CallState {
    /// A call that begins with this stage.
    pub(in crate::relay) fn new(
        stage: Stage,
        times: Times,
        attempts: Attempts,
        recorder: Box<CallRecorder>,
        place: Option<CallPermits>,
    ) -> Self {
        Self {
            stage,
            deadline: times.deadline,
            idle_timeout: times.idle_timeout,
            alarm: Box::pin(tokio::time::sleep_until(times.deadline)),
            last_event: times.arrived,
            waker: None,
            attempts,
            joined: recorder.report.joined,
            recorder,
            lease: None,
            place,
            usage: None,
            memory: None,
        }
    }

    /// Whether the call goes on for a while without its reader.
    pub(in crate::relay) fn may_be_resumed(&self) -> bool {
        matches!(&self.stage, Stage::Joined(reader) if reader.may_return())
    }

    /// The deadline of the call.
    pub(in crate::relay) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The next event. Ends the call at its deadline, after its last event, or after an error.
    pub(in crate::relay) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Event, Error>>> {
        let polled = match &mut self.stage {
            Stage::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Ready(Ok(opened)) => {
                    self.lease = Some(opened.lease);
                    self.stage = Stage::Open(opened.exchange);
                    Poll::Ready(Some(Ok(opened.first)))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                Poll::Pending => Poll::Pending,
            },
            Stage::Open(exchange) => Pin::new(exchange.as_mut()).poll_next(cx),
            Stage::Joined(reader) => {
                let polled = Pin::new(&mut *reader).poll_next(cx);
                if !self.joined && polled.is_ready() && reader.is_twin() {
                    // It was made on another replica.
                    self.joined = true;
                    self.recorder.report.joined = true;
                }
                polled
            }
            Stage::Failed(error) => {
                let error = error.clone();
                self.stage = Stage::Done;
                return Poll::Ready(Some(Err(error)));
            }
            Stage::Done => return Poll::Ready(None),
        };
        match polled {
            Poll::Ready(Some(Ok(event))) => Poll::Ready(Some(self.hand_out(event))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(error)))),
            Poll::Ready(None) => Poll::Ready(Some(Err(self.fail(silent())))),
            Poll::Pending => match self.poll_clocks(cx) {
                Poll::Ready(error) => Poll::Ready(Some(Err(self.fail(error)))),
                Poll::Pending => {
                    match &mut self.waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => self.waker = Some(cx.waker().clone()),
                    }
                    Poll::Pending
                }
            },
        }
    }

    fn hand_out(&mut self, event: Event) -> Result<Event, Error> {
        let now = Instant::now();
        // An answer that always has an event ready never reaches the check of its deadlines.
        if now >= self.deadline && !matches!(event, Event::End(_)) {
            let error = self.too_late();
            return Err(self.fail(error));
        }
        self.last_event = now;
        self.recorder.note(&event, now);
        if let Event::End(end) = &event {
            self.usage.clone_from(&end.usage);
            let tokens = end.usage.as_deref().map_or(0, Usage::tokens);
            if let Some(lease) = &self.lease {
                lease.settle(tokens, now);
            }
            if let (Some(place), Some(usage)) = (&mut self.place, &end.usage) {
                place.used(usage);
            }
            self.stage = Stage::Done;
            self.recorder.report.attempts = self.attempts.load(Ordering::Relaxed);
            self.recorder.close(None);
        }
        Ok(event)
    }

    /// Fails the call. The returned error is for the caller.
    fn fail(&mut self, error: Error) -> Error {
        let attempts = self.attempts.load(Ordering::Relaxed);
        let usage = error.usage().cloned();
        self.settle(matches!(error.sent(), Sent::No | Sent::Refused), usage);
        let error = self.described(error);
        self.stage = Stage::Done;
        self.recorder.report.attempts = attempts;
        self.recorder.close(Some(&error));
        error
    }

    /// Adds the call's data to its error.
    fn described(&self, error: Error) -> Error {
        let attempts = self.attempts.load(Ordering::Relaxed);
        let report = &self.recorder.report;
        let mut error = error.with_attempts(attempts).with_usage(self.usage.clone());
        if let Some(lease) = &self.lease {
            error = error.of_server(lease.upstream().server());
        }
        if !report.upstream_request_id.is_empty() {
            error = error.with_upstream_request_id(&report.upstream_request_id);
        }
        if report.first_event.is_some() && report.chunks == 0 {
            error = error.with_empty_answer();
        }
        match &report.answered_by {
            answered_by if answered_by.is_empty() => error,
            answered_by => error.with_model(Arc::clone(answered_by)),
        }
    }

    /// Settles an answer that is not completed: the usage reported by DashScope is charged, and
    /// unreported usage is estimated from the output. Without a first event the reservation is
    /// charged, because nothing better is known.
    fn settle(&mut self, undone: bool, usage: Option<Arc<Usage>>) {
        let usage = usage.or_else(|| self.stage.usage_so_far());
        self.usage.clone_from(&usage);
        if undone {
            if let Some(place) = &mut self.place {
                place.free();
            }
            return;
        }
        // A reader of another call's answer is not charged: that call settles.
        let begun =
            matches!(self.stage, Stage::Open(_)) && self.recorder.report.first_event.is_some();
        let usage = usage.filter(|_| !matches!(self.stage, Stage::Joined(_)));
        let counted = usage.as_ref().is_some_and(|usage| usage.tokens() > 0);
        let tokens = match &usage {
            Some(usage) if counted => usage.tokens(),
            Some(_) | None if begun => {
                self.recorder.report.usage_estimated = true;
                let tokens = self.recorder.estimated_tokens();
                u32::try_from(tokens).unwrap_or(u32::MAX)
            }
            Some(_) | None => return,
        };
        if let Some(lease) = &self.lease {
            lease.settle(tokens, Instant::now());
        }
        match (&mut self.place, &usage) {
            (Some(place), Some(usage)) if counted => place.used(usage),
            (Some(place), _) => place.estimated(u64::from(tokens)),
            (None, _) => {}
        }
    }

    /// The usage reported so far, or by the end of the call.
    pub(in crate::relay) fn usage_so_far(&self) -> Option<Arc<Usage>> {
        self.usage.clone().or_else(|| self.stage.usage_so_far())
    }

    /// Whether a deadline has passed.
    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            let mut due = self.deadline;
            if matches!(self.stage, Stage::Open(_)) {
                due = due.min(self.last_event + self.idle_timeout);
            }
            // An earlier timer is not changed: when it fires, it is set to the right time.
            if self.alarm.deadline() > due {
                self.alarm.as_mut().reset(due);
            }
            // An answer that floods consumes the task's budget, and a timer without budget never
            // fires.
            let fired = self.alarm.as_mut().poll(cx).is_ready();
            if !fired && (coop::has_budget_remaining() || Instant::now() < due) {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(self.too_late());
            }
            if now >= due {
                let limit = self.idle_timeout;
                let message = format!(
                    "DashScope sent nothing for {limit:?} in the middle of its \
                                       answer"
                );
                let error = Error::new(Reason::StreamStalled, message);
                return Poll::Ready(error.with_sent(Sent::Begun));
            }
            self.alarm.as_mut().reset(due);
        }
    }

    /// The error of a call whose deadline has passed.
    pub(in crate::relay) fn too_late(&self) -> Error {
        let sent = self.sent();
        let message = match sent {
            Sent::No => return queued(),
            Sent::Refused | Sent::Maybe => {
                "deadline exceeded before DashScope answered; set a longer deadline"
            }
            Sent::Begun => "deadline exceeded in the middle of the answer; set a longer deadline",
        };
        Error::new(Reason::DeadlineExceeded, message).with_sent(sent)
    }

    /// How far the call has come.
    fn sent(&self) -> Sent {
        let asked = self.attempts.load(Ordering::Relaxed) > 0;
        let begun = self.recorder.report.first_event.is_some();
        match (asked, begun) {
            (_, true) => Sent::Begun,
            (true, false) => Sent::Maybe,
            (false, false) => Sent::No,
        }
    }

    /// The caller whose memory it uses, while it runs.
    pub(in crate::relay) fn owner(&self) -> Option<Caller> {
        match &self.memory {
            Some(memory) if !matches!(self.stage, Stage::Done | Stage::Failed(_)) => memory.owner(),
            Some(_) | None => None,
        }
    }

    /// The entry in the list of calls in flight.
    pub(in crate::relay) fn view(&self) -> Option<InFlight> {
        if matches!(self.stage, Stage::Done | Stage::Failed(_)) {
            return None;
        }
        let report = &self.recorder.report;
        let so_far = self.usage_so_far();
        let model = match &*report.answered_by {
            "" => &report.model,
            answered_by => answered_by,
        };
        Some(InFlight {
            request_id: report.request_id.as_ref().to_owned(),
            method: report.method.to_owned(),
            model: model.to_owned(),
            caller: report.caller.as_deref().map(str::to_owned),
            age_seconds: self.recorder.arrived.elapsed().as_secs_f64(),
            state: self.stage.name().to_owned(),
            attempts: self.attempts.load(Ordering::Relaxed),
            chunks: report.chunks,
            input_tokens: so_far.as_ref().and_then(|usage| usage.input_tokens),
            output_tokens: so_far.as_ref().and_then(|usage| usage.output_tokens),
            ..InFlight::default()
        })
    }

    /// Ends a call from outside: the exchange with DashScope is closed, the permits are released
    /// and the report is written now; the caller gets the error when it reads.
    pub(in crate::relay) fn end(&mut self, error: Error) -> Error {
        let error = error.with_sent(self.sent());
        if matches!(self.stage, Stage::Done | Stage::Failed(_)) {
            self.place = None;
            return self.described(error);
        }
        let error = self.fail(error);
        self.place = None;
        self.stage = Stage::Failed(error.clone());
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        error
    }

    /// Records that the answer has no reader any more. The permits are held until the response is
    /// dropped too.
    pub(in crate::relay) fn cancel(&mut self) {
        if matches!(self.stage, Stage::Done | Stage::Failed(_)) {
            return;
        }
        let attempts = self.attempts.load(Ordering::Relaxed);
        self.settle(attempts == 0, None);
        self.stage = Stage::Done;
        self.recorder.report.attempts = attempts;
        self.recorder.cancel(self.usage.as_deref());
    }
}

/// The error of a call whose deadline passes before DashScope is called.
pub(in crate::relay) fn queued() -> Error {
    let message = "deadline exceeded before DashScope was called; set a longer deadline";
    Error::new(Reason::Queued, message)
}
