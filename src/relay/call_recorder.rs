//! The record of one call in the making.

use std::sync::Arc;

use tokio::time::Instant;

use crate::chat::call::{Call, Delivery};
use crate::chat::estimate;
use crate::chat::event::Event;
use crate::chat::usage::Usage;
use crate::error::Error;
use crate::telemetry::Telemetry;
use crate::telemetry::models::Model;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::registry::Present;
use crate::telemetry::report::Report;
use crate::telemetry::token_counts::Tokens;
use crate::telemetry::trace;

use super::upload_progress::UploadInFlight;
use super::upstream_span::UpstreamSpan;

/// Fills the report of a call and writes it when the call is over, or dropped. It records two
/// things, which a call with a name does in two places: that somebody asked, and that DashScope was
/// asked. So the tokens of an answer that many listen to count once.
pub(super) struct CallRecorder {
    /// What is known so far.
    pub(super) report: Report,
    /// When the call came.
    pub(super) arrived: Instant,
    /// The upload that it is about.
    pub(super) progress: Option<Arc<UploadInFlight>>,
    telemetry: Arc<Telemetry>,
    /// Whether a caller waits, whose call is to be reported.
    told: bool,
    present: Option<Present>,
    /// The estimate of the tokens of the question.
    asked_tokens: u64,
    /// What the answer so far weighs for the estimate of its tokens.
    answered: u64,
    /// There while DashScope may answer.
    asked: Option<Asked>,
}

/// What is counted of an answer from DashScope itself.
#[derive(Default)]
struct Asked {
    /// Known once it has begun.
    model: Option<Arc<Model>>,
    /// When its last piece came.
    last_piece: Option<Instant>,
    /// Whether its pieces come one by one.
    streamed: bool,
    asking: Option<UpstreamSpan>,
}

impl CallRecorder {
    /// Of a call that arrived at this moment and goes to DashScope itself.
    pub(super) fn direct(
        telemetry: &Arc<Telemetry>,
        report: Report,
        arrived: Instant,
    ) -> Box<Self> {
        Self::new(telemetry, report, arrived, (true, true))
    }

    /// With an estimate of the tokens of the question.
    pub(super) fn asking(mut self: Box<Self>, tokens: u64) -> Box<Self> {
        self.asked_tokens = tokens;
        self
    }

    /// The estimate of the tokens used so far, in and out.
    pub(super) fn estimated_tokens(&self) -> u64 {
        self.asked_tokens + estimate::tokens(self.answered)
    }

    /// With a span of what DashScope is asked.
    pub(super) fn traced(mut self: Box<Self>, asking: Option<UpstreamSpan>) -> Box<Self> {
        if let Some(asked) = &mut self.asked {
            asked.asking = asking;
        }
        self
    }

    /// Of a call that listens to one which goes to DashScope.
    pub(super) fn joined(
        telemetry: &Arc<Telemetry>,
        report: Report,
        arrived: Instant,
    ) -> Box<Self> {
        Self::new(telemetry, report, arrived, (true, false))
    }

    /// Of a call that goes to DashScope for others, who report.
    pub(super) fn silent(
        telemetry: &Arc<Telemetry>,
        report: Report,
        arrived: Instant,
    ) -> Box<Self> {
        Self::new(telemetry, report, arrived, (false, true))
    }

    fn new(
        telemetry: &Arc<Telemetry>,
        report: Report,
        arrived: Instant,
        (told, asked): (bool, bool),
    ) -> Box<Self> {
        Box::new(Self {
            present: told
                .then(|| telemetry.metrics.call(report.method))
                .flatten(),
            told,
            asked: asked.then(|| Asked::of(&report)),
            asked_tokens: 0,
            answered: 0,
            telemetry: Arc::clone(telemetry),
            report,
            arrived,
            progress: None,
        })
    }

    /// Notes what an event tells.
    pub(super) fn note(&mut self, event: &Event, now: Instant) {
        self.report.first_event.get_or_insert(now - self.arrived);
        if let Some(asked) = &mut self.asked
            && let Some(asking) = &mut asked.asking
        {
            asking.note(event);
        }
        match event {
            Event::Started(started) => {
                self.report.answered_by.clone_from(&started.model);
                self.report
                    .upstream_request_id
                    .clone_from(&started.upstream_request_id);
                if let Some(asked) = &mut self.asked {
                    asked.model = Some(self.telemetry.metrics.model(&started.model));
                }
            }
            Event::Delta(delta) => {
                self.answered += delta.piece.estimated_weight();
                self.note_piece(now);
            }
            Event::End(end) => {
                if let Some(usage) = &end.usage {
                    self.report.tokens = Tokens::of(usage);
                }
            }
        }
    }

    fn note_piece(&mut self, now: Instant) {
        self.report.chunks += 1;
        if self.report.streamed {
            self.report.first_token.get_or_insert(now - self.arrived);
        }
        let Some(asked) = &mut self.asked else { return };
        if let Some(model) = asked.model.as_deref().filter(|_| asked.streamed) {
            match asked.last_piece.replace(now) {
                None => model
                    .first_token
                    .observe((now - self.arrived).as_secs_f64()),
                Some(last) => model.chunk.observe((now - last).as_secs_f64()),
            }
        }
    }

    /// The call is over, with this fault or with none.
    pub(super) fn close(&mut self, error: Option<&Error>) {
        let outcome = match error {
            None => Outcome::Ok,
            Some(error) => Outcome::Failed(error.kind(), error.reason()),
        };
        if let Some(usage) = error.and_then(Error::usage) {
            self.report.tokens = Tokens::of(usage);
        }
        if let Some(upstream) = error.and_then(Error::upstream) {
            self.report.upstream_code.clone_from(&upstream.code);
            if self.report.upstream_request_id.is_empty() {
                self.report
                    .upstream_request_id
                    .clone_from(&upstream.request_id);
            }
        }
        self.end(outcome);
    }

    /// The call is over because nobody reads its answer any more, unless it was over before.
    pub(super) fn cancel(&mut self, usage: Option<&Usage>) {
        if let Some(usage) = usage {
            self.report.tokens = Tokens::of(usage);
        }
        if self.told || self.asked.is_some() {
            self.end(Outcome::Cancelled);
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.report.outcome = outcome;
        self.report.total = self.arrived.elapsed();
        self.report.uploaded_bytes = self.progress.as_ref().map(|progress| progress.bytes());
        let metrics = &self.telemetry.metrics;
        let mut answered = None;
        if let Some(Asked { model, asking, .. }) = self.asked.take() {
            let report = &self.report;
            if let Some(model) = &model {
                let (name, caller) = (&report.answered_by, report.caller.as_deref());
                metrics.spend(name, model, caller, &report.tokens);
            }
            answered = model;
            if let Some(asking) = asking {
                asking.end(report, outcome);
            }
        }
        self.present = None;
        if std::mem::replace(&mut self.told, false) {
            self.report.write(metrics, answered.as_deref());
        }
    }
}

impl Drop for CallRecorder {
    fn drop(&mut self) {
        self.cancel(None);
    }
}

/// The report of a call that begins.
pub(super) fn report(call: &Call, joined: bool) -> Report {
    Report {
        caller: call.caller_name.clone(),
        model: Arc::clone(&call.prompt.model),
        trace_id: trace::trace_id(call.passing.traceparent.as_deref()).to_owned(),
        joined,
        streamed: call.delivery == Delivery::Stream,
        ..Report::new(&call.request_id, call.method)
    }
}

impl Asked {
    fn of(report: &Report) -> Self {
        Self {
            streamed: report.streamed,
            ..Self::default()
        }
    }
}
