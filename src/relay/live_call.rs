//! Live sessions, as the relay sees them: admission, the choice of an account, the connection, then
//! quotas and the report. The life of a session belongs to [`crate::live`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::callers::Identity;
use crate::callers::caller_usage::CallCost;
use crate::chat::call::Passing;
use crate::chat::live_session::LiveSetup;
use crate::chat::usage::Usage;
use crate::error::{Error, Reason};
use crate::memory::Cancel;
use crate::telemetry::models::Model;
use crate::telemetry::report::{LiveFigures, Report};
use crate::telemetry::token_counts::Tokens;
use crate::upstream::LiveSocket;

use super::accounts::account::Choice;
use super::accounts::{Lease, Subject};
use super::admission::{CallPermits, Held};
use super::attempt::{AttemptContext, Attempts};
use super::call_recorder::CallRecorder;
use super::in_flight::LiveEntry;
use super::live_in_flight::LiveInFlight;
use super::retry::{self, Verdict, late, whose_key};
use super::{Plan, Relay, in_time, routes};

pub use super::live_in_flight::{LiveProgress, LiveState};

/// A session that a caller requests.
pub struct LiveRequest<'a> {
    /// The configuration; its model is the caller's name of it.
    pub setup: LiveSetup,
    /// Metadata that is forwarded to DashScope.
    pub passing: Passing,
    /// The report, which identifies the caller.
    pub report: Report,
    /// The permits that were acquired for it.
    pub held: &'a Held,
    /// The caller.
    pub who: &'a Identity,
    /// When it arrived.
    pub arrived: Instant,
    /// Its deadline.
    pub deadline: Instant,
}

/// A session that was admitted. Dropping it releases what it holds, and reports it as cancelled
/// unless it has ended.
pub struct LiveCall {
    /// The configuration, with the model that answers.
    pub setup: LiveSetup,
    asker: Arc<AttemptContext>,
    subject: Subject,
    passing: Passing,
    lease: Lease,
    permits: CallPermits,
    ledger: Box<CallRecorder>,
    attempts: Attempts,
    deadline: Instant,
    model: Option<Arc<Model>>,
    progress: Arc<LiveInFlight>,
    /// Its entry in the list of calls in flight.
    _listed: LiveEntry<LiveInFlight>,
}

impl std::fmt::Debug for LiveCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveCall").finish_non_exhaustive()
    }
}

impl Relay {
    /// Admits a session and connects it to DashScope.
    pub async fn open_live(
        &self,
        request: LiveRequest<'_>,
    ) -> Result<(LiveCall, LiveSocket), Error> {
        let plan = self.plan();
        let telemetry = &self.inner.telemetry;
        let mut report = request.report;
        report.model.clone_from(&request.setup.model);
        report.streamed = true;
        let mut ledger = CallRecorder::joined(telemetry, report, request.arrived);
        let model = Arc::clone(&request.setup.model);
        let admitted = in_time(request.deadline)
            .and_then(|()| self.admit_live(&plan, &model, (request.held, request.who)));
        let permits = admitted.inspect_err(|error| ledger.close(Some(error)))?;
        let asker = &plan.asker;
        let candidates = asker.routes.candidates(&model);
        let mut failed = None;
        for model in candidates {
            let subject = Subject {
                choice: Choice::new(
                    (request.who.caller, request.who.share),
                    &request.passing,
                    &model,
                ),
                voter: request.who.name().cloned(),
            };
            let mut setup = request.setup.clone();
            setup.model = Arc::clone(&model);
            let mut course = Course {
                asker,
                subject: &subject,
                passing: &request.passing,
                setup: &setup,
                deadline: request.deadline,
                attempts: Attempts::default(),
            };
            match course.connect().await {
                Ok((lease, socket)) => {
                    let attempts = course.attempts;
                    let progress = Arc::new(LiveInFlight::new(
                        &ledger.report,
                        request.arrived,
                        (request.who.share, Arc::clone(&attempts)),
                        model,
                    ));
                    let call = LiveCall {
                        _listed: self.inner.calls.add_session(&progress),
                        progress,
                        asker: Arc::clone(asker),
                        passing: request.passing,
                        deadline: request.deadline,
                        model: None,
                        setup,
                        subject,
                        lease,
                        permits,
                        ledger,
                        attempts,
                    };
                    return Ok((call, socket));
                }
                Err(error) => {
                    let goes_on = routes::falls_back(&error);
                    ledger.report.attempts += course.attempts.load(Ordering::Relaxed);
                    failed = Some(error.with_model(Some(model)));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        let error = failed.unwrap_or_else(|| {
            Error::new(
                Reason::GatewayBug,
                "the gateway knows no model for this call",
            )
        });
        let error = error.with_attempts(ledger.report.attempts);
        ledger.close(Some(&error));
        Err(error)
    }
}

impl Relay {
    fn admit_live(
        &self,
        plan: &Plan,
        model: &str,
        (held, who): (&Held, &Identity),
    ) -> Result<CallPermits, Error> {
        let (permit, mut pass) = self.inner.entrance.take(held, who)?;
        let of_model = plan.admit(model, who.share);
        let permits = (permit, of_model.inspect_err(|_| pass.refund())?);
        // Tokens are charged as responses complete.
        pass.charge(CallCost { model, tokens: 0 })?;
        pass.check(model)?;
        Ok(CallPermits::new(permits, pass))
    }
}

/// The attempts to connect a session.
struct Course<'a> {
    asker: &'a AttemptContext,
    subject: &'a Subject,
    passing: &'a Passing,
    setup: &'a LiveSetup,
    deadline: Instant,
    attempts: Attempts,
}

impl Course<'_> {
    async fn connect(&mut self) -> Result<(Lease, LiveSocket), Error> {
        let accounts = &self.asker.accounts;
        let mut refused: Vec<String> = Vec::new();
        let mut tries = 0;
        let mut lease = match self.passing.api_key {
            Some(_) => accounts.address(self.subject)?,
            None => accounts.choose(self.subject, None, &[], Instant::now())?,
        };
        loop {
            tries += 1;
            self.attempts.fetch_add(1, Ordering::Relaxed);
            let limit = self.asker.first_event_timeout;
            let until = self.deadline.min(Instant::now() + limit);
            let opening = lease.upstream().open_live(self.setup, self.passing);
            let opened = match tokio::time::timeout_at(until, opening).await {
                Ok(opened) => opened,
                Err(_) => Err(late(limit)),
            };
            self.asker
                .telemetry
                .metrics
                .attempted(opened.as_ref().err());
            let error = match opened {
                Ok(socket) => {
                    lease.answered();
                    return Ok((lease, socket));
                }
                Err(error) => whose_key(error, self.passing),
            };
            let now = Instant::now();
            if lease.failed(&error, now) {
                refused.push(lease.name().to_owned());
                if let Ok(next) = accounts.choose(self.subject, None, &refused, now) {
                    lease = next;
                    tries -= 1;
                    continue;
                }
            }
            let left = self.deadline.saturating_duration_since(now);
            let policy = self.asker.retry;
            match retry::decide(policy, &error, tries, left, fastrand::f64()) {
                Verdict::After(pause) => {
                    self.asker.telemetry.metrics.retried(error.reason());
                    tokio::time::sleep(pause).await;
                }
                Verdict::No => return Err(error),
            }
        }
    }
}

impl LiveCall {
    /// The session has started at DashScope.
    pub fn started(&mut self, upstream_session_id: &str) {
        let report = &mut self.ledger.report;
        report
            .first_event
            .get_or_insert(self.ledger.arrived.elapsed());
        report.answered_by.clone_from(&self.setup.model);
        report.upstream_request_id = upstream_session_id.to_owned();
        let metrics = &self.asker.telemetry.metrics;
        self.model
            .get_or_insert_with(|| metrics.model(&self.setup.model));
    }

    /// The usage of a response. Fails if the caller's limit of tokens is reached.
    pub fn used(&mut self, usage: &Usage) -> Result<(), Error> {
        let tokens = usage.tokens();
        self.lease.settle(tokens, Instant::now());
        self.permits.add(tokens);
        let used = Tokens::of(usage);
        if let Some(model) = &self.model {
            let caller = self.ledger.report.caller.as_deref();
            let metrics = &self.asker.telemetry.metrics;
            metrics.spend(&self.setup.model, model, caller, &used);
        }
        self.permits.check(&self.setup.model)
    }

    /// The first audio of a response came this long after it was requested.
    pub fn first_audio(&mut self, latency: Duration) {
        self.ledger.report.first_token.get_or_insert(latency);
        if let Some(model) = &self.model {
            model.first_token.observe(latency.as_secs_f64());
        }
    }

    /// Registers the session, to be ended when memory is short.
    pub fn cancel_with(&self, session: Weak<dyn Cancel>) {
        self.progress.cancel_with(session);
    }

    /// Updates the list of calls in flight.
    pub fn progress(&self, progress: &LiveProgress) {
        self.progress.set(progress, self.ledger.report.chunks);
    }

    /// Replaces the deadline: that of the stream which resumes the session counts.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// A piece of a response was received.
    pub fn received(&mut self) {
        self.ledger.report.chunks += 1;
    }

    /// Opens a new connection for the same session, at any account.
    pub async fn reconnect(&mut self) -> Result<LiveSocket, Error> {
        let mut course = Course {
            asker: &self.asker,
            subject: &self.subject,
            passing: &self.passing,
            setup: &self.setup,
            deadline: self.deadline,
            attempts: Arc::clone(&self.attempts),
        };
        let (lease, socket) = course.connect().await?;
        self.lease = lease;
        Ok(socket)
    }

    /// Ends the session with its usage, and reports it.
    pub fn end(
        mut self,
        outcome: Result<(), &Error>,
        (usage, figures): (Option<&Usage>, LiveFigures),
    ) {
        self.permits.free();
        let report = &mut self.ledger.report;
        report.attempts = self.attempts.load(Ordering::Relaxed);
        if let Some(usage) = usage {
            report.tokens = Tokens::of(usage);
        }
        report.live = Some(figures);
        self.ledger.close(outcome.err());
    }

    /// The caller cancelled the session: its call was cancelled, and is not resumed.
    pub fn cancel(mut self, (usage, figures): (Option<&Usage>, LiveFigures)) {
        self.permits.free();
        let report = &mut self.ledger.report;
        report.attempts = self.attempts.load(Ordering::Relaxed);
        report.live = Some(figures);
        self.ledger.cancel(usage);
    }

    /// Adds what is known of the call to an error of it.
    pub fn described(&self, error: Error) -> Error {
        let attempts = self.attempts.load(Ordering::Relaxed);
        let error = error
            .with_attempts(attempts)
            .with_model(Some(Arc::clone(&self.setup.model)))
            .of_server(self.lease.upstream().server());
        match self.ledger.report.upstream_request_id.as_str() {
            "" => error,
            id => error.with_upstream_request_id(id),
        }
    }
}
