//! Opens live sessions: admission, then a connection for one of the candidate models.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::callers::Identity;
use crate::callers::caller_usage::CallCost;
use crate::chat::live_session::{LiveSetup, LiveTask, SessionChanges};
use crate::error::{Error, Reason};
use crate::memory::{Claim, Kind};
use crate::upstream::LiveSocket;

use super::accounts::choice::Choice;
use super::accounts::{Lease, Subject};
use super::admission::{CallPermits, Held};
use super::attempt::{AttemptContext, Attempts};
use super::call_recorder::CallRecorder;
use super::live_call::{LiveCall, LiveRequest};
use super::live_connect::Course;
use super::live_in_flight::LiveInFlight;
use super::live_turns::StoredSession;
use super::upstream_span::UpstreamSpan;
use super::{Plan, Relay, in_time, routes};

/// The memory that is charged while a history is read: a part of it, as bytes and decoded.
const READ_BYTES: usize = 2 << 20;

impl Relay {
    /// Admits a session and connects it to DashScope.
    pub async fn open_live(
        &self,
        mut request: LiveRequest<'_>,
    ) -> Result<(LiveCall, LiveSocket), Error> {
        let plan = self.plan();
        let telemetry = &self.inner.telemetry;
        let model = Arc::clone(&request.setup.model);
        let mut report = std::mem::take(&mut request.report);
        report.model.clone_from(&model);
        report.streamed = true;
        let mut recorder = CallRecorder::joined(telemetry, report, request.arrived);
        let admitted = in_time(request.deadline)
            .and_then(|()| plan.check_live(&request.setup))
            .and_then(|()| self.admit_live(&plan, &model, (request.held, request.who)));
        let permits = admitted.inspect_err(|error| recorder.close(Some(error)))?;
        let stored = self.open_stored(&mut request).await;
        let stored = stored.inspect_err(|error| recorder.close(Some(error)))?;
        let span = UpstreamSpan::of_session(telemetry, &model, &mut request.passing);
        let attempts = Attempts::default();
        let connected = connect(&plan.asker, &request, &attempts).await;
        recorder.report.attempts = attempts.load(Ordering::Relaxed);
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => {
                let error = error.with_attempts(recorder.report.attempts);
                recorder.close(Some(&error));
                if let Some(span) = span {
                    span.end(&recorder.report, recorder.report.outcome);
                }
                return Err(error);
            }
        };
        let progress = Arc::new(LiveInFlight::new(
            &recorder.report,
            request.arrived,
            (request.who.share, Arc::clone(&attempts)),
            Arc::clone(&connected.setup.model),
        ));
        let call = LiveCall {
            _listed: self.inner.calls.add_session(&progress),
            progress,
            plan,
            passing: request.passing,
            deadline: request.deadline,
            model: None,
            stored,
            setup: connected.setup,
            subject: connected.subject,
            lease: connected.lease,
            permits,
            recorder,
            attempts,
            span,
            charged_audio: 0,
            heard: Default::default(),
        };
        Ok((call, connected.socket))
    }

    /// Opens the stored conversation that a session continues, if it names one.
    async fn open_stored(
        &self,
        request: &mut LiveRequest<'_>,
    ) -> Result<Option<Box<StoredSession>>, Error> {
        let LiveTask::Converse(setup) = &mut request.setup.task else {
            return Ok(None);
        };
        let Some(of) = &request.conversation else {
            return Ok(None);
        };
        let Some(conversations) = self.conversations() else {
            let message = "a live session of a stored conversation has no store";
            return Err(Error::new(Reason::GatewayBug, message));
        };
        let mut memory = self.inner.memory.share(Kind::Kept);
        memory.hold(READ_BYTES, Claim::Running)?;
        let of = (&request.who.tenant, &**of);
        let opened = StoredSession::open(conversations, of, setup).await?;
        Ok(Some(Box::new(opened)))
    }

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
        pass.charge(CallCost {
            model,
            tokens: 0,
            has_audio: true,
        })?;
        pass.check(model)?;
        Ok(CallPermits::new(permits, pass))
    }
}

impl Plan {
    /// Rejects a session that names a private host.
    fn check_live(&self, setup: &LiveSetup) -> Result<(), Error> {
        match &setup.task {
            LiveTask::Converse(setup) => self.check_changes("setup", &setup.changes),
            LiveTask::Synthesize(setup) => {
                let changes = SessionChanges {
                    extra: setup.extra.clone(),
                    ..SessionChanges::default()
                };
                self.check_changes("setup", &changes)
            }
        }
    }

    /// Rejects a configuration below this path that names a private host.
    pub(super) fn check_changes(&self, path: &str, changes: &SessionChanges) -> Result<(), Error> {
        let allowed = &self.settings.private_hosts;
        let accounts = &self.asker.accounts;
        accounts.check_live_hosts((path, changes), allowed)
    }
}

/// A session that is connected.
struct Connected {
    setup: LiveSetup,
    subject: Subject,
    lease: Lease,
    socket: LiveSocket,
}

/// Connects one of the candidate models, in their order.
async fn connect(
    asker: &AttemptContext,
    request: &LiveRequest<'_>,
    attempts: &Attempts,
) -> Result<Connected, Error> {
    asker.budget.earn(request.who.caller);
    let candidates = asker.routes.candidates(&request.setup.model);
    let mut candidates = candidates.into_iter().peekable();
    while let Some(model) = candidates.next() {
        let who = request.who;
        let subject = Subject {
            choice: Choice::new((who.caller, who.share), &request.passing, &model),
            voter: who.name().cloned(),
        };
        let mut setup = request.setup.clone();
        setup.model = Arc::clone(&model);
        let mut course = Course {
            asker,
            subject: &subject,
            passing: &request.passing,
            setup: &setup,
            deadline: request.deadline,
            attempts: Arc::clone(attempts),
        };
        match course.connect().await {
            Ok((lease, socket)) => {
                return Ok(Connected {
                    setup,
                    subject,
                    lease,
                    socket,
                });
            }
            Err(error) if candidates.peek().is_some() && routes::falls_back(&error) => {
                asker.telemetry.metrics.fell_back(error.reason());
            }
            Err(error) => return Err(error.with_model(Some(model))),
        }
    }
    let message = "the gateway knows no model for this call";
    Err(Error::new(Reason::GatewayBug, message))
}
