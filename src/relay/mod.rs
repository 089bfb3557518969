//! The story of one call: admit, attempt, first event, stream.
//!
//! This room owns the deadline, the retries, and what happens when a caller goes away. It passes
//! [`Event`](crate::chat::event::Event)s on as they come; it never reads what is in them beyond
//! what the report of the call needs.

pub mod account;
mod account_state;
mod accounts;
pub mod admission;
mod attempt;
mod audio_limit;
mod bucket;
mod call_recorder;
mod call_state;
pub mod circuit_breaker;
mod error_location;
pub mod idempotency;
mod in_flight;
mod live_list;
mod media_hosts;
mod memory_relief;
mod replay_cache;
mod replay_log;
pub mod reply;
pub mod retry;
pub mod routes;
mod shared_circuit;
mod stage;
mod storage_owners;
mod texts;
mod trace_content;
mod upload_progress;
mod uploads;
mod upstream_span;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::callers::Identity;
use crate::callers::account::CallCost;
use crate::chat::call::{Call, Caller};
use crate::error::Error;
use crate::memory::{CallMemory, MemoryLedger};
use crate::telemetry::Telemetry;
use crate::telemetry::in_flight::Calls;
use crate::telemetry::report::Report;

use account::Account;
use accounts::Accounts;
use admission::{Admission, Entrance, Held, Permit};
use admission::{CallPermits, Permits};
use attempt::AttemptContext;
use audio_limit::AudioLimits;
use call_recorder::CallRecorder;
use idempotency::Idempotency;
use in_flight::InFlightCalls;
use reply::Reply;
use stage::Times;

/// What the operator decides about calls.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The most calls in flight.
    pub max_in_flight: usize,
    /// The most calls whose request has not been received in full.
    pub max_partial_requests: usize,
    /// What part of all places one caller alone may take, in percent.
    pub caller_share_percent: u32,
    /// The longest that any call may take.
    pub max_timeout: Duration,
    /// How long DashScope may take to begin a stream.
    pub first_event_timeout: Duration,
    /// How long DashScope may be silent in the middle of a stream.
    pub idle_timeout: Duration,
    /// The largest request body, for models without a limit of their own.
    pub max_request_bytes: usize,
    /// When to try again.
    pub retry: retry::RetryPolicy,
    /// What part of all calls may be retries, in percent.
    pub retry_budget_percent: u32,
    /// Which model to ask.
    pub routes: routes::RoutesConfig,
    /// The most calls in flight of one model; the first pattern that fits holds.
    pub model_in_flight: Vec<(String, usize)>,
    /// When an upstream that fails is left alone.
    pub breaker: circuit_breaker::CircuitBreakerPolicy,
    /// How long and how many named calls are remembered.
    pub once: idempotency::IdempotencyConfig,
    /// Whether media in the storage are refused that were not stored through this gateway.
    pub refuse_unknown_uploads: bool,
    /// Private hosts that callers may name as the places of media.
    pub private_hosts: Vec<String>,
}

/// Takes calls to DashScope. Cheap to clone.
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

/// All that may change while calls are in flight. A call keeps the plan that it began with.
struct Plan {
    settings: RelayConfig,
    asker: Arc<AttemptContext>,
    of_models: Vec<(String, Admission)>,
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

    /// A place among the calls of a model, if they are bounded.
    fn admit(&self, model: &str, share: Caller) -> Result<Option<Permit>, Error> {
        let mut bounds = self.of_models.iter();
        match bounds.find(|(glob, _)| routes::matches(glob, model)) {
            Some((_, admission)) => admission.admit(share).map(Some),
            None => Ok(None),
        }
    }
}

impl Relay {
    /// A relay to these accounts at DashScope, that tells of its calls here.
    pub fn new(
        settings: RelayConfig,
        accounts: Vec<Account>,
        telemetry: Arc<Telemetry>,
        memory: MemoryLedger,
    ) -> Self {
        let accounts = Arc::new(Accounts::new(accounts, settings.breaker));
        let entrance = Entrance::new(
            settings.max_in_flight,
            settings.max_partial_requests,
            settings.caller_share_percent,
        );
        memory.count_calls(Arc::new(entrance.all.clone()));
        let inner = Inner {
            telemetry: Arc::clone(&telemetry),
            entrance,
            once: Arc::new(Idempotency::new(settings.once, memory.clone())),
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

    /// Takes other settings and accounts for the calls that come from now on. What was learned of
    /// accounts that stay is kept; how long named calls are remembered is not changed.
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
        let plan = self
            .inner
            .plan
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&plan)
    }

    /// Admits a call whose head has arrived, before its request is read: by its caller's own limits
    /// first, then by those of the gateway. Refuses at once.
    pub fn enter(
        &self,
        report: impl FnOnce() -> Report,
        (who, arrived): (&Identity, Instant),
    ) -> Result<Held, Error> {
        let admitted = self.inner.entrance.enter(who);
        admitted.inspect_err(|error| self.refuse(report(), arrived, error))
    }

    /// Opens a call that arrived at this moment, in the place that was held for it. Nothing is sent
    /// before the reply is polled, unless the call has a name: then it runs on its own, as long as
    /// somebody listens.
    pub fn open(
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
        let admitted = in_time(times.deadline).and_then(|()| self.admit(&plan, &call, held, who));
        let place = match admitted {
            Ok(place) => place,
            Err(error) => {
                self.refuse(call_recorder::report(&call, false), arrived, &error);
                return Err(error);
            }
        };
        let mut reply = if call.named {
            // Each reader keeps its own deadline; the call itself may take as long as any.
            let longest = plan.times(arrived, limit.unwrap_or(plan.settings.max_timeout));
            let whose = (who.share, place, &memory);
            self.join(&plan, call, (times, longest), whose)?
        } else {
            reply::direct(&plan.asker, call, times, (place, &memory))
        };
        reply.charge_to(memory);
        self.inner.calls.watch(&mut reply);
        Ok(reply)
    }

    fn admit(
        &self,
        plan: &Plan,
        call: &Call,
        held: &Held,
        who: &Identity,
    ) -> Result<CallPermits, Error> {
        let strict = plan.settings.refuse_unknown_uploads;
        let accounts = &plan.asker.accounts;
        accounts.owners.check(&call.prompt, call.caller, strict)?;
        accounts.check_hosts(&call.prompt, &plan.settings.private_hosts)?;
        let (permit, mut pass) = self.inner.entrance.take(held, who)?;
        let model = &call.prompt.model;
        let of_model = plan.admit(model, who.share);
        let permits: Permits = (permit, of_model.inspect_err(|_| pass.refund())?);
        pass.charge(CallCost {
            model,
            tokens: call.prompt.estimated_tokens(),
        })?;
        Ok(CallPermits::new(permits, pass))
    }

    fn join(
        &self,
        plan: &Plan,
        call: Arc<Call>,
        (times, longest): (Times, Times),
        (share, mut place, memory): (Caller, CallPermits, &CallMemory),
    ) -> Result<Reply, Error> {
        let asker = &plan.asker;
        let reader = idempotency::open(&self.inner.once, (&call, share), |attempts| {
            let tokens = place.take_tokens();
            reply::unreported(
                asker,
                Arc::clone(&call),
                longest,
                (attempts, memory),
                tokens,
            )
        });
        match reader {
            Ok(reader) => {
                memory.answered();
                Ok(reply::joined(asker, reader, &call, times, place))
            }
            Err(error) => {
                place.failed(&error);
                self.refuse(call_recorder::report(&call, false), times.arrived, &error);
                Err(error)
            }
        }
    }

    /// Reports a call that was refused before it could begin.
    pub fn refuse(&self, report: Report, arrived: Instant, error: &Error) {
        CallRecorder::joined(&self.inner.telemetry, report, arrived).close(Some(error));
    }

    /// The calls in flight now.
    pub fn calls(&self) -> Calls {
        self.inner.calls.view()
    }

    /// How many calls are in flight now.
    pub fn in_flight(&self) -> usize {
        self.inner.entrance.all.in_flight()
    }

    /// The most calls that may be in flight.
    pub fn limit(&self) -> usize {
        self.plan().settings.max_in_flight
    }

    /// Ends every call that is left, as the gateway goes down.
    pub fn shut_down(&self) {
        self.inner.calls.shut_down();
    }
}

/// Refuses a call whose deadline has passed already: nothing is sent for it.
fn in_time(deadline: Instant) -> Result<(), Error> {
    match Instant::now() < deadline {
        true => Ok(()),
        false => Err(call_state::queued()),
    }
}
