//! The values of the metrics, and their Prometheus text format.
//!
//! What a call updates repeatedly is a handle that was created before: updating it is an atomic
//! addition, without a lock or an allocation. `prometheus` is used because its histograms consist
//! of atomics; those of `prometheus-client` lock at each value, and those of
//! `metrics-exporter-prometheus` keep every value until a scrape.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    CounterVec, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::error::{Error, Reason};

use super::gauge_guard::GaugeGuard;
use super::live_metrics::LiveMetrics;
use super::log;
use super::memory_gauges::MemoryGauges;
use super::metric_definitions::{self as table, Kind, METHODS, Metric};
use super::models::{Families, Model, Models, OTHER};
use super::outcome::Outcome;
use super::prices::RateCard;
use super::process::Process;
use super::store_metrics::StoreMetrics;
use super::token_counts::Tokens;

/// The most error codes of DashScope with a label value of their own. It documents about a hundred,
/// of which a gateway meets about ten.
const MAX_CODES: usize = 64;

/// The longest error code that becomes a label value.
const MAX_CODE: usize = 64;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of one gateway.
pub struct Metrics {
    registry: Registry,
    started: IntCounterVec,
    handled: IntCounterVec,
    handling: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    calls: IntCounterVec,
    /// By method.
    in_flight: [(&'static str, IntGauge); METHODS.len()],
    shed: IntCounterVec,
    models: Models,
    upstream: IntCounterVec,
    /// The counter of responses without an error, once there is one.
    answered: OnceLock<IntCounter>,
    codes: LabelValues,
    retries: IntCounterVec,
    fallbacks: IntCounterVec,
    uploaded: IntCounterVec,
    spans: IntCounterVec,
    /// The metrics of live sessions.
    pub live: LiveMetrics,
    /// The metrics of the store.
    pub store: StoreMetrics,
    /// The limit of calls in flight.
    pub limit: IntGauge,
    /// Whether limits are applied by this replica alone.
    pub limits_unshared: IntGauge,
    /// The memory account.
    pub memory: MemoryGauges,
    connections: IntGauge,
    closed: IntCounterVec,
    accept_errors: IntCounterVec,
    accepted: IntCounter,
    /// Connections closed because there were too many.
    pub refused: IntCounter,
}

/// A counter.
pub type Counter = IntCounter;

/// The metrics of one gRPC method.
#[derive(Clone)]
pub struct Method {
    /// Calls started.
    pub started: IntCounter,
    /// Calls completed, in the order of the codes given at creation.
    pub handled: Vec<IntCounter>,
    /// Duration of calls, in seconds.
    pub handling: Histogram,
    /// Messages received.
    pub received: IntCounter,
    /// Messages sent.
    pub sent: IntCounter,
}

impl Metrics {
    /// All metrics at zero. `models` are those that the settings name.
    pub fn new(card: RateCard, models: &[String]) -> Result<Self, Error> {
        let mut registrar = Registrar::default();
        let made = Self::made(&mut registrar, card, models);
        made.map_err(|error| {
            Error::new(Reason::GatewayBug, "a metric cannot be registered").with_source(error)
        })
    }

    fn made(
        registrar: &mut Registrar,
        card: RateCard,
        models: &[String],
    ) -> prometheus::Result<Self> {
        let families = Families {
            first_token: registrar.histograms(&table::FIRST_TOKEN)?,
            chunk: registrar.histograms(&table::CHUNK)?,
            tokens: registrar.counters(&table::TOKENS)?,
            cost: registrar.amounts(&table::COST)?,
        };
        let build = registrar.gauges(&table::BUILD)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registrar.process()?;
        registrar.log_lines()?;
        let connected = registrar.counters(&table::CONNECTED)?;
        Ok(Self {
            models: Models::new(families, card, models),
            started: registrar.counters(&table::STARTED)?,
            handled: registrar.counters(&table::HANDLED)?,
            handling: registrar.histograms(&table::HANDLING)?,
            received: registrar.counters(&table::RECEIVED)?,
            sent: registrar.counters(&table::SENT)?,
            calls: registrar.counters(&table::CALLS)?,
            in_flight: {
                let gauges = registrar.gauges(&table::IN_FLIGHT)?;
                METHODS.map(|method| (method, gauges.with_label_values(&[method])))
            },
            shed: registrar.counters(&table::SHED)?,
            memory: MemoryGauges::new(
                registrar.gauges(&table::MEMORY)?,
                &registrar.gauges(&table::MEMORY_LIMIT)?,
                registrar.counters(&table::RELIEVED)?,
            ),
            upstream: registrar.counters(&table::UPSTREAM)?,
            answered: OnceLock::new(),
            codes: LabelValues::default(),
            retries: registrar.counters(&table::RETRIES)?,
            fallbacks: registrar.counters(&table::FALLBACKS)?,
            uploaded: registrar.counters(&table::UPLOADED)?,
            spans: registrar.counters(&table::SPANS)?,
            live: LiveMetrics {
                audio: registrar.amounts(&table::LIVE_AUDIO)?,
                first_audio: registrar.histograms(&table::LIVE_FIRST_AUDIO)?,
                responses: registrar.counters(&table::LIVE_RESPONSES)?,
                repairs: registrar.counters(&table::LIVE_REPAIRS)?,
            },
            store: StoreMetrics {
                operations: registrar.histograms(&table::STORE_OPERATION)?,
                up: registrar.gauges(&table::STORE_UP)?,
            },
            limit: registrar.gauge(&table::LIMIT)?,
            limits_unshared: registrar.gauge(&table::LIMITS_UNSHARED)?,
            connections: registrar.gauge(&table::CONNECTIONS)?,
            closed: registrar.counters(&table::CLOSED)?,
            accept_errors: registrar.counters(&table::ACCEPT_ERRORS)?,
            accepted: connected.with_label_values(&["accepted"]),
            refused: connected.with_label_values(&["refused"]),
            registry: registrar.registry.clone(),
        })
    }

    /// The handles of a gRPC method, by its type, service and name, for the codes with which it can
    /// end.
    pub fn method(&self, labels: [&str; 3], codes: &[&str]) -> Method {
        let [kind, service, method] = labels;
        let handled = codes.iter().map(|code| {
            self.handled
                .with_label_values(&[kind, service, method, *code])
        });
        Method {
            started: self.started.with_label_values(&labels),
            handled: handled.collect(),
            handling: self.handling.with_label_values(&labels),
            received: self.received.with_label_values(&labels),
            sent: self.sent.with_label_values(&labels),
        }
    }

    /// Counts a call of this method as in flight until the guard is dropped.
    pub fn call(&self, method: &str) -> Option<GaugeGuard> {
        let mut gauges = self.in_flight.iter();
        let (_, gauge) = gauges.find(|(name, _)| *name == method)?;
        Some(GaugeGuard::new(gauge))
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> GaugeGuard {
        self.accepted.inc();
        GaugeGuard::new(&self.connections)
    }

    /// Counts a connection that was closed for a violation.
    pub fn closed(&self, reason: &str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// Counts a connection that could not be accepted.
    pub fn accept_failed(&self, reason: &str) {
        self.accept_errors.with_label_values(&[reason]).inc();
    }

    /// The counter of bytes uploaded this way.
    pub fn uploaded(&self, via: &str) -> IntCounter {
        self.uploaded.with_label_values(&[via])
    }

    /// The counter of spans with this outcome.
    pub fn spans(&self, outcome: &str) -> IntCounter {
        self.spans.with_label_values(&[outcome])
    }

    /// Counts the tokens and costs of an answer of this model. See [`Models::spend`].
    pub fn spend(&self, name: &str, model: &Model, caller: Option<&str>, used: &Tokens) {
        self.models.spend(name, model, caller, used);
    }

    /// The metrics of a model that DashScope has answered for.
    pub fn model(&self, name: &str) -> Arc<Model> {
        self.models.learn(name)
    }

    /// The metrics under which calls of a model name are counted.
    pub(super) fn label(&self, name: &str) -> Arc<Model> {
        self.models.label(name)
    }

    /// Counts the end of a call.
    pub(super) fn ended(&self, model: &Model, outcome: Outcome) {
        let counter = || {
            let labels = [model.name(), outcome.name()];
            self.calls.with_label_values(&labels)
        };
        match outcome {
            Outcome::Ok => model.answered.get_or_init(counter).inc(),
            Outcome::Cancelled | Outcome::Failed(..) => counter().inc(),
        }
    }

    /// Counts a call refused because of a limit.
    pub(super) fn shed(&self, reason: Reason) {
        self.shed.with_label_values(&[reason.name()]).inc();
    }

    /// Counts an attempt at DashScope, with its error.
    pub fn attempted(&self, error: Option<&Error>) {
        let Some(error) = error else {
            let counter = || self.upstream.with_label_values(&["200", ""]);
            return self.answered.get_or_init(counter).inc();
        };
        let Some(upstream) = error.upstream() else {
            let code = error.reason().name();
            self.upstream.with_label_values(&["none", code]).inc();
            return;
        };
        let status = match upstream.http_status {
            0 => "none".to_owned(),
            status => status.to_string(),
        };
        let code = self.codes.label(&upstream.code);
        self.upstream.with_label_values(&[&*status, code]).inc();
    }

    /// Counts a retry after this error.
    pub fn retried(&self, reason: Reason) {
        self.retries.with_label_values(&[reason.name()]).inc();
    }

    /// Counts a fallback to another model after this error.
    pub fn fell_back(&self, reason: Reason) {
        self.fallbacks.with_label_values(&[reason.name()]).inc();
    }

    /// All metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        self.memory.update();
        let families = self.registry.gather();
        // Encoding fails only for families without metrics, which are not gathered.
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }
}

/// A bounded set of label values from outside.
#[derive(Default)]
struct LabelValues(RwLock<HashSet<Box<str>>>);

impl LabelValues {
    fn label<'a>(&self, word: &'a str) -> &'a str {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if word.is_empty() || known.contains(word) {
            return word;
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if word.len() > MAX_CODE || known.len() >= MAX_CODES {
            return OTHER;
        }
        known.insert(word.into());
        word
    }
}

/// Registers the metrics of the table.
#[derive(Default)]
struct Registrar {
    registry: Registry,
    made: Vec<&'static str>,
}

impl Registrar {
    fn add<C>(&mut self, metric: &Metric, collector: C) -> prometheus::Result<C>
    where
        C: Collector + Clone + 'static,
    {
        self.made.push(metric.name);
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(&mut self, metric: &Metric) -> prometheus::Result<IntCounterVec> {
        self.add(metric, IntCounterVec::new(opts(metric), metric.labels)?)
    }

    fn gauge(&mut self, metric: &Metric) -> prometheus::Result<IntGauge> {
        self.add(metric, IntGauge::with_opts(opts(metric))?)
    }

    fn gauges(&mut self, metric: &Metric) -> prometheus::Result<IntGaugeVec> {
        self.add(metric, IntGaugeVec::new(opts(metric), metric.labels)?)
    }

    fn amounts(&mut self, metric: &Metric) -> prometheus::Result<CounterVec> {
        self.add(metric, CounterVec::new(opts(metric), metric.labels)?)
    }

    fn histograms(&mut self, metric: &Metric) -> prometheus::Result<HistogramVec> {
        let buckets = match metric.kind {
            Kind::Histogram(buckets) => buckets.to_vec(),
            Kind::Counter | Kind::Gauge => Vec::new(),
        };
        let opts = HistogramOpts::from(opts(metric)).buckets(buckets);
        self.add(metric, HistogramVec::new(opts, metric.labels)?)
    }

    /// The log belongs to the process, not to a gateway, so its counts are read at each scrape.
    fn log_lines(&mut self) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(opts(&table::LOG_DROPPED), table::LOG_DROPPED.labels)?;
        self.made.push(table::LOG_DROPPED.name);
        self.registry.register(Box::new(LogLines(counters)))
    }

    fn process(&mut self) -> prometheus::Result<()> {
        let mut gauge = |metric: &Metric| {
            self.made.push(metric.name);
            Gauge::with_opts(opts(metric))
        };
        let process = Process {
            fds: gauge(&table::PROCESS_FDS)?,
            max_fds: gauge(&table::PROCESS_MAX_FDS)?,
            resident: gauge(&table::PROCESS_RESIDENT)?,
            virtual_memory: gauge(&table::PROCESS_VIRTUAL)?,
            start: gauge(&table::PROCESS_START)?,
            cpu: prometheus::Counter::with_opts(opts(&table::PROCESS_CPU))?,
        };
        self.made.push(table::PROCESS_CPU.name);
        self.registry.register(Box::new(process))
    }
}

/// Reads the counts of dropped log lines at each scrape.
struct LogLines(IntCounterVec);

impl Collector for LogLines {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (reason, count) in log::dropped() {
            let counter = self.0.with_label_values(&[reason]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        self.0.collect()
    }
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::usage::Usage;
    use crate::error::Upstream;

    fn metrics() -> Metrics {
        Metrics::new(RateCard::default(), &[]).unwrap()
    }

    #[test]
    fn every_metric_of_the_table_is_registered_and_no_other() {
        let mut registrar = Registrar::default();
        Metrics::made(&mut registrar, RateCard::default(), &[]).unwrap();
        let mut table: Vec<_> = table::ALL.iter().map(|metric| metric.name).collect();
        table.sort_unstable();
        registrar.made.sort_unstable();
        assert_eq!(registrar.made, table);
    }

    #[test]
    fn made_up_names_fill_no_memory_and_displace_no_model() {
        let metrics = metrics();
        let usage = Usage {
            input_tokens: Some(1),
            ..Usage::default()
        };
        let used = Tokens::of(&usage);
        for n in 0..1_000 {
            let model = metrics.label(&format!("made-up-{n}"));
            metrics.ended(
                &model,
                Outcome::Failed(crate::error::Kind::NotFound, Reason::ModelNotFound),
            );
        }
        let model = metrics.model("real");
        metrics.spend("real", &model, Some("team"), &used);
        for n in 0..2_000 {
            let (name, caller) = (format!("answered-{n}"), format!("caller-{n}"));
            let model = metrics.model(&name);
            metrics.spend(&name, &model, Some(&caller), &used);
            let model = metrics.model("real");
            metrics.spend("real", &model, Some(&caller), &used);
            metrics.attempted(Some(
                &Error::new(Reason::UpstreamUnknown, "").with_upstream(Upstream {
                    code: format!("code-{n}"),
                    http_status: 500,
                    ..Upstream::default()
                }),
            ));
        }
        metrics.spend("real", &model, Some("team"), &used);
        let text = metrics.text();
        assert!(text.len() < 1 << 20, "{}", text.len());
        for line in [
            r#"dashgate_calls_total{model="other",outcome="MODEL_NOT_FOUND"} 1000"#,
            r#"dashgate_tokens_total{caller="team",kind="input",model="real"} 2"#,
            r#"dashgate_upstream_requests_total{code="other",status="500"} 1936"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let total: u64 = text
            .lines()
            .filter(|line| line.starts_with("dashgate_tokens_total{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(total, 4_002);
    }

    #[test]
    fn a_model_costs_its_own_rate() {
        let card = RateCard::new("CNY".to_owned(), &[("m".to_owned(), [2.0, 8.0])]);
        let metrics = Metrics::new(card, &["m".to_owned()]).unwrap();
        let usage = Usage {
            input_tokens: Some(500_000),
            output_tokens: Some(250_000),
            ..Usage::default()
        };
        let used = Tokens::of(&usage);
        for name in ["m", "free"] {
            let model = metrics.model(name);
            metrics.spend(name, &model, None, &used);
        }
        let text = metrics.text();
        let costs: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("dashgate_cost_total{"))
            .collect();
        let expected = r#"dashgate_cost_total{caller="anonymous",currency="CNY",model="m"} 3"#;
        assert_eq!(costs, [expected]);
    }

    #[test]
    fn process_metrics_are_read_from_the_system() {
        let text = metrics().text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_open_fds ") >= 3.0);
        assert!(value("process_start_time_seconds ") > 1.7e9);
    }
}
