//! The connector of the connections, which notes whether the gateway has answered on them: a deadline
//! that ends before that is not the end of a slow call.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt as _, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many connections of a channel are open on which anything was received. A listener that has
/// accepted a connection may still have no gateway behind it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Arc<Connections>);

#[derive(Debug, Default)]
struct Connections {
    reached: AtomicUsize,
    /// Whether something was received on any, and whether any has ended.
    has_answered: AtomicBool,
    has_ended: AtomicBool,
    changed: Notify,
}

impl Reach {
    /// Whether there is one.
    pub(crate) fn is_reached(&self) -> bool {
        self.0.reached.load(Ordering::Relaxed) > 0
    }

    /// Waits until something was received on the first connection. `false`: it ended before.
    pub(crate) async fn is_answered(&self) -> bool {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.0.has_answered.load(Ordering::Acquire) {
                return true;
            }
            if self.0.has_ended.load(Ordering::Acquire) {
                return false;
            }
            changed.await;
        }
    }

    fn received(&self) {
        self.0.reached.fetch_add(1, Ordering::Relaxed);
        self.0.has_answered.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    fn ended(&self, was_reached: bool) {
        if was_reached {
            self.0.reached.fetch_sub(1, Ordering::Relaxed);
        }
        self.0.has_ended.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}

/// The channel that the latest attempt of a call was sent to. It is an extension of the request, so
/// that a layer which answers by itself leaves it empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route(Arc<Mutex<Option<Reach>>>);

impl Route {
    /// Begins another attempt.
    pub(crate) fn clear(&self) {
        self.set(None);
    }

    /// Notes that the attempt has got to a channel.
    pub(crate) fn take(&self, reach: &Reach) {
        self.set(Some(reach.clone()));
    }

    /// Whether the attempt is on a channel without a connection to the gateway.
    pub(crate) fn is_unreached(&self) -> bool {
        let reach = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reach.as_ref().is_some_and(|reach| !reach.is_reached())
    }

    fn set(&self, reach: Option<Reach>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reach;
    }
}

/// Returns a channel that connects with its first call, to the endpoint or to this Unix socket.
pub(crate) fn lazy_channel(endpoint: &Endpoint, socket: Option<&str>, reach: &Reach) -> Channel {
    #[cfg(unix)]
    if let Some(path) = socket {
        return endpoint.connect_with_connector_lazy(unix_connector(endpoint, path, reach));
    }
    endpoint.connect_with_connector_lazy(tcp_connector(endpoint, reach))
}

/// Returns a channel that is connected to the endpoint or to this Unix socket, on which something was
/// received.
///
/// # Errors
///
/// With `None`, the connection ended before anything was received.
pub(crate) async fn connected_channel(
    endpoint: &Endpoint,
    socket: Option<&str>,
    reach: &Reach,
) -> Result<Channel, Option<tonic::transport::Error>> {
    let channel = opened_channel(endpoint, socket, reach).await?;
    match reach.is_answered().await {
        true => Ok(channel),
        false => Err(None),
    }
}

async fn opened_channel(
    endpoint: &Endpoint,
    socket: Option<&str>,
    reach: &Reach,
) -> Result<Channel, tonic::transport::Error> {
    #[cfg(unix)]
    if let Some(path) = socket {
        let connector = unix_connector(endpoint, path, reach);
        return endpoint.connect_with_connector(connector).await;
    }
    let connector = tcp_connector(endpoint, reach);
    endpoint.connect_with_connector(connector).await
}

#[cfg(unix)]
fn unix_connector(
    endpoint: &Endpoint,
    path: &str,
    reach: &Reach,
) -> impl Connector<TokioIo<Watched<tokio::net::UnixStream>>> + use<> {
    let (path, reach): (Arc<str>, _) = (path.into(), reach.clone());
    let limit = endpoint.get_connect_timeout();
    service_fn(move |_: Uri| {
        let (path, reach) = (Arc::clone(&path), reach.clone());
        async move {
            let stream = tokio::net::UnixStream::connect(&*path).await?;
            Ok::<_, BoxError>(TokioIo::new(Watched::new(stream, reach, limit)))
        }
    })
}

fn tcp_connector(
    endpoint: &Endpoint,
    reach: &Reach,
) -> impl Connector<TokioIo<Watched<tokio::net::TcpStream>>> + use<> {
    let (reach, limit) = (reach.clone(), endpoint.get_connect_timeout());
    let mut connector = HttpConnector::new();
    // tonic does TLS.
    connector.enforce_http(false);
    connector.set_nodelay(endpoint.get_tcp_nodelay());
    connector.set_keepalive(endpoint.get_tcp_keepalive());
    connector.set_keepalive_interval(endpoint.get_tcp_keepalive_interval());
    connector.set_keepalive_retries(endpoint.get_tcp_keepalive_retries());
    connector.set_connect_timeout(limit);
    service_fn(move |uri: Uri| {
        let (connector, reach) = (connector.clone(), reach.clone());
        async move {
            let stream = connector.oneshot(uri).await?.into_inner();
            Ok::<_, BoxError>(TokioIo::new(Watched::new(stream, reach, limit)))
        }
    })
}

/// What tonic opens connections with.
trait Connector<Io>:
    Service<Uri, Response = Io, Error = BoxError, Future: Send> + Send + 'static
{
}

impl<Io, T> Connector<Io> for T where
    T: Service<Uri, Response = Io, Error = BoxError, Future: Send> + Send + 'static
{
}

/// A connection. It fails if nothing is received within the limit.
struct Watched<T> {
    stream: T,
    reach: Reach,
    is_reached: bool,
    silence: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl<T> Watched<T> {
    fn new(stream: T, reach: Reach, limit: Option<Duration>) -> Self {
        Self {
            stream,
            reach,
            is_reached: false,
            silence: limit.map(|limit| (Box::pin(sleep(limit)), limit)),
        }
    }

    fn received(&mut self) {
        self.silence = None;
        if !std::mem::replace(&mut self.is_reached, true) {
            self.reach.received();
        }
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.reach.ended(self.is_reached);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.received();
        }
        if read.is_pending()
            && let Some((silence, limit)) = &mut self.silence
            && silence.as_mut().poll(context).is_ready()
        {
            let message = format!("nothing was received from the gateway for {limit:?}");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
