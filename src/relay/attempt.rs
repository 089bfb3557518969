//! Runs an admitted call up to the first event of its answer: the candidate models, and the
//! attempts at each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::StreamExt;

use crate::chat::call::{Call, Delivery};
use crate::chat::event::Event;
use crate::chat::warning::Warning;
use crate::error::{Error, Reason};
use crate::memory::CallMemory;
use crate::telemetry::Telemetry;
use crate::upstream::{Exchange, Prepared, RequestTarget, Stored};

use super::accounts::choice::Choice;
use super::accounts::{Accounts, Lease, Subject};
use super::media::audio_limit::AudioLimits;
use super::media::error_location;
use super::retry::{self, Verdict, is_of_account, late, silent, whose_key};
use super::routes::{self, Routes};

/// The number of requests sent to DashScope, shared with the call's report.
pub(super) type Attempts = Arc<AtomicU32>;

/// The context of attempts.
pub(super) struct AttemptContext {
    /// The accounts.
    pub(super) accounts: Arc<Accounts>,
    /// The mapping of models.
    pub(super) routes: Routes,
    /// The retry policy.
    pub(super) retry: retry::RetryPolicy,
    /// The retry budget of all calls.
    pub(super) budget: retry::RetryBudget,
    /// How long DashScope may take to begin a stream.
    pub(super) first_event_timeout: Duration,
    /// The maximum request body, for models without a limit of their own.
    pub(super) max_request_bytes: usize,
    /// The durations of uploaded audio.
    pub(super) audio: Arc<AudioLimits>,
    /// The telemetry of attempts.
    pub(super) telemetry: Arc<Telemetry>,
}

/// The delivery of a request, and its deadlines.
#[derive(Clone, Copy)]
struct Ask {
    delivery: Delivery,
    deadline: Instant,
    first_event_timeout: Duration,
    /// The maximum request body of the model, if it has one of its own.
    max_request_bytes: Option<usize>,
}

impl Ask {
    fn of(asker: &AttemptContext, call: &Call, model: &str, deadline: Instant) -> Self {
        let routes = &asker.routes;
        let limit = routes.first_event_timeout(model);
        let max_request_bytes = routes.max_request_bytes(model);
        Self {
            delivery: routes.delivery(model, call.caller, call.delivery),
            deadline,
            first_event_timeout: limit.unwrap_or(asker.first_event_timeout),
            max_request_bytes,
        }
    }
}

/// An answer that has begun.
pub(super) struct Opened {
    /// The account.
    pub(super) lease: Lease,
    /// The rest of the answer.
    pub(super) exchange: Box<Exchange>,
    /// The first event.
    pub(super) first: Event,
}

impl Opened {
    /// Adds to the warnings at the end of the answer.
    fn warn(&mut self, more: Vec<Warning>) {
        match &mut self.first {
            Event::End(end) => end.warnings.extend(more),
            Event::Started(_) | Event::Delta(_) => self.exchange.warn(more),
        }
    }
}

/// Tries the models in order until one begins to answer.
pub(super) async fn open(
    asker: Arc<AttemptContext>,
    call: Arc<Call>,
    deadline: Instant,
    (attempts, memory): (Attempts, CallMemory),
) -> Result<Opened, Error> {
    asker.budget.earn(call.caller);
    let candidates = asker.routes.candidates(&call.prompt.model);
    let mut candidates = candidates.into_iter().peekable();
    let mut called = None;
    while let Some(model) = candidates.next() {
        let warnings = asker.audio.check(&asker.routes, &call.prompt, &model)?;
        let before = attempts.load(Ordering::Relaxed);
        let asked = ask(&asker, &call, &model, deadline, (&attempts, &memory)).await;
        if attempts.load(Ordering::Relaxed) > before {
            called = Some(model);
        }
        match asked {
            Ok(mut opened) => {
                opened.warn(warnings);
                return Ok(opened);
            }
            Err(error) if candidates.peek().is_some() && routes::falls_back(&error) => {
                asker.telemetry.metrics.fell_back(error.reason());
            }
            outcome => return outcome.map_err(|error| error.with_model(called)),
        }
    }
    let message = "the gateway knows no model for this call";
    Err(Error::new(Reason::GatewayBug, message))
}

/// Calls one model, with retries as its errors allow.
async fn ask(
    asker: &AttemptContext,
    call: &Call,
    model: &Arc<str>,
    deadline: Instant,
    (attempts, memory): (&Attempts, &CallMemory),
) -> Result<Opened, Error> {
    asker.accounts.learn_owners_of_history(call).await;
    let mut course = Course::new(asker, call, model, deadline)?;
    loop {
        match course.attempt((attempts, memory)).await {
            Ok(opened) => {
                course.succeeded();
                memory.answered();
                return Ok(opened);
            }
            Err(failed) => course.recover(failed).await?,
        }
    }
}

/// The attempts of a call at one model.
struct Course<'a> {
    asker: &'a AttemptContext,
    call: &'a Call,
    model: &'a Arc<str>,
    subject: Subject,
    ask: Ask,
    lease: Lease,
    prepared: Option<Prepared>,
    stored: Stored,
    tries: u32,
    /// The accounts that refused this call. There are no more rounds than accounts.
    refused: Vec<String>,
    /// The delivery that is tried after the model rejected the first one, or failed with it.
    turned: Option<Delivery>,
    /// The error because of which a stream is requested instead of a whole answer.
    failed_whole: Option<Error>,
}

/// A failed attempt.
struct Failed {
    error: Error,
    /// Whether it failed while media were uploaded, before the model was called.
    storing: bool,
}

impl<'a> Course<'a> {
    fn new(
        asker: &'a AttemptContext,
        call: &'a Call,
        model: &'a Arc<str>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let subject = Subject {
            choice: Choice::of(call, model),
            voter: call.caller_name.clone(),
        };
        let lease = match call.passing.api_key {
            Some(_) => asker.accounts.address(&subject)?,
            None => {
                let stored = call.prompt.stored_medium();
                let now = Instant::now();
                asker.accounts.choose(&subject, stored, &[], now)?
            }
        };
        Ok(Self {
            asker,
            call,
            model,
            subject,
            ask: Ask::of(asker, call, model, deadline),
            lease,
            prepared: None,
            stored: Stored::default(),
            tries: 0,
            refused: Vec::new(),
            turned: None,
            failed_whole: None,
        })
    }

    async fn attempt(
        &mut self,
        (attempts, memory): (&Attempts, &CallMemory),
    ) -> Result<Opened, Failed> {
        self.tries += 1;
        let prepared = match &mut self.prepared {
            Some(prepared) => prepared,
            // Prepared within the first attempt, because it may fail like one: media are uploaded
            // here.
            slot => {
                let upstream = self.lease.upstream();
                let max_bytes = self.ask.max_request_bytes;
                let wanted = RequestTarget {
                    model: self.model,
                    delivery: self.ask.delivery,
                    max_bytes: max_bytes.unwrap_or_else(|| {
                        upstream.max_request_bytes(self.asker.max_request_bytes)
                    }),
                };
                let made = upstream.prepare(self.call, wanted, &mut self.stored).await;
                let made = made.and_then(|made| memory.write(made.body_bytes()).map(|()| made));
                let storing = true;
                slot.insert(made.map_err(|error| Failed { error, storing })?)
            }
        };
        attempts.fetch_add(1, Ordering::Relaxed);
        let outcome = attempt(&self.lease, prepared, self.ask, memory).await;
        self.asker
            .telemetry
            .metrics
            .attempted(outcome.as_ref().err());
        let storing = false;
        outcome.map_err(|error| Failed { error, storing })
    }

    fn succeeded(&self) {
        self.lease.answered();
        // Only now is it certain that the model requires this delivery, and did not reject the
        // other one for a reason that quotes the caller.
        if let Some(delivery) = self.turned {
            let routes = &self.asker.routes;
            routes.learn(self.model, self.call.caller, delivery);
        }
    }

    /// Prepares the next attempt, or returns the error of the call.
    async fn recover(&mut self, failed: Failed) -> Result<(), Error> {
        let Failed { error, storing } = failed;
        let error = whose_key(error, &self.call.passing);
        if !storing && (self.turn(&error) || self.stored.recover(&error)) {
            // The refusal was not billed and the other delivery is the intended one, so this is not
            // counted as a retry. Each happens once.
            self.prepared = None;
            self.tries -= 1;
            return Ok(());
        }
        let now = Instant::now();
        let is_the_accounts = match storing {
            true => is_of_account(&error),
            false => self.lease.failed(&error, now),
        };
        if is_the_accounts && self.another_account(now) {
            return Ok(());
        }
        if let Some(first) = self.failed_whole.take() {
            // The error of the stream does not concern the delivery that the caller requested.
            return Err(first);
        }
        let left = self.ask.deadline.saturating_duration_since(now);
        let policy = self.asker.retry;
        let pause = match retry::decide(policy, &error, self.tries, left, fastrand::f64()) {
            Verdict::After(pause) if self.asker.budget.spend(self.call.caller) => pause,
            Verdict::After(_) | Verdict::No => return Err(self.explained(error)),
        };
        self.asker.telemetry.metrics.retried(error.reason());
        if !storing {
            self.try_a_stream(&error);
        }
        tokio::time::sleep(pause).await;
        if self.call.passing.api_key.is_some() {
            return Ok(());
        }
        let stored = self.call.prompt.stored_medium();
        let accounts = &self.asker.accounts;
        let next = accounts.choose_other(&self.subject, stored, self.lease.name());
        let next = next.map_err(|_| error)?;
        if next.name() != self.lease.name() {
            self.change_to(next);
        }
        Ok(())
    }

    /// Switches to the other delivery, if the model rejected the first one. At most once: a model
    /// that rejects both would be called forever.
    fn turn(&mut self, error: &Error) -> bool {
        let other = routes::other_way(self.ask.delivery, error);
        match (self.turned, other) {
            (None, Some(other)) => {
                self.turned = Some(other);
                self.ask.delivery = other;
                true
            }
            _ => false,
        }
    }

    /// Some models fail for whole answers, and succeed with streams. The last permitted attempt
    /// requests a stream: DashScope reported an error before any output, so nothing was billed, and
    /// the number of attempts is the same as for any other model.
    fn try_a_stream(&mut self, error: &Error) {
        let failed_whole = retry::is_internal(error)
            && self.ask.delivery == Delivery::Whole
            && self.turned.is_none();
        if failed_whole && self.asker.retry.is_last_but_one(self.tries) {
            self.turned = Some(Delivery::Stream);
            self.ask.delivery = Delivery::Stream;
            self.failed_whole = Some(error.clone());
            self.prepared = None;
        }
    }

    /// Switches to an account that has not refused the call. Another key does not count as a retry:
    /// it has its own rate limits and billing.
    fn another_account(&mut self, now: Instant) -> bool {
        self.refused.push(self.lease.name().to_owned());
        let stored = self.call.prompt.stored_medium();
        let accounts = &self.asker.accounts;
        let next = accounts.choose(&self.subject, stored, &self.refused, now);
        match next {
            Ok(next) => {
                self.change_to(next);
                self.tries -= 1;
                true
            }
            Err(_) => false,
        }
    }

    fn change_to(&mut self, lease: Lease) {
        self.lease = lease;
        self.prepared = None;
        // Only the account that stored them can read them.
        self.stored = Stored::default();
    }

    /// The error with the fields of the request.
    fn explained(&self, error: Error) -> Error {
        error_location::explained(error, &self.call.prompt, &self.stored)
    }
}

/// Sends one request, and waits for the first event.
async fn attempt(
    lease: &Lease,
    prepared: &Prepared,
    ask: Ask,
    memory: &CallMemory,
) -> Result<Opened, Error> {
    let first = async {
        let mut exchange = Box::new(lease.upstream().open(prepared).await?);
        // Before the first event: that of a whole answer comes when all of it is decoded.
        exchange.charge_to(memory.clone());
        let first = exchange.next().await.unwrap_or_else(|| Err(silent()));
        let first =
            first.map_err(|error| error.with_usage(exchange.usage_so_far().map(Arc::new)))?;
        Ok(Opened {
            lease: lease.clone(),
            exchange,
            first,
        })
    };
    match ask.delivery {
        // The only event of a whole answer is its end, which the deadline bounds.
        Delivery::Whole => first.await,
        Delivery::Stream => {
            let limit = ask.first_event_timeout;
            match tokio::time::timeout(limit, first).await {
                Ok(outcome) => outcome,
                Err(_) => Err(late(limit).of_server(lease.upstream().server())),
            }
        }
    }
}
