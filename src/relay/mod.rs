//! The story of one call: admit, attempt, first event, stream.
//!
//! This room owns the deadline, the retries, and what happens when a caller goes away. It passes
//! [`Event`](crate::chat::event::Event)s on as they come; it never reads what is in them beyond
//! what the report of the call needs.

pub mod admission;
mod asking;
mod attempt;
mod content;
mod journal;
mod ledger;
pub mod once;
mod passage;
pub mod reply;
pub mod retry;
pub mod routes;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_stream::Stream;

use crate::chat::call::Call;
use crate::chat::upload::{Upload, Uploaded};
use crate::dashscope::DashScope;
use crate::error::{Error, Reason, Sent};
use crate::telemetry::Telemetry;
use crate::telemetry::calls::Calls;
use crate::telemetry::report::Report;

use admission::{Admission, Permit};
use attempt::Asker;
use ledger::Ledger;
use once::Once;
use passage::{Counted, Passage};
use reply::{Reply, Times};
use supervisor::Supervisor;

/// What the operator decides about calls.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most calls in flight.
    pub max_in_flight: usize,
    /// The longest that any call may take.
    pub max_timeout: Duration,
    /// How long DashScope may take to begin a stream.
    pub first_event_timeout: Duration,
    /// How long DashScope may be silent in the middle of a stream.
    pub idle_timeout: Duration,
    /// How long a caller may leave an event unread.
    pub slow_consumer_timeout: Duration,
    /// When to try again.
    pub retry: retry::Policy,
    /// What part of all calls may be retries, in percent.
    pub retry_budget_percent: u32,
    /// Which model to ask.
    pub routes: routes::Settings,
    /// How long and how many named calls are remembered.
    pub once: once::Settings,
}

/// Takes calls to DashScope. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    asker: Arc<Asker>,
    admission: Admission,
    once: Arc<Once>,
    calls: Supervisor,
}

impl Relay {
    /// A relay to this DashScope, that tells of its calls here.
    pub fn new(settings: Settings, dashscope: DashScope, telemetry: Arc<Telemetry>) -> Self {
        let limit = i64::try_from(settings.max_in_flight).unwrap_or(i64::MAX);
        telemetry.metrics.limit.set(limit);
        let asker = Asker {
            dashscope,
            routes: routes::Routes::new(settings.routes.clone()),
            retry: settings.retry,
            budget: retry::Budget::new(settings.retry_budget_percent),
            first_event_timeout: settings.first_event_timeout,
            telemetry,
        };
        let inner = Inner {
            asker: Arc::new(asker),
            admission: Admission::new(settings.max_in_flight),
            once: Arc::new(Once::new(settings.once)),
            calls: Supervisor::default(),
            settings,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Opens a call that arrived at this moment. Refuses at once when the house is full. Nothing is
    /// sent before the reply is polled, unless the call has a name: then it runs on its own, as
    /// long as somebody listens.
    pub fn open(&self, call: Call, arrived: Instant) -> Result<Reply, Error> {
        let permit = match self.inner.admission.admit() {
            Ok(permit) => permit,
            Err(error) => {
                self.refuse(ledger::report(&call, false), arrived, &error);
                return Err(error);
            }
        };
        let times = self.times(arrived, call.timeout);
        let call = Arc::new(call);
        let reply = if call.named {
            self.join(call, times, permit)?
        } else {
            reply::direct(&self.inner.asker, call, times, permit)
        };
        self.inner.calls.add(&reply);
        Ok(reply)
    }

    fn join(&self, call: Arc<Call>, times: Times, permit: Permit) -> Result<Reply, Error> {
        let asker = &self.inner.asker;
        let reader = once::open(&self.inner.once, &call, |attempts| {
            // Each reader keeps its own deadline; the call itself may take as long as any.
            let times = self.times(times.arrived, self.inner.settings.max_timeout);
            reply::unreported(asker, Arc::clone(&call), times, attempts)
        });
        match reader {
            Ok(reader) => Ok(reply::joined(asker, reader, &call, times, permit)),
            Err(error) => {
                self.refuse(ledger::report(&call, false), times.arrived, &error);
                Err(error)
            }
        }
    }

    /// Reports a call that was refused before it could begin.
    pub fn refuse(&self, report: Report, arrived: Instant, error: &Error) {
        Ledger::joined(&self.inner.asker.telemetry, report, arrived).close(Some(error));
    }

    fn times(&self, arrived: Instant, timeout: Duration) -> Times {
        let idle_timeout = self.inner.settings.idle_timeout;
        Times {
            arrived,
            deadline: arrived + timeout,
            idle_timeout,
        }
    }

    /// Streams a file to temporary storage, within the time that is left. The report says whose
    /// upload it is.
    pub async fn upload<S>(
        &self,
        upload: Upload,
        chunks: S,
        mut report: Report,
        (arrived, timeout): (Instant, Duration),
    ) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        report.model.clone_from(&upload.model);
        let telemetry = &self.inner.asker.telemetry;
        let passage = Arc::new(Passage::new(&report, arrived));
        let mut ledger = Ledger::joined(telemetry, report, arrived);
        let _permit = match self.inner.admission.admit() {
            Ok(permit) => permit,
            Err(error) => {
                ledger.close(Some(&error));
                return Err(error);
            }
        };
        self.inner.calls.add_upload(&passage);
        ledger.report.attempts = 1;
        ledger.passage = Some(Arc::clone(&passage));
        let counter = telemetry.metrics.uploaded("upload_media");
        let chunks = Counted {
            chunks: Box::pin(chunks),
            passage: Arc::clone(&passage),
            count: move |bytes| counter.inc_by(bytes),
        };
        let upload = self.inner.asker.dashscope.upload(upload, chunks);
        let outcome = match tokio::time::timeout_at(arrived + timeout, upload).await {
            Ok(outcome) => outcome,
            Err(_) => Err(
                Error::new(Reason::DeadlineExceeded, "the upload took too long")
                    .with_sent(Sent::Maybe),
            ),
        };
        ledger.close(outcome.as_ref().err());
        outcome
    }

    /// The calls in flight now.
    pub fn calls(&self) -> Calls {
        self.inner.calls.view()
    }

    /// How many calls are in flight now.
    pub fn in_flight(&self) -> usize {
        self.inner.admission.in_flight()
    }

    /// The most calls that may be in flight.
    pub fn limit(&self) -> usize {
        self.inner.settings.max_in_flight
    }

    /// Watches over calls whose caller does not read, until it is dropped.
    pub async fn supervise(&self) {
        self.inner
            .calls
            .run(self.inner.settings.slow_consumer_timeout)
            .await;
    }

    /// Ends every call that is left, as the gateway goes down.
    pub fn shut_down(&self) {
        self.inner.calls.shut_down();
    }
}
