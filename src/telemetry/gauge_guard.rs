//! Gauges that count what exists.

use prometheus::IntGauge;

/// Increments a gauge for as long as it exists.
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    /// Increments this gauge.
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
