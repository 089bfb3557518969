//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::chat::call::{Connection, Origin};
use crate::memory::{Kind, MemoryLedger};

use super::Service;
use super::call_clock::CallClock;
use super::client_cert;
use super::cors::{self, Origins};
use super::grpc_web::{self, Form, WebResponse};
use super::http2_guard::Guard;
use super::open_calls::{Open, OpenCalls};
use super::phase::Phase;
use super::plain_http;
use super::socket::Stream;
use super::stream_task::{ConnectionClock, Slot, StreamExecutor, Stuck};
use super::tls::{self, Tls};
use super::transport_body::TransportBody;

/// The receive window of a connection. Audio comes in many small frames, and the HTTP/2 library
/// counts unread ones against half of this.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The receive window of a call.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// The maximum frame size. Media take a quarter of the frames and reads of HTTP/2's default, from
/// clients that use it.
const MAX_FRAME: u32 = 64 * 1024;

/// The HTTP/2 library's limit on headers, far above the gateway's own limit on metadata, which ends
/// one call only. Beyond this the library responds 431 without a gRPC status. It also ends the
/// connection after a quarter more CONTINUATION frames than this holds of the largest frames, which
/// is 20: enough for 256 KiB in frames of HTTP/2's default of 16 KiB.
const MAX_HEADER_LIST: u32 = 1024 * 1024;
const _: () = {
    let (frames, default_frame) = (MAX_HEADER_LIST / MAX_FRAME, 16 * 1024);
    assert!((frames + frames / 4) * default_frame >= 256 * 1024);
};

/// The limit for HTTP/1.1, where the library counts the whole head and accepts no less than 8 KiB.
const MAX_HEAD: usize = 64 * 1024;

/// The send buffer of a response whose caller does not read.
const SEND_BUFFER: usize = 64 * 1024;

/// An idle peer is pinged after this time, and closed if it does not respond within the same time:
/// a dead caller must not keep a model running.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a connection that is too old, with live sessions, is checked at least.
const LASTING_CHECK: Duration = Duration::from_secs(1);

/// The maximum number of calls that were reset before they began. More are a flood and end the
/// connection; a hundred calls may be open, and all of them may be cancelled at once.
const MAX_PENDING_RESETS: usize = 200;

/// The maximum number of calls that this side had to reset because of what the peer sent. A correct
/// peer causes none.
const MAX_LOCAL_RESETS: usize = 200;

/// The context that all connections share. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionContext<S> {
    /// Handles the calls.
    pub service: S,
    /// The web origins that may call.
    pub origins: Arc<Origins>,
    /// TLS; `None` for plaintext.
    pub tls: Option<Arc<Tls>>,
    /// The limits of a connection.
    pub limits: Limits,
    /// The memory ledger.
    pub memory: MemoryLedger,
}

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number of concurrent calls.
    pub max_streams: u32,
    /// The timeout of the protocol handshake.
    pub handshake_timeout: Duration,
    /// The timeout of a call's headers.
    pub header_timeout: Duration,
    /// The maximum age, plus or minus a tenth.
    pub max_age: Duration,
    /// How long calls may continue after that. Live sessions continue until they end.
    pub max_age_grace: Duration,
    /// The maximum time without calls.
    pub max_idle: Duration,
    /// The minimum interval of pings; zero for no minimum.
    pub min_ping_interval: Duration,
}

/// The protocols that a connection may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Detected by the first bytes.
    Either,
    /// HTTP/1.1, for gRPC-Web.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// The protocol negotiated by ALPN. Without ALPN there is no HTTP/2, as RFC 9113 requires.
    fn agreed(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(tls::HTTP2) => Self::Http2,
            Some(_) | None => Self::Http1,
        }
    }
}

/// In the extensions of a response: its call outlives the maximum age of the connection, because it
/// cannot be repeated.
#[derive(Clone, Copy, Debug)]
pub struct OutlivesAge;

/// Serves one connection to its end.
pub async fn run<S: Service>(
    stream: Box<dyn Stream>,
    origin: Origin,
    context: ConnectionContext<S>,
    phase: watch::Receiver<Phase>,
) {
    let peer = None;
    let Some(tls) = &context.tls else {
        let accepted = (stream, Protocol::Either, Connection { peer, origin });
        return Box::pin(serve(accepted, context, phase)).await;
    };
    // A connection that is closed before its first call has nothing to lose.
    let mut closing = phase.clone();
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(tls.handshake_timeout(), tls.acceptor().accept(stream)) => {
            greeted
        }
        _ = closing.wait_for(|phase| *phase == Phase::Closing) => return,
    };
    match greeted {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let chain = session.peer_certificates().unwrap_or_default();
            let peer = client_cert::read(chain).map(Arc::new);
            let protocol = Protocol::agreed(session.alpn_protocol());
            let stream: Box<dyn Stream> = Box::new(stream);
            let accepted = (stream, protocol, Connection { peer, origin });
            Box::pin(serve(accepted, context, phase)).await;
        }
        Ok(Err(error)) => {
            context.service.telemetry().metrics.closed("tls");
            tracing::debug!(%error, "TLS handshake failed");
        }
        Err(_) => {
            context
                .service
                .telemetry()
                .metrics
                .closed("handshake_timeout");
            tracing::debug!("TLS handshake failed: timeout");
        }
    }
}

async fn serve<S: Service>(
    (stream, protocol, connected): (Box<dyn Stream>, Protocol, Connection),
    context: ConnectionContext<S>,
    mut phase: watch::Receiver<Phase>,
) {
    let limits = context.limits;
    let greeted = Arc::new(AtomicBool::new(false));
    let (slot, calls) = (Slot::default(), Arc::new(OpenCalls::new()));
    let builder = builder(&limits, protocol, &slot);
    let mut clock = ConnectionClock::new(slot.clone(), Arc::clone(&calls));
    let io = TokioIo::new(clock.watch(guard(stream, &context, &greeted)));
    let served = Arc::new((context, connected));
    let calls_of = &served.0.service;
    let metrics = &calls_of.telemetry().metrics;
    let unread_limit = || calls_of.slow_consumer_timeout();
    let service = service_fn(service(Arc::clone(&served), Arc::clone(&calls), slot));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut handshake = pin!(tokio::time::sleep(limits.handshake_timeout));
    let mut age = pin!(tokio::time::sleep(spread(limits.max_age)));
    let mut idle = pin!(tokio::time::sleep(limits.max_idle));
    let (mut shaking, mut going, mut old, mut stuck) = (true, false, false, false);
    loop {
        tokio::select! {
            ended = poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                Poll::Pending => clock.poll(cx, unread_limit).map(Err),
            }) => match ended {
                Ok(Ok(())) | Err(Stuck::Close) => return,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "connection failed");
                    return;
                }
                Err(Stuck::Retire) if !stuck => {
                    (old, going, stuck) = (true, true, true);
                    age.as_mut().reset(Instant::now() + limits.max_age_grace);
                    connection.as_mut().graceful_shutdown();
                }
                Err(Stuck::Retire) => {}
            },
            () = handshake.as_mut(), if shaking => {
                shaking = false;
                if !greeted.load(Ordering::Relaxed) {
                    metrics.closed("handshake_timeout");
                    tracing::debug!("connection closed: nothing received in time");
                    return;
                }
            }
            () = age.as_mut() => {
                if old && !stuck && calls.has_lasting() {
                    age.as_mut().reset(Instant::now() + limits.max_age_grace.max(LASTING_CHECK));
                    continue;
                }
                if old {
                    tracing::debug!("connection closed: max_connection_age_grace exceeded");
                    return;
                }
                (old, going) = (true, true);
                age.as_mut().reset(Instant::now() + limits.max_age_grace);
                connection.as_mut().graceful_shutdown();
            }
            () = idle.as_mut(), if !going => match idle_until(&calls, limits.max_idle) {
                Some(until) => idle.as_mut().reset(until),
                None => {
                    going = true;
                    connection.as_mut().graceful_shutdown();
                }
            },
            _ = phase.wait_for(|phase| *phase == Phase::Closing), if !going => {
                going = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Until when a connection may be without calls; `None` if it was for too long.
fn idle_until(calls: &OpenCalls, max_idle: Duration) -> Option<Instant> {
    match calls.idle_since() {
        Some(since) if since.elapsed() >= max_idle => None,
        since => Some(since.unwrap_or_else(Instant::now) + max_idle),
    }
}

fn guard<S: Service>(
    stream: Box<dyn Stream>,
    context: &ConnectionContext<S>,
    greeted: &Arc<AtomicBool>,
) -> Guard {
    Guard::new(
        stream,
        Arc::clone(greeted),
        Arc::clone(context.service.telemetry()),
        context.memory.share(Kind::Open),
        (
            context.limits.header_timeout,
            context.limits.min_ping_interval,
        ),
        context.service.max_metadata_bytes(),
    )
}

/// A call in progress.
type Answering<B> = Pin<Box<dyn Future<Output = Result<Sent<B>, Infallible>> + Send>>;

/// The response of a call, as passed to the transport.
type Sent<B> = Response<TransportBody<WebResponse<B>>>;

/// Handles the calls of a connection, each with a clock that is put into the slot when it begins.
fn service<S: Service>(
    served: Arc<(ConnectionContext<S>, Connection)>,
    calls: Arc<OpenCalls>,
    slot: Slot,
) -> impl Fn(Request<Incoming>) -> Answering<S::Body> {
    move |request| {
        let served = Arc::clone(&served);
        let mut call = Open::new(&calls);
        let clock = CallClock::new(Instant::now());
        slot.put(Arc::clone(&clock));
        // Boxed, and dropped when the response has begun: an idle stream must not hold the memory
        // that its beginning took.
        Box::pin(async move {
            let answer = answer(request, &served.0, &served.1, &clock).await;
            if answer.extensions().get::<OutlivesAge>().is_some() {
                call.outlive_age();
            }
            Ok(answer.map(|body| TransportBody::new(body, clock, call)))
        })
    }
}

fn builder(limits: &Limits, protocol: Protocol, slot: &Slot) -> auto::Builder<StreamExecutor> {
    let mut builder = auto::Builder::new(StreamExecutor::new(slot.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEPALIVE_AFTER)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    match protocol {
        Protocol::Either => builder,
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

/// Varies the age, so that connections opened together are not closed together.
fn spread(age: Duration) -> Duration {
    age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

async fn answer<S: Service>(
    request: Request<Incoming>,
    context: &ConnectionContext<S>,
    connected: &Connection,
    clock: &Arc<CallClock>,
) -> Response<WebResponse<S::Body>> {
    if let Some(answer) = context.origins.preflight(&request) {
        return grpc_web::wrap(answer.map(S::Body::from), None);
    }
    // The response to HEAD has no content, in any form.
    let form = Form::of(request.headers()).filter(|_| request.method() != Method::HEAD);
    if form.is_some() && !context.origins.allow(request.headers()) {
        plain_http::hear_out(request.into_body()).await;
        return grpc_web::wrap(cors::refusal().map(S::Body::from), None);
    }
    let origin = form.and_then(|_| request.headers().get(header::ORIGIN).cloned());
    let request = grpc_web::unwrap(request, form);
    let answer = context.service.call(request, connected, clock).await;
    let mut answer = grpc_web::wrap(answer, form);
    if let Some(origin) = origin {
        context.origins.grant(origin, answer.headers_mut());
    }
    answer
}
