//! The numbers themselves, and their text for Prometheus.
//!
//! Whatever a call touches more than once is a handle that was made before: adding to it is an
//! atomic addition, without a lock and without memory. `prometheus` is the crate for it because its
//! histograms are made of atomics; those of `prometheus-client` lock at each value, and those of
//! `metrics-exporter-prometheus` keep every value until somebody scrapes.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    CounterVec, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::error::{Error, Reason};

use super::log;
use super::memory_gauges::MemoryGauges;
use super::metrics::{self as table, Kind, Metric};
use super::models::{Families, Model, Models, OTHER};
use super::outcome::Outcome;
use super::prices::Card;
use super::process::Process;
use super::token_counts::Tokens;

/// The most codes of DashScope with a number of their own. It documents about a hundred, of which
/// an operator meets ten.
const MAX_CODES: usize = 64;

/// The longest code that becomes a label.
const MAX_CODE: usize = 64;

/// The methods that ask DashScope.
const METHODS: [&str; 3] = ["Converse", "ConverseStream", "UploadMedia"];

/// The type of what the text is, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All numbers of one gateway.
pub struct Metrics {
    registry: Registry,
    started: IntCounterVec,
    handled: IntCounterVec,
    handling: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    calls: IntCounterVec,
    /// By their method.
    in_flight: [(&'static str, IntGauge); METHODS.len()],
    shed: IntCounterVec,
    models: Models,
    upstream: IntCounterVec,
    /// Answers of DashScope that are none of a fault, once there are some.
    answered: OnceLock<IntCounter>,
    codes: Words,
    retries: IntCounterVec,
    fallbacks: IntCounterVec,
    uploaded: IntCounterVec,
    spans: IntCounterVec,
    /// The most calls that may be in flight.
    pub limit: IntGauge,
    /// The account of memory.
    pub memory: MemoryGauges,
    connections: IntGauge,
    closed: IntCounterVec,
    accept_errors: IntCounterVec,
    accepted: IntCounter,
    /// Connections that were closed because there were too many.
    pub refused: IntCounter,
}

/// A count that only grows.
pub type Counter = IntCounter;

/// Something that is there as long as this is: it counts in a gauge.
pub struct Present(IntGauge);

impl Present {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The numbers of one gRPC method.
#[derive(Clone)]
pub struct Method {
    /// Calls that came.
    pub started: IntCounter,
    /// Calls that ended, in the order of the codes that were given.
    pub handled: Vec<IntCounter>,
    /// How long they took, in seconds.
    pub handling: Histogram,
    /// Messages that came.
    pub received: IntCounter,
    /// Messages that were sent.
    pub sent: IntCounter,
}

impl Metrics {
    /// All numbers, at zero. `models` are those that the operator names.
    pub fn new(card: Card, models: &[String]) -> Result<Self, Error> {
        let mut maker = Maker::default();
        let made = Self::made(&mut maker, card, models);
        made.map_err(|error| {
            Error::new(Reason::GatewayBug, "a metric cannot be registered").with_source(error)
        })
    }

    fn made(maker: &mut Maker, card: Card, models: &[String]) -> prometheus::Result<Self> {
        let families = Families {
            first_token: maker.histograms(&table::FIRST_TOKEN)?,
            chunk: maker.histograms(&table::CHUNK)?,
            tokens: maker.counters(&table::TOKENS)?,
            cost: {
                let cost = CounterVec::new(opts(&table::COST), table::COST.labels)?;
                maker.add(&table::COST, cost)?
            },
        };
        let build = maker.gauges(&table::BUILD)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        maker.process()?;
        maker.log_lines()?;
        let connected = maker.counters(&table::CONNECTED)?;
        Ok(Self {
            models: Models::new(families, card, models),
            started: maker.counters(&table::STARTED)?,
            handled: maker.counters(&table::HANDLED)?,
            handling: maker.histograms(&table::HANDLING)?,
            received: maker.counters(&table::RECEIVED)?,
            sent: maker.counters(&table::SENT)?,
            calls: maker.counters(&table::CALLS)?,
            in_flight: {
                let gauges = maker.gauges(&table::IN_FLIGHT)?;
                METHODS.map(|method| (method, gauges.with_label_values(&[method])))
            },
            shed: maker.counters(&table::SHED)?,
            memory: MemoryGauges::new(
                maker.gauges(&table::MEMORY)?,
                &maker.gauges(&table::MEMORY_LIMIT)?,
                maker.counters(&table::RELIEVED)?,
            ),
            upstream: maker.counters(&table::UPSTREAM)?,
            answered: OnceLock::new(),
            codes: Words::default(),
            retries: maker.counters(&table::RETRIES)?,
            fallbacks: maker.counters(&table::FALLBACKS)?,
            uploaded: maker.counters(&table::UPLOADED)?,
            spans: maker.counters(&table::SPANS)?,
            limit: {
                let limit = IntGauge::with_opts(opts(&table::LIMIT))?;
                maker.add(&table::LIMIT, limit)?
            },
            connections: {
                let connections = IntGauge::with_opts(opts(&table::CONNECTIONS))?;
                maker.add(&table::CONNECTIONS, connections)?
            },
            closed: maker.counters(&table::CLOSED)?,
            accept_errors: maker.counters(&table::ACCEPT_ERRORS)?,
            accepted: connected.with_label_values(&["accepted"]),
            refused: connected.with_label_values(&["refused"]),
            registry: maker.registry.clone(),
        })
    }

    /// The handles of a gRPC method: its type, service and name, and the codes that it may end
    /// with.
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

    /// A call of this method has come, and is in flight until this is dropped.
    pub fn call(&self, method: &str) -> Option<Present> {
        let mut gauges = self.in_flight.iter();
        let (_, gauge) = gauges.find(|(name, _)| *name == method)?;
        Some(Present::new(gauge))
    }

    /// A connection has come, and is open until this is dropped.
    pub fn connection(&self) -> Present {
        self.accepted.inc();
        Present::new(&self.connections)
    }

    /// A connection was closed because of what it did.
    pub fn closed(&self, reason: &str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// A connection could not be accepted.
    pub fn accept_failed(&self, reason: &str) {
        self.accept_errors.with_label_values(&[reason]).inc();
    }

    /// The bytes that go to the storage by this way.
    pub fn uploaded(&self, via: &str) -> IntCounter {
        self.uploaded.with_label_values(&[via])
    }

    /// The spans that came to this end.
    pub fn spans(&self, outcome: &str) -> IntCounter {
        self.spans.with_label_values(&[outcome])
    }

    /// Counts what an answer of this model used. See [`Models::spend`].
    pub fn spend(&self, name: &str, model: &Model, caller: Option<&str>, used: &Tokens) {
        self.models.spend(name, model, caller, used);
    }

    /// The numbers of a model that DashScope answers by.
    pub fn model(&self, name: &str) -> Arc<Model> {
        self.models.learn(name)
    }

    /// The numbers that calls of a name count in.
    pub(super) fn label(&self, name: &str) -> Arc<Model> {
        self.models.label(name)
    }

    /// A call has ended.
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

    /// A call was refused because of a limit.
    pub(super) fn shed(&self, reason: Reason) {
        self.shed.with_label_values(&[reason.name()]).inc();
    }

    /// DashScope was asked, and this came of it.
    pub fn asked(&self, error: Option<&Error>) {
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

    /// An attempt is made again after this fault.
    pub fn retried(&self, reason: Reason) {
        self.retries.with_label_values(&[reason.name()]).inc();
    }

    /// Another model is asked after this fault.
    pub fn fell_back(&self, reason: Reason) {
        self.fallbacks.with_label_values(&[reason.name()]).inc();
    }

    /// All numbers as Prometheus reads them.
    pub fn text(&self) -> String {
        self.memory.look();
        let families = self.registry.gather();
        // It fails for families without numbers alone, and those are not gathered.
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }
}

/// Words from outside that become labels: so many, and no more.
#[derive(Default)]
struct Words(RwLock<HashSet<Box<str>>>);

impl Words {
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

/// Makes metrics by the table.
#[derive(Default)]
struct Maker {
    registry: Registry,
    made: Vec<&'static str>,
}

impl Maker {
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

    fn gauges(&mut self, metric: &Metric) -> prometheus::Result<IntGaugeVec> {
        self.add(metric, IntGaugeVec::new(opts(metric), metric.labels)?)
    }

    fn histograms(&mut self, metric: &Metric) -> prometheus::Result<HistogramVec> {
        let buckets = match metric.kind {
            Kind::Histogram(buckets) => buckets.to_vec(),
            Kind::Counter | Kind::Gauge => Vec::new(),
        };
        let opts = HistogramOpts::from(opts(metric)).buckets(buckets);
        self.add(metric, HistogramVec::new(opts, metric.labels)?)
    }

    /// The log belongs to the process and not to a gateway, so its counts are read at each scrape.
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

/// Reads at each scrape how many lines are not in the log.
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
        Metrics::new(Card::default(), &[]).unwrap()
    }

    #[test]
    fn every_metric_of_the_table_is_registered_and_no_other() {
        let mut maker = Maker::default();
        Metrics::made(&mut maker, Card::default(), &[]).unwrap();
        let mut table: Vec<_> = table::ALL.iter().map(|metric| metric.name).collect();
        table.sort_unstable();
        maker.made.sort_unstable();
        assert_eq!(maker.made, table);
    }

    #[test]
    fn made_up_names_fill_no_memory_and_push_out_nobody() {
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
            metrics.asked(Some(
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
    fn a_model_is_paid_for_by_its_own_rate() {
        let card = Card::new("CNY".to_owned(), &[("m".to_owned(), [2.0, 8.0])]);
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
    fn the_system_tells_of_this_process() {
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
