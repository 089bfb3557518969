//! Takes spans to the operator's receiver, over OTLP, beside the calls and never before them.
//!
//! A span that has ended goes into a queue with a bound. If that is full, because the receiver is
//! slow or gone, the span is dropped and counted: no call ever waits for it.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracerProvider, Span as SdkSpan, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, Reason};
use crate::net::Network;
use crate::secret::Secret;

use super::registry::{Counter, Metrics};
use super::trace::Tracer;

/// The most spans that wait: half a minute of a hundred calls a second, in a few megabytes.
const QUEUE: usize = 4096;

/// The most spans of one request.
const BATCH: usize = 512;

/// How long spans are gathered for one request.
const GATHER: Duration = Duration::from_secs(1);

/// How long the receiver may take for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last spans may take when the gateway goes down.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a failure is told in the log: a receiver that is gone stays gone for a while.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What the operator decides about traces.
#[derive(Clone, Debug)]
pub struct ExportConfig {
    /// Where the receiver is, without the path of traces.
    pub endpoint: String,
    /// The way there.
    pub network: Network,
    /// The headers that it wants, `name=value,...`.
    pub headers: Secret,
    /// What this process is called.
    pub service_name: String,
    /// The share of calls that are traced, 0 to 1.
    pub ratio: f64,
    /// Whether a caller that has decided already is followed.
    pub follow_caller: bool,
    /// Whether what is said goes into spans.
    pub content: bool,
    /// Where DashScope is: host and port.
    pub server: (String, u16),
}

/// Brings spans away until it is told that no more will come.
pub struct Exporter {
    exporter: opentelemetry_otlp::SpanExporter,
    spans: mpsc::Receiver<SpanData>,
    exported: Counter,
    failed: Counter,
    told: Option<Instant>,
}

/// Makes what begins spans and what takes them away.
pub(super) fn start(
    settings: &ExportConfig,
    metrics: &Metrics,
) -> Result<(Tracer, Exporter), Error> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(Reason::GatewayConfig, "trace export failed").with_source(error)
    };
    let client = settings
        .network
        .http_client(REQUEST_TIMEOUT)
        .map_err(|error| wrong(&error))?
        .timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(|error| wrong(&error.without_url()))?;
    let endpoint = settings.endpoint.trim_end_matches('/');
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(REQUEST_TIMEOUT)
        // What fails is dropped: a queue that waits for a second try is a queue that overflows.
        .with_retry_policy(RetryPolicy::disabled())
        .with_headers(headers(&settings.headers))
        .build()
        .map_err(|error| wrong(&error))?;
    let resource = Resource::builder_empty()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporter.set_resource(&resource);
    let (queue, spans) = mpsc::channel(QUEUE);
    let dropped = metrics.spans("dropped");
    let ratio = Sampler::TraceIdRatioBased(settings.ratio);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(match settings.follow_caller {
            true => Sampler::ParentBased(Box::new(ratio)),
            false => ratio,
        })
        .with_span_processor(Queue { queue, dropped })
        .build();
    let tracer = provider.tracer("dashgate");
    let exporter = Exporter {
        exporter,
        spans,
        exported: metrics.spans("exported"),
        failed: metrics.spans("failed"),
        told: None,
    };
    let tracer = Tracer::new(tracer, settings.server.clone(), settings.content);
    Ok((tracer, exporter))
}

/// An exporter that runs.
pub struct Running {
    over: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Takes the last spans away, and ends; in time, whatever the receiver does.
    pub async fn finish(mut self) {
        drop(self.over);
        if tokio::time::timeout(FLUSH_TIMEOUT, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
            tracing::warn!("last trace spans were not exported in time");
        }
    }
}

impl Exporter {
    /// Runs on its own, beside the calls.
    pub fn spawn(self) -> Running {
        let (over, ended) = oneshot::channel();
        let task = tokio::spawn(self.run(async {
            // A sender that is gone is how it is told.
            let _ = ended.await;
        }));
        Running { over, task }
    }

    /// Takes spans away until `over`, and then those that are left.
    async fn run(mut self, over: impl Future<Output = ()>) {
        let mut over = std::pin::pin!(over);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                _ = self.spans.recv_many(&mut batch, BATCH) => {}
                () = &mut over => break,
            }
            // A few more may come, and cost the receiver nothing.
            let gathered = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    self.spans.recv_many(&mut batch, room).await;
                }
            };
            let last = tokio::select! {
                _ = tokio::time::timeout(GATHER, gathered) => false,
                () = &mut over => true,
            };
            self.export(&mut batch).await;
            if last {
                break;
            }
        }
        let rest = async {
            while let Ok(span) = self.spans.try_recv() {
                batch.push(span);
                if batch.len() >= BATCH {
                    self.export(&mut batch).await;
                }
            }
            self.export(&mut batch).await;
        };
        rest.await;
    }

    async fn export(&mut self, batch: &mut Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        match self.exporter.export(std::mem::take(batch)).await {
            Ok(()) => self.exported.inc_by(count),
            Err(error) => {
                self.failed.inc_by(count);
                let now = Instant::now();
                if self.told.is_none_or(|told| now >= told + TELL_EVERY) {
                    self.told = Some(now);
                    tracing::warn!(%error, spans = count, "trace export failed");
                }
            }
        }
    }
}

/// The door of the queue.
struct Queue {
    queue: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// `name=value,...`. What is no pair is left out: it was checked with the settings.
fn headers(text: &Secret) -> HashMap<String, String> {
    let pairs = text
        .expose()
        .split(',')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}
