//! The report of one call in the making.

use tokio::time::Instant;

use crate::chat::event::Event;
use crate::error::Error;
use crate::telemetry::report::{Outcome, Report};

/// Fills the report of a call and writes it when the call is over, or dropped.
pub(super) struct Ledger {
    /// What is known so far.
    pub(super) report: Report,
    /// When the call came.
    pub(super) arrived: Instant,
    open: bool,
}

impl Ledger {
    /// Of a call that arrived at this moment.
    pub(super) fn new(report: Report, arrived: Instant) -> Self {
        Self {
            report,
            arrived,
            open: true,
        }
    }

    /// Of a call that others report.
    pub(super) fn silent(arrived: Instant) -> Self {
        Self {
            report: Report::default(),
            arrived,
            open: false,
        }
    }

    /// Notes what an event tells.
    pub(super) fn note(&mut self, event: &Event, now: Instant) {
        self.report.first_event.get_or_insert(now - self.arrived);
        match event {
            Event::Started(started) => {
                self.report.answered_by.clone_from(&started.model);
                self.report
                    .upstream_request_id
                    .clone_from(&started.upstream_request_id);
            }
            Event::Delta(_) => {}
            Event::End(end) => {
                if let Some(usage) = &end.usage {
                    self.report.input_tokens = usage.input_tokens;
                    self.report.output_tokens = usage.output_tokens;
                }
            }
        }
    }

    /// The call is over, with this fault or with none.
    pub(super) fn close(&mut self, error: Option<&Error>) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        self.report.total = self.arrived.elapsed();
        self.report.outcome = match error {
            None => Outcome::Ok,
            Some(error) => Outcome::Failed(error.kind(), error.reason()),
        };
        if let Some(upstream) = error.and_then(Error::upstream) {
            self.report.upstream_code.clone_from(&upstream.code);
            if self.report.upstream_request_id.is_empty() {
                self.report
                    .upstream_request_id
                    .clone_from(&upstream.request_id);
            }
        }
        self.report.write();
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.open {
            self.report.total = self.arrived.elapsed();
            self.report.outcome = Outcome::Cancelled;
            self.report.write();
        }
    }
}
