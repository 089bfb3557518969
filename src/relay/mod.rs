//! Runs calls: admission, attempts, first event, stream.
//!
//! This module owns deadlines, retries, and cancellation by the caller. It forwards
//! [`Event`](crate::chat::event::Event)s as they arrive, and reads from them only what the report
//! of the call needs.

pub mod accounts;
pub mod admission;
mod attempt;
mod call_recorder;
pub mod idempotency;
mod in_flight;
pub mod live_call;
mod live_connect;
mod live_in_flight;
mod live_open;
pub mod live_turns;
mod media;
mod memory_relief;
pub mod models;
mod rate_sharing;
pub mod reply;
pub mod retry;
pub mod routes;
mod uploads;
mod upstream_span;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::callers::Identity;
use crate::callers::caller_usage::CallCost;
use crate::chat::call::{Call, Caller, Unread};
use crate::conversations::Conversations;
use crate::error::Error;
use crate::memory::{CallMemory, MemoryLedger};
use crate::telemetry::Telemetry;
use crate::telemetry::call_report::Report;
use crate::telemetry::in_flight::Calls;

use accounts::account::Account;
use accounts::shared_rates::Sharing;
use accounts::{Accounts, circuit_breaker};
use admission::{Admission, Entrance, Held, Permit};
use admission::{CallPermits, Permits};
use attempt::AttemptContext;
use call_recorder::CallRecorder;
use idempotency::Idempotency;
use in_flight::InFlightCalls;
use media::audio_limit::AudioLimits;
use models::names::ModelNames;
use reply::call_state;
use reply::stage::Times;
use reply::{Reply, Unstarted};

pub use in_flight::{shutting_down, until_shutdown};

/// The configuration of calls.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The maximum number of calls in flight.
    pub max_in_flight: usize,
    /// The maximum number of calls whose request is not completely received.
    pub max_partial_requests: usize,
    /// The maximum share of all permits of a single caller, in percent.
    pub caller_share_percent: u32,
    /// The maximum timeout of a call.
    pub max_timeout: Duration,
    /// How long DashScope may take to begin a stream.
    pub first_event_timeout: Duration,
    /// How long DashScope may pause during a stream.
    pub idle_timeout: Duration,
    /// The maximum request body, for models without a limit of their own.
    pub max_request_bytes: usize,
    /// The retry policy.
    pub retry: retry::RetryPolicy,
    /// The maximum share of retries among all calls, in percent.
    pub retry_budget_percent: u32,
    /// The mapping of models.
    pub routes: routes::RoutesConfig,
    /// The names of models in the configuration, also patterns, for lists of models.
    pub model_names: Vec<String>,
    /// The maximum number of calls in flight per model; the first pattern that matches applies.
    pub model_in_flight: Vec<(String, usize)>,
    /// The circuit breaker of failing upstreams.
    pub breaker: circuit_breaker::CircuitBreakerPolicy,
    /// How long, and how many, idempotent calls are kept.
    pub once: idempotency::IdempotencyConfig,
    /// Whether URLs of the temporary storage are rejected if they were not uploaded through this
    /// gateway.
    pub refuse_unknown_uploads: bool,
    /// Private hosts that callers may use in URLs of media.
    pub private_hosts: Vec<String>,
}

/// Runs calls at DashScope. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    inner: Arc<Inner>,
}

struct Inner {
    plan: RwLock<Arc<Plan>>,
    entrance: Entrance,
    once: Arc<Idempotency>,
    calls: InFlightCalls,
    telemetry: Arc<Telemetry>,
    memory: MemoryLedger,
}

/// Everything that may change while calls are in flight. A call keeps the plan that it began with.
struct Plan {
    settings: RelayConfig,
    asker: Arc<AttemptContext>,
    of_models: Vec<(String, Admission)>,
    /// The names of models, for lists of models.
    names: ModelNames,
}

impl Plan {
    fn new(
        settings: RelayConfig,
        (accounts, audio): (Arc<Accounts>, Arc<AudioLimits>),
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let limit = i64::try_from(settings.max_in_flight).unwrap_or(i64::MAX);
        telemetry.metrics.limit.set(limit);
        let asker = AttemptContext {
            accounts,
            routes: routes::Routes::new(settings.routes.clone()),
            retry: settings.retry,
            budget: retry::RetryBudget::new(settings.retry_budget_percent),
            first_event_timeout: settings.first_event_timeout,
            max_request_bytes: settings.max_request_bytes,
            audio,
            telemetry,
        };
        let of_models = settings.model_in_flight.iter();
        Self {
            names: ModelNames::new(&settings.model_names, &asker),
            asker: Arc::new(asker),
            of_models: of_models
                .map(|(glob, limit)| {
                    let admission = Admission::new(*limit, settings.caller_share_percent);
                    (glob.clone(), admission)
                })
                .collect(),
            settings,
        }
    }

    fn times(&self, arrived: Instant, timeout: Duration) -> Times {
        Times {
            arrived,
            deadline: arrived + timeout,
            idle_timeout: self.settings.idle_timeout,
        }
    }

    /// A permit of a model's calls, if they are limited.
    fn admit(&self, model: &str, share: Caller) -> Result<Option<Permit>, Error> {
        match self.limit_of(model) {
            Some(admission) => admission.admit(share).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the limit of a model's calls is reached.
    fn is_full(&self, model: &str) -> bool {
        self.limit_of(model).is_some_and(Admission::is_full)
    }

    fn limit_of(&self, model: &str) -> Option<&Admission> {
        let mut limits = self.of_models.iter();
        let found = limits.find(|(glob, _)| routes::matches(glob, model));
        found.map(|(_, admission)| admission)
    }
}

impl Relay {
    /// A relay to these accounts, with its telemetry and what replicas share, if there is a store.
    pub fn new(
        settings: RelayConfig,
        accounts: Vec<Account>,
        telemetry: Arc<Telemetry>,
        memory: MemoryLedger,
        stored: Option<Conversations>,
        shared: Option<Sharing>,
    ) -> Self {
        let accounts = Arc::new(Accounts::new(accounts, settings.breaker, shared));
        let entrance = Entrance::new(
            settings.max_in_flight,
            settings.max_partial_requests,
            settings.caller_share_percent,
        );
        memory.count_calls(Arc::new(entrance.all.clone()));
        let inner = Inner {
            telemetry: Arc::clone(&telemetry),
            entrance,
            once: Arc::new(Idempotency::new(settings.once, memory.clone(), stored)),
            memory,
            calls: InFlightCalls::default(),
            plan: RwLock::new(Arc::new(Plan::new(
                settings,
                (accounts, Arc::default()),
                telemetry,
            ))),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Changes configuration and accounts for later calls. The state of unchanged accounts is kept;
    /// how long idempotent calls are kept is not changed.
    pub fn reconfigure(&self, settings: RelayConfig, accounts: Vec<Account>) {
        let before = self.plan();
        let known = Arc::clone(&before.asker.accounts);
        known.replace(accounts, settings.breaker);
        self.inner.entrance.set_limits(
            settings.max_in_flight,
            settings.max_partial_requests,
            settings.caller_share_percent,
        );
        let plan = Arc::new(Plan::new(
            settings,
            (known, Arc::clone(&before.asker.audio)),
            Arc::clone(&self.inner.telemetry),
        ));
        *self
            .inner
            .plan
            .write()
            .unwrap_or_else(PoisonError::into_inner) = plan;
    }

    fn plan(&self) -> Arc<Plan> {
        let plan = self.inner.plan.read();
        Arc::clone(&plan.unwrap_or_else(PoisonError::into_inner))
    }

    /// Admits a call whose headers have arrived, before its request is read: by its caller's own
    /// limits first, then by those of the gateway. Rejects immediately.
    pub fn enter(
        &self,
        report: impl FnOnce() -> Report,
        (who, arrived): (&Identity, Instant),
    ) -> Result<Held, Error> {
        let admitted = self.try_enter(who);
        admitted.inspect_err(|error| self.refuse(report(), arrived, error))
    }

    /// The same without a report of the refusal, for a call that may not need the permits.
    pub fn try_enter(&self, who: &Identity) -> Result<Held, Error> {
        self.inner.entrance.enter(who)
    }

    /// Opens a call that arrived at this time, with the permits that were acquired for it. Nothing
    /// is sent before the reply is polled, unless the caller chose a request id: then the call runs
    /// on its own, as long as it has a reader.
    pub async fn open(
        &self,
        call: Arc<Call>,
        (held, memory): (&Held, CallMemory),
        who: &Identity,
        arrived: Instant,
    ) -> Result<Reply, Error> {
        let plan = self.plan();
        let limit = plan.asker.routes.timeout(&call.prompt.model);
        let timeout = limit.map_or(call.timeout, |limit| limit.min(call.timeout));
        let times = plan.times(arrived, timeout);
        let strict = plan.settings.refuse_unknown_uploads;
        let owned = plan.asker.accounts.check_owners(&call, strict).await;
        let admitted = owned
            .and_then(|()| in_time(times.deadline))
            .and_then(|()| self.admit(&plan, &call, held, who));
        let place = match admitted {
            Ok(place) => place,
            Err(error) => {
                self.refuse(call_recorder::report(&call, false), arrived, &error);
                return Err(error);
            }
        };
        let mut reply = if call.named {
            // Each reader keeps its own deadline; the call itself has the maximum timeout.
            let longest = plan.times(arrived, limit.unwrap_or(plan.settings.max_timeout));
            let whose = (who.share, place, &memory);
            self.join(&plan, call, (times, longest), whose)?
        } else {
            reply::direct(&plan.asker, call, times, (place, &memory))
        };
        reply.charge_to(memory);
        let entry = self.inner.calls.add(reply.core());
        reply.watched(entry);
        Ok(reply)
    }

    fn admit(
        &self,
        plan: &Plan,
        call: &Call,
        held: &Held,
        who: &Identity,
    ) -> Result<CallPermits, Error> {
        let accounts = &plan.asker.accounts;
        accounts.check_hosts(&call.prompt, &plan.settings.private_hosts)?;
        let (permit, mut pass) = self.inner.entrance.take(held, who)?;
        let model = &call.prompt.model;
        let of_model = plan.admit(model, who.share);
        let permits: Permits = (permit, of_model.inspect_err(|_| pass.refund())?);
        pass.charge(CallCost {
            model,
            tokens: call.prompt.estimated_tokens(),
            has_audio: false,
        })?;
        Ok(CallPermits::new(permits, pass))
    }

    fn join(
        &self,
        plan: &Plan,
        call: Arc<Call>,
        (times, longest): (Times, Times),
        (share, place, memory): (Caller, CallPermits, &CallMemory),
    ) -> Result<Reply, Error> {
        let asker = &plan.asker;
        let mut place = Some(place);
        let reader = idempotency::open(&self.inner.once, (&call, share), || Unstarted {
            asker: Arc::clone(asker),
            call: Arc::clone(&call),
            times: longest,
            memory: memory.clone(),
            tokens: match call.joining.unread {
                // It may have no reader that would hold them.
                Unread::Detached | Unread::AwaitsReader => place.take(),
                Unread::Ends => place.as_mut().map(CallPermits::take_tokens),
            },
        });
        match reader {
            Ok(reader) => {
                memory.answered();
                Ok(reply::joined(asker, reader, &call, times, place))
            }
            Err(error) => {
                if let Some(place) = &mut place {
                    place.failed(&error);
                }
                self.refuse(call_recorder::report(&call, false), times.arrived, &error);
                Err(error)
            }
        }
    }

    /// Reports a call that was rejected before it began.
    pub fn refuse(&self, report: Report, arrived: Instant, error: &Error) {
        CallRecorder::joined(&self.inner.telemetry, report, arrived).close(Some(error));
    }

    /// Records a call that the gateway answers by itself, with its error if it failed.
    pub fn record(&self, report: Report, arrived: Instant, error: Option<&Error>) {
        report.write_own(arrived.elapsed(), error, &self.inner.telemetry.metrics);
    }

    /// The calls in flight.
    pub fn calls(&self) -> Calls {
        self.inner.calls.view()
    }

    /// The number of calls in flight.
    pub fn in_flight(&self) -> usize {
        self.inner.entrance.all.in_flight()
    }

    /// The maximum number of calls in flight.
    pub fn limit(&self) -> usize {
        self.plan().settings.max_in_flight
    }

    /// Becomes true when all remaining calls are ended, on shutdown.
    pub fn shutdown(&self) -> watch::Receiver<bool> {
        self.inner.calls.shutdown()
    }

    /// Ends all remaining calls, on shutdown.
    pub fn shut_down(&self) {
        self.inner.calls.shut_down();
    }
}

/// Rejects a call whose deadline has passed: nothing is sent for it.
fn in_time(deadline: Instant) -> Result<(), Error> {
    match Instant::now() < deadline {
        true => Ok(()),
        false => Err(call_state::queued()),
    }
}
