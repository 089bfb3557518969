//! The admin port: metrics, health, effective configuration and calls over plain HTTP.
//!
//! It has no authentication, so it is disabled by default and has an address of its own. It changes
//! nothing, and no page contains a secret or message content.

mod host;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::telemetry::Telemetry;
use crate::telemetry::accept_errors::Failures;
use crate::telemetry::in_flight::Calls;
use crate::telemetry::metrics;

/// The most concurrent connections: a few scrapers and people. For a further one the oldest is
/// closed: a page takes milliseconds, so that connection is idle or does not read.
const MAX_CONNECTIONS: usize = 64;

/// Timeout of the request headers, which fit into one packet.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest request header, in bytes. A browser with many cookies sends some kilobytes.
const MAX_HEAD: usize = 16 * 1024;

/// Timeout of a request with its response. A page is created in milliseconds; a slower reader does
/// not read at all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of this port in the log.
const PORT: &str = "admin";

/// The page at `/`.
const INDEX: &str = "\
dashgate
/metrics  Prometheus metrics
/healthz  liveness
/readyz   readiness
/config   the effective configuration, secrets redacted
/calls    the calls in flight, as JSON
";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The content of the pages, each created on request.
pub struct Pages {
    /// All metrics in the Prometheus text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether the gateway is ready for calls.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// The state of the store, as a line; empty without a store.
    pub store: Box<dyn Fn() -> String + Send + Sync>,
    /// The effective configuration, without secrets.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
    /// The calls in flight.
    pub calls: Box<dyn Fn() -> Calls + Send + Sync>,
    /// The allowed host names, besides IP addresses and loopback names.
    pub allowed_hosts: Vec<String>,
}

/// Serves until it is dropped. Never completes, also if the port is disabled.
pub async fn serve(listener: Option<TcpListener>, pages: Pages, telemetry: Arc<Telemetry>) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let pages = Arc::new(pages);
    let mut connections = JoinSet::new();
    // From the oldest to the newest.
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let mut failures = Failures::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tokio::time::sleep(failures.add(PORT, &error, &telemetry.metrics)).await;
                continue;
            }
        };
        failures.forget();
        while connections.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = connection(stream, Arc::clone(&pages));
        open.push_back(connections.spawn(async move {
            // A connection that exceeds the timeout is closed.
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, connection).await;
        }));
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = answer(&request, &pages);
        async move { Ok::<_, Infallible>(answer) }
    });
    // One request per connection, so that one timeout bounds both.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin connection failed");
    }
}

fn answer<B>(request: &Request<B>, pages: &Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
        let methods = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, methods);
        return refusal;
    }
    if !host::is_allowed(request, &pages.allowed_hosts) {
        let text = "host name not allowed: use an IP address, or add the name to \
                    admin.allowed_hosts\n";
        return page(StatusCode::MISDIRECTED_REQUEST, TEXT, text);
    }
    let ok = StatusCode::OK;
    match request.uri().path() {
        "/" => page(ok, TEXT, INDEX),
        "/metrics" => page(ok, metrics::CONTENT_TYPE, (pages.metrics)()),
        "/healthz" => page(ok, TEXT, "ok\n"),
        "/readyz" if (pages.ready)() => page(ok, TEXT, format!("ready\n{}", (pages.store)())),
        "/readyz" => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n"),
        "/config" => page(ok, TEXT, (pages.config)()),
        "/calls" => match serde_json::to_string(&(pages.calls)()) {
            Ok(calls) => page(ok, JSON, calls),
            Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no calls\n"),
        },
        _ => {
            let text = format!("there is no such page; there are:\n\n{INDEX}");
            page(StatusCode::NOT_FOUND, TEXT, text)
        }
    }
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
