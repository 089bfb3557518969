//! What failures of HTTP mean, told by type and never by text; and the client of the storage.
//!
//! Calls go by [`crate::http1`]. Uploads, which are forms that stream, go by reqwest.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::fault::unreadable;
use crate::descriptors;
use crate::error::{Error, Reason, Sent};
use crate::http1::{Body, Fault};

/// How long an idle connection is kept. Shorter than the idle limit of the usual load balancers, so
/// that they rarely close one just as it is used again.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// How many idle connections are kept: enough for a burst to be followed by another.
const POOL_SIZE: usize = 64;

/// How often an open connection is probed, so that a host that vanished is noticed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The most header fields of an answer. DashScope sends about thirty.
const MAX_HEADERS: usize = 128;

/// Who asks.
pub(super) const USER_AGENT: &str = concat!("dashgate/", env!("CARGO_PKG_VERSION"));

/// Builds the client.
pub(super) fn client(connect_timeout: Duration) -> Result<reqwest::Client, Error> {
    // The name gets three quarters of the time, so that a slow resolver is told from a slow host.
    let resolver = Resolver {
        timeout: connect_timeout.mul_f32(0.75),
    };
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .http1_only()
        .http1_max_headers(MAX_HEADERS)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .gzip(true)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_SIZE)
        .dns_resolver(resolver)
        .build()
        .map_err(|error| {
            Error::new(Reason::GatewayConfig, "the http client cannot be built")
                .with_source(error.without_url())
        })
}

/// What it means that a request was not answered.
pub(super) fn no_answer(error: reqwest::Error) -> Error {
    let system = |cause: &'_ (dyn StdError + 'static)| {
        let error = cause.downcast_ref::<io::Error>()?;
        descriptors::are_used_up(error).then(|| error.raw_os_error())?
    };
    if let Some(code) = chain(&error).find_map(system) {
        return no_descriptor(&io::Error::from_raw_os_error(code));
    }
    let (reason, message) = if chain(&error).any(|e| e.is::<Unresolved>()) {
        (Reason::UpstreamDns, "DashScope's host has no address")
    } else if chain(&error).any(is_tls) {
        (
            Reason::UpstreamTls,
            "DashScope's host is not to be trusted: its tls failed",
        )
    } else if error.is_connect() {
        (Reason::UpstreamConnect, "DashScope cannot be connected to")
    } else if error.is_builder() {
        (Reason::GatewayBug, "the gateway made an impossible request")
    } else {
        let error = Error::new(
            Reason::UpstreamReset,
            "the connection to DashScope broke before it answered",
        )
        .with_sent(Sent::Maybe)
        .with_source(Causes(&error));
        return error;
    };
    Error::new(reason, message).with_source(Causes(&error))
}

/// The gateway has no file descriptor left for a connection: its own matter, not DashScope's.
fn no_descriptor(error: &io::Error) -> Error {
    let advice = descriptors::ADVICE;
    tracing::error!(%error, "connect failed: out of file descriptors; {advice}");
    let message = "the gateway is out of file descriptors: the operator must raise their limit";
    Error::new(Reason::Overloaded, message).with_source(error)
}

/// What it means that a call was not answered.
pub(super) fn unanswered(fault: Fault) -> Error {
    let (reason, message) = match &fault {
        Fault::Unresolved(_) => (Reason::UpstreamDns, "DashScope's host has no address"),
        Fault::Connect(error) if descriptors::are_used_up(error) => return no_descriptor(error),
        Fault::Connect(_) | Fault::Unsent(_) => {
            (Reason::UpstreamConnect, "DashScope cannot be connected to")
        }
        Fault::Tls(_) => (
            Reason::UpstreamTls,
            "DashScope's host is not to be trusted: its tls failed",
        ),
        Fault::Setup(_) => (
            Reason::GatewayConfig,
            "the gateway cannot connect to such a host",
        ),
        Fault::Malformed(what) => return unreadable(what, Sent::Maybe),
        Fault::Encoded => {
            let what = "the body has an encoding that was not asked for";
            return unreadable(what, Sent::Maybe);
        }
        Fault::Reset(_) => {
            let message = "the connection to DashScope broke before it answered";
            return Error::new(Reason::UpstreamReset, message)
                .with_sent(Sent::Maybe)
                .with_source(fault);
        }
    };
    Error::new(reason, message).with_source(fault)
}

/// Reads the body of a fault. One that is too large or breaks is cut there: what came is told.
pub(super) async fn read_fault(mut body: Body, limit: usize) -> Bytes {
    let mut read = BytesMut::new();
    while let Some(Ok(chunk)) = body.chunk().await {
        let room = limit - read.len();
        read.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if read.len() >= limit {
            break;
        }
    }
    read.freeze()
}

/// Reads a small body whole. One that is too large or breaks is cut there: what came is told.
pub(super) async fn read(mut body: reqwest::Body, limit: usize) -> Bytes {
    let mut read = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let chunk = frame.into_data().unwrap_or_default();
        let room = limit - read.len();
        read.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if read.len() >= limit {
            break;
        }
    }
    read.freeze()
}

/// An error and all that caused it. `io::Error` hides what it wraps, so that is looked into too.
pub(super) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    error.is::<rustls::Error>()
}

/// The causes of a failure for the log. The first one is left out: it holds the URL.
struct Causes<'a>(&'a reqwest::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for cause in chain(self.0).skip(1) {
            write!(f, "{separator}{cause}")?;
            separator = ": ";
        }
        Ok(())
    }
}

/// Asks the system for addresses, and says in its type when there are none.
struct Resolver {
    timeout: Duration,
}

/// A host has no address.
#[derive(Debug)]
struct Unresolved(io::Error);

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no address: {}", self.0.kind())
    }
}

impl StdError for Unresolved {}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let timeout = self.timeout;
        Box::pin(async move {
            let asked = tokio::net::lookup_host((name.as_str(), 0));
            let found = match tokio::time::timeout(timeout, asked).await {
                Ok(found) => found.map_err(Unresolved)?.collect::<Vec<SocketAddr>>(),
                Err(_) => return Err(Unresolved(io::ErrorKind::TimedOut.into()).into()),
            };
            if found.is_empty() {
                return Err(Unresolved(io::ErrorKind::NotFound.into()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
