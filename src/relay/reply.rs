//! The answer to one call, as a stream with clocks. Dropping it closes the connection to DashScope,
//! frees the place, and writes the report: each exactly once, at every stage.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tokio_stream::{Stream, StreamExt};

use crate::chat::answer::{Answer, Fold};
use crate::chat::event::Event;
use crate::chat::usage::Usage;
use crate::dashscope::Exchange;
use crate::error::{Error, Reason, Sent};
use crate::telemetry::calls::InFlight;
use crate::telemetry::tokens::Tokens;

use super::accounts::Lease;
use super::attempt::{self, Attempts, Opened};
use super::journal::Reader;
use super::ledger::Ledger;
use super::place::Place;
use super::watch::Watched;

/// The answer to one call. A stream of events that keeps the contract of [`crate::chat::event`].
pub struct Reply {
    core: Arc<Mutex<Core>>,
    /// Goes after it.
    watched: Option<Watched<Mutex<Core>>>,
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

/// The clocks of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When it came.
    pub(super) arrived: Instant,
    /// When it must be over.
    pub(super) deadline: Instant,
    /// How long DashScope may be silent in the middle of a stream.
    pub(super) idle_timeout: Duration,
}

/// What a reply is made of. Behind a lock because the supervisor must be able to end a call that
/// nobody polls; the lock is otherwise never contended.
pub(super) struct Core {
    stage: Stage,
    deadline: Instant,
    idle_timeout: Duration,
    /// The next moment at which a clock may have run out. Armed anew only when it fires, so that an
    /// event costs no work on the timer wheel.
    alarm: Pin<Box<Sleep>>,
    last_event: Instant,
    /// When an event was handed out that has not been followed by a poll.
    handed_out: Option<Instant>,
    waker: Option<Waker>,
    attempts: Attempts,
    ledger: Box<Ledger>,
    joined: bool,
    /// Who answers, once somebody does.
    lease: Option<Lease>,
    /// What it holds; a call that runs for others holds nothing itself.
    place: Option<Place>,
}

/// How far it has come.
pub(super) enum Stage {
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>),
    Open(Box<Exchange>),
    Joined(Reader),
    Failed(Error),
    Done,
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Opening(_) => "asking",
            Self::Open(_) => "answering",
            Self::Joined(_) => "joined",
            Self::Failed(_) | Self::Done => "ending",
        }
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
        let core = Core {
            stage,
            deadline: times.deadline,
            idle_timeout: times.idle_timeout,
            alarm: Box::pin(tokio::time::sleep_until(times.deadline)),
            last_event: times.arrived,
            handed_out: None,
            waker: None,
            attempts,
            joined: ledger.report.joined,
            ledger,
            lease: None,
            place,
        };
        Self {
            core: Arc::new(Mutex::new(core)),
            watched: None,
        }
    }

    /// Somebody watches over it.
    pub(super) fn watched(&mut self, watched: Watched<Mutex<Core>>) {
        self.watched = Some(watched);
    }

    /// Waits for the whole answer.
    pub async fn whole(&mut self) -> Result<Answer, Error> {
        let mut fold = Fold::default();
        while let Some(event) = self.next().await {
            if let Some(answer) = fold.push(event?) {
                return Ok(answer);
            }
        }
        Err(attempt::silent())
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

/// A panic under the lock leaves a call that is over, not one that is inconsistent.
pub(super) fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Reply {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lock().poll(cx)
    }
}

impl Core {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        self.handed_out = None;
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
            Stage::Joined(reader) => Pin::new(reader).poll_next(cx),
            Stage::Failed(error) => Poll::Ready(Some(Err(error.clone()))),
            Stage::Done => return Poll::Ready(None),
        };
        match polled {
            Poll::Ready(Some(Ok(event))) => Poll::Ready(Some(Ok(self.hand_out(event)))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(error)))),
            Poll::Ready(None) => Poll::Ready(Some(Err(self.fail(attempt::silent())))),
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

    fn hand_out(&mut self, event: Event) -> Event {
        let now = Instant::now();
        self.last_event = now;
        self.handed_out = Some(now);
        self.ledger.note(&event, now);
        if let Event::End(end) = &event {
            let tokens = end.usage.as_deref().map_or(0, Usage::tokens);
            if let Some(lease) = &self.lease {
                lease.settle(tokens, now);
            }
            if let (Some(place), Some(usage)) = (&mut self.place, &end.usage) {
                place.used(usage);
            }
            self.stage = Stage::Done;
            self.handed_out = None;
            self.ledger.report.attempts = self.attempts.load(Ordering::Relaxed);
            self.ledger.close(None);
        }
        event
    }

    fn fail(&mut self, error: Error) -> Error {
        self.note_usage();
        let attempts = self.attempts.load(Ordering::Relaxed);
        let error = error.with_attempts(attempts);
        if let Some(place) = &mut self.place {
            place.failed(&error);
        }
        self.stage = Stage::Done;
        self.ledger.report.attempts = attempts;
        self.ledger.close(Some(&error));
        error
    }

    /// Whether a clock has run out.
    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            let mut due = self.deadline;
            if matches!(self.stage, Stage::Open(_)) {
                due = due.min(self.last_event + self.idle_timeout);
            }
            // An earlier alarm is left as it is: it finds nothing and is set to the right time
            // then.
            if self.alarm.deadline() > due {
                self.alarm.as_mut().reset(due);
            }
            std::task::ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(self.too_late());
            }
            if now >= due {
                let limit = self.idle_timeout;
                let message = format!("DashScope fell silent for {limit:?} in its answer");
                let error = Error::new(Reason::StreamStalled, message);
                return Poll::Ready(error.with_sent(Sent::Begun));
            }
            self.alarm.as_mut().reset(due);
        }
    }

    fn too_late(&self) -> Error {
        let sent = self.sent();
        let message = match sent {
            Sent::No => {
                let message = "the deadline passed before DashScope was asked; allow more time";
                return Error::new(Reason::Queued, message);
            }
            Sent::Refused | Sent::Maybe => {
                "the deadline passed before DashScope answered; allow more time"
            }
            Sent::Begun => "the deadline passed in the middle of the answer; allow more time",
        };
        Error::new(Reason::DeadlineExceeded, message).with_sent(sent)
    }

    /// How far the call has come.
    fn sent(&self) -> Sent {
        let asked = self.attempts.load(Ordering::Relaxed) > 0;
        let begun = self.ledger.report.first_event.is_some();
        match (asked, begun) {
            (_, true) => Sent::Begun,
            (true, false) => Sent::Maybe,
            (false, false) => Sent::No,
        }
    }

    /// Notes what DashScope has counted of an answer that does not come to its end: it is billed.
    fn note_usage(&mut self) {
        if let Stage::Open(exchange) = &self.stage
            && let Some(usage) = exchange.usage_so_far()
        {
            self.ledger.report.tokens = Tokens::of(&usage);
        }
    }

    /// What an operator sees of it.
    pub(super) fn view(&self) -> Option<InFlight> {
        if matches!(self.stage, Stage::Done) {
            return None;
        }
        let report = &self.ledger.report;
        let so_far = match &self.stage {
            Stage::Open(exchange) => exchange.usage_so_far(),
            Stage::Opening(_) | Stage::Joined(_) | Stage::Failed(_) | Stage::Done => None,
        };
        let model = match &*report.answered_by {
            "" => &report.model,
            answered_by => answered_by,
        };
        Some(InFlight {
            request_id: report.request_id.as_ref().to_owned(),
            method: report.method.to_owned(),
            model: model.to_owned(),
            caller: report.caller.as_deref().map(str::to_owned),
            age_seconds: self.ledger.arrived.elapsed().as_secs_f64(),
            state: self.stage.name().to_owned(),
            attempts: self.attempts.load(Ordering::Relaxed),
            chunks: report.chunks,
            input_tokens: so_far.as_ref().and_then(|usage| usage.input_tokens),
            output_tokens: so_far.as_ref().and_then(|usage| usage.output_tokens),
            uploaded_bytes: 0,
        })
    }

    /// Ends a call from outside: the upstream is closed now, and the caller is told when it looks.
    pub(super) fn end(&mut self, error: Error) {
        if matches!(self.stage, Stage::Done | Stage::Failed(_)) {
            return;
        }
        let sent = self.sent();
        self.note_usage();
        self.stage = Stage::Failed(error.with_sent(sent));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What is wrong with a call that nobody has polled for a while, if anything.
    pub(super) fn overdue(&self, now: Instant, slow_consumer: Duration) -> Option<Error> {
        let handed_out = self.handed_out?;
        if now >= self.deadline {
            return Some(self.too_late());
        }
        (now >= handed_out + slow_consumer).then(|| {
            let message = format!("the stream was not read for {slow_consumer:?}; read it faster");
            Error::new(Reason::SlowConsumer, message)
        })
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.note_usage();
        let attempts = self.attempts.load(Ordering::Relaxed);
        self.ledger.report.attempts = attempts;
        if let Some(place) = self.place.as_mut().filter(|_| attempts == 0) {
            place.free();
        }
    }
}
