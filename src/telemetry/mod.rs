//! What the operator sees: numbers, spans, the log, and in all three one record of each call.
//!
//! It counts and never reads. What was said comes here only when the operator asks for it.

pub mod accept_errors;
pub mod content;
pub mod export;
pub mod in_flight;
pub mod log;
mod log_limit;
mod log_writer;
pub mod memory_gauges;
pub mod metrics;
pub mod models;
pub mod outcome;
pub mod prices;
mod process;
pub mod registry;
pub mod report;
pub mod token_counts;
pub mod trace;

use crate::error::Error;
use crate::memory::MemoryLedger;

use export::Exporter;
use prices::Card;
use registry::Metrics;
use trace::Tracer;

/// What the operator decides about it.
#[derive(Clone, Debug, Default)]
pub struct TelemetryConfig {
    /// What tokens cost.
    pub rates: Card,
    /// The models that the settings name.
    pub models: Vec<String>,
    /// The account of memory that metrics show.
    pub memory: MemoryLedger,
    /// Where spans go; none if nowhere.
    pub traces: Option<export::ExportConfig>,
}

/// Where everything is counted. One for a gateway; rooms share it.
pub struct Telemetry {
    /// The numbers.
    pub metrics: Metrics,
    /// What begins spans, if there are any.
    pub tracer: Option<Tracer>,
}

impl Telemetry {
    /// Counts from zero. The second takes spans away, if there are any.
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
