//! From a URL to a connection: name, socket, TLS.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fmt, io};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;
use url::Url;

use super::fault::Fault;

/// How often the system asks a silent host whether it is there. A model thinks for minutes, and a
/// router on the way must not forget the connection.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The part of the time that a name may take, so that a slow resolver is told from a slow host.
const NAME_SHARE: f32 = 0.75;

/// Connects to one host.
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    uri: Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

/// A connection's bytes.
pub(super) enum Socket {
    /// In the clear, as on loopback.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connector {
    /// To the host of this URL.
    pub(super) fn new(url: &Url, timeout: Duration) -> Result<Self, Fault> {
        let setup = |what: &dyn fmt::Display| Fault::Setup(what.to_string());
        let resolver = Resolver {
            timeout: timeout.mul_f32(NAME_SHARE),
        };
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_connect_timeout(Some(timeout));
        tcp.enforce_http(false);
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let uri = format!("{}://{host}:{port}/", url.scheme());
        let tls = match url.scheme() {
            "https" => {
                let name = host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned();
                let name = ServerName::try_from(name).map_err(|error| setup(&error))?;
                Some((tls().map_err(|error| setup(&error))?, name))
            }
            _ => None,
        };
        Ok(Self {
            tcp,
            uri: uri.parse().map_err(|error| setup(&error))?,
            tls,
            timeout,
        })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> Result<Socket, Fault> {
        match tokio::time::timeout(self.timeout, self.connect_now()).await {
            Ok(connected) => connected,
            Err(_) => Err(Fault::Connect(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn connect_now(&self) -> Result<Socket, Fault> {
        let mut tcp = self.tcp.clone();
        let stream = tcp
            .call(self.uri.clone())
            .await
            .map_err(|error| unconnected(&error))?;
        let stream = stream.into_inner();
        match &self.tls {
            None => Ok(Socket::Plain(stream)),
            Some((tls, name)) => match tls.connect(name.clone(), stream).await {
                Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
                Err(error) if is_tls(&error) => Err(Fault::Tls(error)),
                Err(error) => Err(Fault::Connect(error)),
            },
        }
    }
}

fn tls() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn is_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| (inner as &(dyn StdError + 'static)).is::<rustls::Error>())
}

/// Whether the system holds neither a byte nor the end of this connection.
fn is_quiet(stream: &TcpStream) -> bool {
    let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Told by type, never by text.
fn unconnected(error: &(dyn StdError + 'static)) -> Fault {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    for cause in causes {
        if let Some(Unresolved(kind)) = cause.downcast_ref() {
            return Fault::Unresolved((*kind).into());
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            if let Some(Unresolved(kind)) = error.get_ref().and_then(|e| e.downcast_ref()) {
                return Fault::Unresolved((*kind).into());
            }
            return Fault::Connect(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            });
        }
    }
    Fault::Connect(io::ErrorKind::Other.into())
}

/// Asks the system for addresses, within a time of its own.
#[derive(Clone)]
struct Resolver {
    timeout: Duration,
}

/// A name without an address.
#[derive(Debug)]
struct Unresolved(io::ErrorKind);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no address: {}", self.0)
    }
}

impl StdError for Unresolved {}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Unresolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let timeout = self.timeout;
        Box::pin(async move {
            let asked = tokio::net::lookup_host((name.as_str(), 0));
            let found = match tokio::time::timeout(timeout, asked).await {
                Ok(Ok(found)) => found.collect::<Vec<_>>(),
                Ok(Err(error)) => return Err(Unresolved(error.kind())),
                Err(_) => return Err(Unresolved(io::ErrorKind::TimedOut)),
            };
            match found.is_empty() {
                true => Err(Unresolved(io::ErrorKind::NotFound)),
                false => Ok(found.into_iter()),
            }
        })
    }
}

impl Socket {
    /// Whether nothing has come, not even the end.
    ///
    /// The system is asked itself. What tokio knows may be older than the close of many connections
    /// at once, and its cooperative budget reports sockets as not ready when a task has done much.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => is_quiet(stream),
            Self::Tls(stream) => {
                let mut byte = [0];
                let mut buffer = ReadBuf::new(&mut byte);
                // Reads what is no data, as the tickets of TLS 1.3, and finds what is buffered.
                let read = poll_fn(|cx| Pin::new(stream.as_mut()).poll_read(cx, &mut buffer));
                let read = pin!(tokio::task::unconstrained(read));
                let quiet = read.poll(&mut Context::from_waker(Waker::noop()));
                quiet.is_pending() && is_quiet(stream.get_ref().0)
            }
        }
    }

    /// Whether a failed write may have sent a part of what it was given.
    pub(super) fn is_buffered(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Reads what is there.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => std::pin::Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => std::pin::Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }

    /// Writes what it takes of these.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => std::pin::Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => {
                std::pin::Pin::new(stream.as_mut()).poll_write_vectored(cx, slices)
            }
        }
    }

    /// Sends on what was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => std::pin::Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }
}
