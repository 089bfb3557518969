//! The story of one call: admit, attempt, first event, stream.
//!
//! This room owns the deadline, the retries, and what happens when a caller goes away. It passes
//! [`Event`](crate::chat::event::Event)s on as they come; it never reads what is in them beyond
//! what the report of the call needs.

pub mod admission;
mod attempt;
mod journal;
mod ledger;
pub mod once;
mod place;
pub mod reply;
pub mod retry;
pub mod routes;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_stream::Stream;

use crate::callers::Identity;
use crate::callers::account::Ask;
use crate::chat::call::Call;
use crate::chat::upload::{Upload, Uploaded};
use crate::dashscope::DashScope;
use crate::error::{Error, Reason, Sent};
use crate::telemetry::report::Report;

use admission::Admission;
use attempt::Asker;
use ledger::Ledger;
use once::Once;
use place::Place;
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
    /// A relay to this DashScope.
    pub fn new(settings: Settings, dashscope: DashScope) -> Self {
        let asker = Asker {
            dashscope,
            routes: routes::Routes::new(settings.routes.clone()),
            retry: settings.retry,
            budget: retry::Budget::new(settings.retry_budget_percent),
            first_event_timeout: settings.first_event_timeout,
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
    pub fn open(&self, call: Call, who: &Identity, arrived: Instant) -> Result<Reply, Error> {
        let permit = self.inner.admission.admit()?;
        let pass = who.admit(Ask {
            model: &call.prompt.model,
            tokens: call.prompt.estimated_tokens(),
        })?;
        let mut place = Place::new(permit, pass);
        let times = self.times(arrived, call.timeout);
        let call = Arc::new(call);
        let reply = if call.named {
            let reader = once::open(&self.inner.once, &call, |attempts| {
                // Each reader keeps its own deadline; the call itself may take as long as any.
                let times = self.times(arrived, self.inner.settings.max_timeout);
                reply::unreported(&self.inner.asker, Arc::clone(&call), times, attempts)
            })
            .inspect_err(|error| place.failed(error))?;
            reply::joined(reader, &call, times, place)
        } else {
            reply::direct(&self.inner.asker, call, times, place)
        };
        self.inner.calls.add(&reply);
        Ok(reply)
    }

    fn times(&self, arrived: Instant, timeout: Duration) -> Times {
        let idle_timeout = self.inner.settings.idle_timeout;
        Times {
            arrived,
            deadline: arrived + timeout,
            idle_timeout,
        }
    }

    /// Streams a file to temporary storage, within the time that is left.
    pub async fn upload<S>(
        &self,
        upload: Upload,
        chunks: S,
        (request_id, who): (String, &Identity),
        (arrived, timeout): (Instant, Duration),
    ) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        let permit = self.inner.admission.admit()?;
        // Files are paid for when a model reads them.
        let pass = who.admit(Ask {
            model: &upload.model,
            tokens: 0,
        })?;
        let _place = Place::new(permit, pass);
        let report = Report {
            request_id,
            caller: who.name().map(ToString::to_string).unwrap_or_default(),
            method: "UploadMedia",
            model: upload.model.clone(),
            attempts: 1,
            ..Report::default()
        };
        let mut report = Ledger::new(report, arrived);
        let upload = self.inner.asker.dashscope.upload(upload, chunks);
        let outcome = match tokio::time::timeout_at(arrived + timeout, upload).await {
            Ok(outcome) => outcome,
            Err(_) => Err(
                Error::new(Reason::DeadlineExceeded, "the upload took too long")
                    .with_sent(Sent::Maybe),
            ),
        };
        report.close(outcome.as_ref().err());
        outcome
    }

    /// How many calls are in flight now.
    pub fn in_flight(&self) -> usize {
        self.inner.admission.in_flight()
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
