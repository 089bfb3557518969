//! Observability: metrics, traces and logs, with one record of each call in all three.
//!
//! It handles counts and reasons. Message content is recorded only if it is configured.

pub mod accept_errors;
pub mod call_report;
pub mod content;
pub mod export;
pub mod gauge_guard;
pub mod in_flight;
pub mod live_metrics;
pub mod log;
mod log_limit;
mod log_writer;
pub mod memory_gauges;
pub mod metric_definitions;
pub mod metrics;
pub mod models;
pub mod outcome;
pub mod prices;
mod process;
pub mod store_metrics;
pub mod token_counts;
pub mod trace;

use crate::error::Error;
use crate::memory::MemoryLedger;

use export::Exporter;
use metrics::Metrics;
use prices::RateCard;
use trace::Tracer;

/// Settings of observability.
#[derive(Clone, Debug, Default)]
pub struct TelemetryConfig {
    /// Prices of tokens.
    pub rates: RateCard,
    /// The models that the settings name.
    pub models: Vec<String>,
    /// The memory account that metrics show.
    pub memory: MemoryLedger,
    /// Trace export; `None` disables it.
    pub traces: Option<export::ExportConfig>,
}

/// The metrics and the tracer of a gateway, shared by its modules.
pub struct Telemetry {
    /// The metrics.
    pub metrics: Metrics,
    /// Starts spans, if traces are exported.
    pub tracer: Option<Tracer>,
}

impl Telemetry {
    /// Creates metrics at zero, and the exporter of spans if it is configured.
    pub fn new(settings: &TelemetryConfig) -> Result<(Self, Option<Exporter>), Error> {
        let mut metrics = Metrics::new(settings.rates.clone(), &settings.models)?;
        metrics.memory.follow(settings.memory.clone());
        let (tracer, exporter) = match &settings.traces {
            Some(traces) => {
                let (tracer, exporter) = export::start(traces, &metrics)?;
                (Some(tracer), Some(exporter))
            }
            None => (None, None),
        };
        Ok((Self { metrics, tracer }, exporter))
    }
}
