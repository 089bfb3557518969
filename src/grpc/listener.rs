//! Accepts connections, within bounds, and lets them go in order.
//!
//! tonic's own server has no timer for a connection that says nothing, no bound on connections, no
//! bound on its drain, and advertises no limit on streams. So the loop is here, on hyper.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::health::Phase;
use super::router::Router;

/// What one connection may hold unread. Audio comes in many small frames, and the HTTP/2 library
/// counts unread ones against half of this.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// What one call may hold unread.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What the HTTP/2 library takes as headers. It ends the whole connection at four times this, so it
/// is well above the gateway's own limit on metadata, which ends one call only.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// What an answer may buffer for a caller that does not read.
const SEND_BUFFER: usize = 64 * 1024;

/// A silent peer is asked whether it lives after this, and is gone after the second: a dead caller
/// must not keep a model running.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept. It fails when descriptors run out, and then again at
/// once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bytes of an HTTP/2 preface and of the head of the SETTINGS frame after it.
const HANDSHAKE_BYTES: usize = 24 + 9;

/// The bounds of the listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections at once.
    pub max_connections: usize,
    /// The most calls at once on one connection.
    pub max_streams_per_connection: u32,
    /// How long a new connection may take to say that it speaks HTTP/2.
    pub handshake_timeout: Duration,
}

/// Serves until the phase is `Closing`; then lets every connection end its calls, and returns.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the bound a connection is closed at once, which its peer sees as a refusal.
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let connection = connection(stream, router.clone(), limits, phase.clone());
            let present = router.telemetry().metrics.connection();
            connections.spawn(async move {
                connection.await;
                drop((place, present));
            });
        } else {
            router.telemetry().metrics.refused.inc();
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
) {
    // Small messages must not wait for the peer's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let heard = Arc::new(AtomicUsize::new(0));
    let io = TokioIo::new(Counted {
        stream,
        heard: Arc::clone(&heard),
    });
    let service = service_fn(move |request| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.answer(request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams_per_connection)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEPALIVE_AFTER)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut handshake = pin!(tokio::time::sleep(limits.handshake_timeout));
    let (mut shaking, mut closing) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended with a fault");
                }
                return;
            }
            () = handshake.as_mut(), if shaking => {
                shaking = false;
                if heard.load(Ordering::Relaxed) < HANDSHAKE_BYTES {
                    tracing::debug!("a connection said nothing and was closed");
                    return;
                }
            }
            _ = phase.wait_for(|phase| *phase == Phase::Closing), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A connection that counts what was heard on it, up to the end of the handshake.
struct Counted {
    stream: TcpStream,
    heard: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.heard.load(Ordering::Relaxed) < HANDSHAKE_BYTES {
            self.heard
                .fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
