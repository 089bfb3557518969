//! Exports spans over OTLP, without delaying calls.
//!
//! Ended spans go into a bounded queue. If it is full, because the receiver is slow or unavailable,
//! spans are dropped and counted: no call waits for it.

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

use super::metrics::{Counter, Metrics};
use super::trace::Tracer;

/// Capacity of the queue in spans: half a minute at a hundred calls per second, in a few megabytes.
const QUEUE: usize = 4096;

/// The most spans of one export request.
const BATCH: usize = 512;

/// How long spans are batched.
const GATHER: Duration = Duration::from_secs(1);

/// Timeout of an export request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of the last exports at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest interval between log lines about failures, which usually last for a while.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Settings of trace export.
#[derive(Clone, Debug)]
pub struct ExportConfig {
    /// URL of the receiver, without the path of traces.
    pub endpoint: String,
    /// How the receiver is reached.
    pub network: Network,
    /// Headers to send, `name=value,...`.
    pub headers: Secret,
    /// The service name of this process.
    pub service_name: String,
    /// The share of calls that are traced, 0 to 1.
    pub ratio: f64,
    /// Whether the sampling decision of a caller is followed.
    pub follow_caller: bool,
    /// Whether message content is recorded.
    pub content: bool,
    /// Host and port of DashScope.
    pub server: (String, u16),
}

/// Exports spans until it is stopped.
pub struct Exporter {
    exporter: opentelemetry_otlp::SpanExporter,
    spans: mpsc::Receiver<SpanData>,
    exported: Counter,
    failed: Counter,
    told: Option<Instant>,
}

/// Creates the tracer and the exporter.
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
        // Failed exports are dropped: a queue that waits for retries overflows.
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

/// A running exporter.
pub struct Running {
    over: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Exports the remaining spans and stops, within the timeouts.
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
    /// Runs the exporter on a task of its own.
    pub fn spawn(self) -> Running {
        let (over, ended) = oneshot::channel();
        let task = tokio::spawn(self.run(async {
            // Dropping the sender stops it.
            let _ = ended.await;
        }));
        Running { over, task }
    }

    /// Exports spans until `over` completes, and then the remaining ones.
    async fn run(mut self, over: impl Future<Output = ()>) {
        let mut over = std::pin::pin!(over);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                _ = self.spans.recv_many(&mut batch, BATCH) => {}
                () = &mut over => break,
            }
            // A few more spans may arrive, and can share the request.
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

/// The entry of the queue.
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

/// Parses `name=value,...`. Invalid pairs are left out: the settings were validated.
fn headers(text: &Secret) -> HashMap<String, String> {
    let pairs = text
        .expose()
        .split(',')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}
