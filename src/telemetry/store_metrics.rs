//! The metrics of the store.

use std::time::Duration;

use prometheus::{HistogramVec, IntGaugeVec};

use crate::error::Error;

/// The metrics of the store.
pub struct StoreMetrics {
    /// Durations, by operation and outcome.
    pub(super) operations: HistogramVec,
    /// Whether it answers, by engine.
    pub(super) up: IntGaugeVec,
}

impl StoreMetrics {
    /// Counts an operation with this result.
    pub fn ended(&self, operation: &str, result: Result<(), &Error>, duration: Duration) {
        let outcome = result.map_or_else(|error| error.reason().name(), |()| "OK");
        let histogram = self.operations.with_label_values(&[operation, outcome]);
        histogram.observe(duration.as_secs_f64());
    }

    /// Shows whether the store of this engine answers.
    pub fn up(&self, engine: &str, up: bool) {
        self.up.with_label_values(&[engine]).set(i64::from(up));
    }
}
