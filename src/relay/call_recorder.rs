//! Collects the report of one call.

use std::sync::Arc;

use tokio::time::Instant;

use crate::chat::call::{Call, Delivery};
use crate::chat::estimate;
use crate::chat::event::Event;
use crate::chat::usage::Usage;
use crate::error::Error;
use crate::telemetry::Telemetry;
use crate::telemetry::call_report::Report;
use crate::telemetry::gauge_guard::GaugeGuard;
use crate::telemetry::models::Model;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::token_counts::Tokens;
use crate::telemetry::trace;

use super::uploads::progress::UploadInFlight;
use super::upstream_span::UpstreamSpan;

/// Collects the report of a call and writes it when the call ends or is dropped. It has two parts,
/// which an idempotent call records in two places: the call of the caller, and the requests to
/// DashScope. So the tokens of an answer with several readers count once.
pub(super) struct CallRecorder {
    /// The report so far.
    pub(super) report: Report,
    /// When the call arrived.
    pub(super) arrived: Instant,
    /// The progress, if it is an upload.
    pub(super) progress: Option<Arc<UploadInFlight>>,
    telemetry: Arc<Telemetry>,
    /// Whether a caller waits, whose call is to be reported.
    told: bool,
    present: Option<GaugeGuard>,
    /// The estimated input tokens.
    asked_tokens: u64,
    /// The weight of the answer so far, for its estimated tokens.
    answered: u64,
    /// Present while DashScope may respond.
    asked: Option<Asked>,
}

/// The metrics of an answer from DashScope itself.
#[derive(Default)]
struct Asked {
    /// Known once it has begun.
    model: Option<Arc<Model>>,
    /// When its last delta came.
    last_piece: Option<Instant>,
    /// Whether it is streamed.
    streamed: bool,
    asking: Option<UpstreamSpan>,
}

impl CallRecorder {
    /// For a call that arrived at this time and calls DashScope itself.
    pub(super) fn direct(
        telemetry: &Arc<Telemetry>,
        report: Report,
        arrived: Instant,
    ) -> Box<Self> {
        Self::new(telemetry, report, arrived, (true, true))
    }

    /// With an estimate of the input tokens.
    pub(super) fn asking(mut self: Box<Self>, tokens: u64) -> Box<Self> {
        self.asked_tokens = tokens;
        self
    }

    /// The estimated tokens used so far, input and output.
    pub(super) fn estimated_tokens(&self) -> u64 {
        self.asked_tokens + estimate::tokens(self.answered)
    }

    /// With a span of the requests to DashScope.
    pub(super) fn traced(mut self: Box<Self>, asking: Option<UpstreamSpan>) -> Box<Self> {
        if let Some(asked) = &mut self.asked {
            asked.asking = asking;
        }
        self
    }

    /// For a call that reads the answer of another one.
    pub(super) fn joined(
        telemetry: &Arc<Telemetry>,
        report: Report,
        arrived: Instant,
    ) -> Box<Self> {
        Self::new(telemetry, report, arrived, (true, false))
    }

    /// For a call that calls DashScope for others, which report.
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

    /// Records an event.
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

    /// Ends the call, with this error or without one.
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

    /// Ends the call because its answer has no reader any more, unless it has ended.
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

/// The report of a new call.
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
