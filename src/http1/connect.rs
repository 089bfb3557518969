//! Connecting to the host of a URL: DNS, TCP, proxy, TLS.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::descriptors;
use crate::net::Network;
use crate::net::proxy::Proxy;
use crate::net::resolver::Resolver;

use super::error::RequestError;
use super::socket::Socket;
use super::tunnel;

/// The TCP keepalive interval. A model may need minutes, and routers on the path drop connections
/// without traffic.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The fraction of the connect timeout that DNS may take, so that a slow resolver is distinguished
/// from a slow host.
const NAME_SHARE: f32 = 0.75;

/// How long a connection attempt runs before the next one is started in parallel, as RFC 8305
/// recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The maximum number of addresses tried: more do not fit into the timeout.
const MAX_ADDRESSES: usize = 8;

/// Connects to one host.
pub(super) struct Connector {
    /// As in URLs: IPv6 addresses in brackets.
    host: String,
    port: u16,
    tls: Option<Tls>,
    proxy: Option<ProxyRoute>,
    resolver: Resolver,
    timeout: Duration,
}

/// TLS, and the name that the certificate must have.
type Tls = (TlsConnector, ServerName<'static>);

/// The proxy of a connection.
struct ProxyRoute {
    proxy: Proxy,
    tls: Option<Tls>,
    /// Whether requests are sent to the proxy itself, without a tunnel.
    forwards: bool,
}

impl Connector {
    /// A connector for the host of this URL.
    pub(super) fn new(
        url: &Url,
        network: &Network,
        timeout: Duration,
    ) -> Result<Self, RequestError> {
        let secure = |url: &Url| -> Result<Tls, RequestError> {
            let name = bare(url.host_str().unwrap_or_default()).to_owned();
            let name = ServerName::try_from(name).map_err(|error| setup(&error))?;
            let config = network
                .roots
                .client_config()
                .map_err(|error| setup(&error))?;
            Ok((TlsConnector::from(Arc::new(config)), name))
        };
        let proxy = match network.proxies.of(url) {
            None => None,
            Some(proxy) => Some(ProxyRoute {
                tls: match proxy.is_secure() {
                    true => Some(secure(proxy.url())?),
                    false => None,
                },
                forwards: proxy.forwards(url),
                proxy: proxy.clone(),
            }),
        };
        Ok(Self {
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
            tls: match url.scheme() {
                "https" => Some(secure(url)?),
                _ => None,
            },
            proxy,
            resolver: Resolver::shared(),
            timeout,
        })
    }

    /// Connects, with TLS if the URL requires it.
    pub(super) async fn connect(&self) -> Result<Socket, RequestError> {
        match timeout(self.timeout, self.connect_now()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.unconnected(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn connect_now(&self) -> Result<Socket, RequestError> {
        let socket = match &self.proxy {
            None => Socket::Plain(self.open(&self.host, self.port).await?),
            Some(via) => self.through(via).await?,
        };
        match (&self.tls, socket) {
            (None, socket) => Ok(socket),
            (Some(tls), Socket::Plain(stream)) => {
                Ok(Socket::Tls(Box::new(self.secure(tls, stream).await?)))
            }
            (Some(tls), Socket::Tls(stream)) => {
                Ok(Socket::TlsInTls(Box::new(self.secure(tls, stream).await?)))
            }
            (Some(_), Socket::TlsInTls(_)) => Err(setup(&"there is more than one proxy")),
        }
    }

    /// Connects to the proxy, and through a tunnel to the host unless the proxy forwards requests.
    async fn through(&self, via: &ProxyRoute) -> Result<Socket, RequestError> {
        let url = via.proxy.url();
        let failed = |problem: &dyn fmt::Display| RequestError::of_proxy(&via.proxy, problem);
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let opened = self.open(host, port).await;
        let stream = opened.map_err(|fault| {
            // Not caused by the proxy.
            if let RequestError::Connect(error) = &fault
                && descriptors::are_used_up(error)
            {
                return fault;
            }
            failed(&fault)
        })?;
        let target = (self.host.as_str(), self.port);
        let tunnel = (!via.forwards).then_some(target);
        match &via.tls {
            None => {
                let passed = tunnel::pass(stream, &via.proxy, tunnel).await?;
                Ok(Socket::Plain(passed))
            }
            Some((tls, name)) => {
                let secured = tls.connect(name.clone(), stream).await;
                let stream = Box::new(secured.map_err(|error| failed(&error))?);
                let passed = tunnel::pass(stream, &via.proxy, tunnel).await?;
                Ok(Socket::Tls(passed))
            }
        }
    }

    async fn secure<S>(&self, (tls, name): &Tls, stream: S) -> Result<TlsStream<S>, RequestError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match tls.connect(name.clone(), stream).await {
            Ok(stream) => Ok(stream),
            Err(error) if is_tls(&error) => Err(RequestError::Tls(error)),
            Err(error) => Err(self.unconnected(error)),
        }
    }

    /// Opens a socket to the address of a host that connects first.
    async fn open(&self, host: &str, port: u16) -> Result<TcpStream, RequestError> {
        let name_timeout = self.timeout.mul_f32(NAME_SHARE);
        let found = self.resolver.resolve(bare(host), name_timeout).await;
        let found = found.map_err(|kind| RequestError::Unresolved(kind.into()))?;
        let addresses = interleaved(&found).map(|ip| SocketAddr::new(ip, port));
        let stream = first_of(addresses).await.map_err(RequestError::Connect)?;
        // Both are optimizations, and optional.
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        Ok(stream)
    }

    fn unconnected(&self, error: io::Error) -> RequestError {
        match &self.proxy {
            None => RequestError::Connect(error),
            Some(via) => RequestError::of_proxy(&via.proxy, &RequestError::Connect(error)),
        }
    }
}

/// Tries addresses in order. The next attempt starts when one fails, or in parallel when it is
/// slow.
async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.peekable();
    let mut attempts = JoinSet::new();
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let ended = match addresses.peek() {
            None => attempts.join_next().await,
            Some(_) => match timeout(ATTEMPT_DELAY, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failed = error,
            Some(Err(error)) => failed = error.into(),
            // All attempts have failed.
            None if addresses.peek().is_none() => return Err(failed),
            None => {}
        }
    }
}

/// Addresses of both families alternately, otherwise in the resolver's order.
fn interleaved(found: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let first_is_v6 = found.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (Vec<IpAddr>, Vec<IpAddr>) =
        found.iter().partition(|ip| ip.is_ipv6() == first_is_v6);
    first.reverse();
    second.reverse();
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        let (one, other) = match turn {
            true => (&mut first, &mut second),
            false => (&mut second, &mut first),
        };
        one.pop().or_else(|| other.pop())
    })
    .take(MAX_ADDRESSES)
}

fn setup(what: &dyn fmt::Display) -> RequestError {
    RequestError::Setup(what.to_string())
}

/// The host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    let inside = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inside.unwrap_or(host)
}

/// Whether TLS failed, and not the connection below it. Determined by type, never by text.
fn is_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| (inner as &(dyn StdError + 'static)).is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn address_families_alternate() {
        let ips = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = ips(&["::1", "::2", "::3", "10.0.0.1"]);
        let expected = ips(&["::1", "10.0.0.1", "::2", "::3"]);
        assert_eq!(interleaved(&found).collect::<Vec<_>>(), expected);
        let found = ips(&["10.0.0.1", "10.0.0.2", "::1"]);
        let expected = ips(&["10.0.0.1", "::1", "10.0.0.2"]);
        assert_eq!(interleaved(&found).collect::<Vec<_>>(), expected);
        assert_eq!(interleaved(&vec![expected[0]; 100]).count(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn refused_addresses_are_skipped_immediately() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = gone.local_addr().unwrap();
        drop(gone);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let addresses = [refusing, refusing, address];
        let stream = first_of(addresses.into_iter()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let error = first_of([refusing, refusing].into_iter()).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(first_of([].into_iter()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unresponsive_address_does_not_delay_the_next_one() {
        // Its queue is full, so that the kernel drops further connections.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let full = full.unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        full.bind(&any.into()).unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let _first = TcpStream::connect(silent).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let opened = timeout(
            Duration::from_secs(1),
            first_of([silent, silent, address].into_iter()),
        );
        let stream = opened.await.expect("within a second").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }
}
