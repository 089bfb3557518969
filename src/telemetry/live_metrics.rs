//! The metrics of live sessions.

use std::time::Duration;

use prometheus::{CounterVec, HistogramVec, IntCounterVec};

/// The metrics of all live sessions.
pub struct LiveMetrics {
    /// Audio in seconds, by direction and model.
    pub(super) audio: CounterVec,
    /// The latency of first audio, by model.
    pub(super) first_audio: HistogramVec,
    /// Responses, by model and status.
    pub(super) responses: IntCounterVec,
    /// Repairs, by name.
    pub(super) repairs: IntCounterVec,
}

/// What the gateway did for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// A caller resumed it.
    Resume,
    /// It continued on a new connection to DashScope.
    Reconnect,
}

impl LiveMetrics {
    /// Counts audio of a session of this model, in both directions.
    pub fn heard(&self, model: &str, input: Duration, output: Duration) {
        for (direction, audio) in [("input", input), ("output", output)] {
            if !audio.is_zero() {
                let counter = self.audio.with_label_values(&[direction, model]);
                counter.inc_by(audio.as_secs_f64());
            }
        }
    }

    /// Counts the first audio of a response.
    pub fn first_audio(&self, model: &str, latency: Duration) {
        let histogram = self.first_audio.with_label_values(&[model]);
        histogram.observe(latency.as_secs_f64());
    }

    /// Counts a response that has ended.
    pub fn responded(&self, model: &str, status: &str) {
        self.responses.with_label_values(&[model, status]).inc();
    }

    /// Counts a repair.
    pub fn repaired(&self, repair: Repair) {
        let name = match repair {
            Repair::Resume => "resume",
            Repair::Reconnect => "reconnect",
        };
        self.repairs.with_label_values(&[name]).inc();
    }
}
