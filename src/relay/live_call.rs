//! Live sessions, as the relay sees them: admission, the choice of an account, the connection, then
//! quotas and the report. The life of a session belongs to [`crate::live`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::callers::Identity;
use crate::chat::call::Passing;
use crate::chat::live_session::{LiveSetup, SessionChanges};
use crate::chat::stored::StoredConversation;
use crate::chat::usage::Usage;
use crate::error::Error;
use crate::memory::Cancel;
use crate::telemetry::call_report::{LiveFigures, Report};
use crate::telemetry::live_metrics::{LiveMetrics, Repair};
use crate::telemetry::models::Model;
use crate::telemetry::token_counts::Tokens;
use crate::upstream::LiveSocket;

use super::Plan;
use super::accounts::{Lease, Subject};
use super::admission::{CallPermits, Held};
use super::attempt::Attempts;
use super::call_recorder::CallRecorder;
use super::in_flight::LiveEntry;
use super::live_connect::Course;
use super::live_in_flight::LiveInFlight;
use super::live_turns::StoredSession;
use super::upstream_span::UpstreamSpan;

pub use super::live_in_flight::{LiveProgress, LiveState};

/// The label in metrics of a model that has not answered.
const UNKNOWN_MODEL: &str = "other";

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
    /// The stored conversation that it continues.
    pub conversation: Option<Box<StoredConversation>>,
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
    /// The stored conversation that it continues.
    pub stored: Option<Box<StoredSession>>,
    pub(super) plan: Arc<Plan>,
    pub(super) subject: Subject,
    pub(super) passing: Passing,
    pub(super) lease: Lease,
    pub(super) permits: CallPermits,
    pub(super) recorder: Box<CallRecorder>,
    pub(super) attempts: Attempts,
    pub(super) deadline: Instant,
    pub(super) model: Option<Arc<Model>>,
    pub(super) progress: Arc<LiveInFlight>,
    /// Its entry in the list of calls in flight.
    pub(super) _listed: LiveEntry<LiveInFlight>,
    /// The span of the session at DashScope.
    pub(super) span: Option<UpstreamSpan>,
    /// The seconds of audio that were charged to the caller.
    pub(super) charged_audio: u64,
    /// The audio of the caller and of responses that was counted.
    pub(super) heard: (Duration, Duration),
}

impl std::fmt::Debug for LiveCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveCall").finish_non_exhaustive()
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        // Nothing happens if it has ended, which is reported there.
        self.recorder.cancel(None);
        self.end_span();
    }
}

impl LiveCall {
    /// The session has started at DashScope.
    pub fn started(&mut self, upstream_session_id: &str) {
        let report = &mut self.recorder.report;
        report
            .first_event
            .get_or_insert(self.recorder.arrived.elapsed());
        report.answered_by.clone_from(&self.setup.model);
        report.upstream_request_id = upstream_session_id.to_owned();
        let metrics = &self.plan.asker.telemetry.metrics;
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
            let caller = self.recorder.report.caller.as_deref();
            let metrics = &self.plan.asker.telemetry.metrics;
            metrics.spend(&self.setup.model, model, caller, &used);
        }
        self.permits.check(&self.setup.model)
    }

    fn metrics(&self) -> &LiveMetrics {
        &self.plan.asker.telemetry.metrics.live
    }

    /// The label of the model in metrics.
    fn label(&self) -> &str {
        self.model.as_deref().map_or(UNKNOWN_MODEL, Model::name)
    }

    /// A response has ended with this status.
    pub fn responded(&self, status: &str) {
        self.metrics().responded(self.label(), status);
    }

    /// The gateway repaired the session.
    pub fn repaired(&self, repair: Repair) {
        self.metrics().repaired(repair);
    }

    /// The audio of the session so far, of the caller and of responses. Fails if the caller's limit
    /// is reached.
    pub fn heard(&mut self, (input, output): (Duration, Duration)) -> Result<(), Error> {
        let seconds = (input + output).as_secs();
        if seconds <= self.charged_audio {
            return Ok(());
        }
        let new = seconds - self.charged_audio;
        self.charged_audio = seconds;
        self.count_audio((input, output));
        self.permits.add_audio(new);
        self.permits.check(&self.setup.model)
    }

    fn count_audio(&mut self, (input, output): (Duration, Duration)) {
        let (input_before, output_before) = std::mem::replace(&mut self.heard, (input, output));
        let input = input.saturating_sub(input_before);
        let output = output.saturating_sub(output_before);
        self.metrics().heard(self.label(), input, output);
    }

    /// The first audio of a response came this long after it was requested.
    pub fn first_audio(&mut self, latency: Duration) {
        self.recorder.report.first_token.get_or_insert(latency);
        self.metrics().first_audio(self.label(), latency);
    }

    /// Registers the session, to be ended when memory is short.
    pub fn cancel_with(&self, session: Weak<dyn Cancel>) {
        self.progress.cancel_with(session);
    }

    /// Updates the list of calls in flight.
    pub fn progress(&self, progress: &LiveProgress) {
        self.progress.set(progress, self.recorder.report.chunks);
    }

    /// Checks a change of the configuration that the caller sends.
    pub fn check_update(&self, changes: &SessionChanges) -> Result<(), Error> {
        self.plan.check_changes("update", changes)
    }

    /// Replaces the deadline: that of the stream which resumes the session counts.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// A piece of a response was received.
    pub fn received(&mut self) {
        self.recorder.report.chunks += 1;
    }

    /// Opens a new connection for the same session, at any account.
    pub async fn reconnect(&mut self) -> Result<LiveSocket, Error> {
        let mut course = Course {
            asker: &self.plan.asker,
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
        self.release(figures);
        if let Some(usage) = usage {
            self.recorder.report.tokens = Tokens::of(usage);
        }
        self.recorder.close(outcome.err());
        self.end_span();
    }

    /// The caller cancelled the session: its call was cancelled, and is not resumed.
    pub fn cancel(mut self, (usage, figures): (Option<&Usage>, LiveFigures)) {
        self.release(figures);
        self.recorder.cancel(usage);
        self.end_span();
    }

    /// Returns the permits, and completes the report except for its outcome.
    fn release(&mut self, figures: LiveFigures) {
        self.permits.free();
        self.count_audio((figures.input_audio, figures.output_audio));
        let report = &mut self.recorder.report;
        report.attempts = self.attempts.load(Ordering::Relaxed);
        report.live = Some(figures);
    }

    fn end_span(&mut self) {
        if let Some(span) = self.span.take() {
            let report = &self.recorder.report;
            span.end(report, report.outcome);
        }
    }

    /// Adds what is known of the call to an error of it.
    pub fn described(&self, error: Error) -> Error {
        let attempts = self.attempts.load(Ordering::Relaxed);
        let error = error
            .with_attempts(attempts)
            .with_model(Some(Arc::clone(&self.setup.model)))
            .of_server(self.lease.upstream().server());
        match self.recorder.report.upstream_request_id.as_str() {
            "" => error,
            id => error.with_upstream_request_id(id),
        }
    }
}
