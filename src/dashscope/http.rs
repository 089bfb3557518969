//! What failures of HTTP mean, told by type and never by text; and the client of the storage.
//!
//! Calls go by [`crate::http1`]. Uploads, which are forms that stream, go by reqwest.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::errors::unreadable;
use crate::descriptors;
use crate::error::{Error, Reason, Sent};
use crate::http1::{Body, Fault};
use crate::net::Network;
use crate::net::proxy::Proxy;
use crate::net::resolver::Unresolved;

/// How long an idle connection is kept. Shorter than the idle limit of the usual load balancers, so
/// that they rarely close one just as it is used again.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// How many idle connections are kept: enough for a burst to be followed by another.
const POOL_SIZE: usize = 64;

/// How often an open connection is probed, so that a host that vanished is noticed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The most header fields of an answer. DashScope sends about thirty.
const MAX_HEADERS: usize = 128;

/// The part of the time to connect that a name may take, so that a slow resolver is distinguished
/// from a slow host.
const NAME_SHARE: f32 = 0.75;

/// Who asks.
pub(super) const USER_AGENT: &str = concat!("dashgate/", env!("CARGO_PKG_VERSION"));

/// A path below the base URL, whether that ends with a slash or not.
pub(super) fn below(base_url: &url::Url, path: &[&str]) -> Result<url::Url, Error> {
    let mut url = base_url.clone();
    url.path_segments_mut()
        .map_err(|()| Error::new(Reason::GatewayConfig, "the base url must have a path"))?
        .pop_if_empty()
        .extend(path);
    Ok(url)
}

/// Builds the client of the storage.
pub(super) fn client(
    network: &Network,
    connect_timeout: Duration,
) -> Result<reqwest::Client, Error> {
    let wrong = |cause: &dyn std::fmt::Display| {
        Error::new(Reason::GatewayConfig, "the http client cannot be built").with_source(cause)
    };
    network
        .http_client(connect_timeout.mul_f32(NAME_SHARE))
        .map_err(|error| wrong(&error))?
        .user_agent(USER_AGENT)
        .http1_max_headers(MAX_HEADERS)
        .gzip(true)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_SIZE)
        .build()
        .map_err(|error| wrong(&error.without_url()))
}

/// What it means that a request was not answered that went through this proxy, if there is one.
pub(super) fn no_answer(error: reqwest::Error, proxy: Option<&Proxy>) -> Error {
    let system = |cause: &'_ (dyn StdError + 'static)| {
        let error = cause.downcast_ref::<io::Error>()?;
        descriptors::are_used_up(error).then(|| error.raw_os_error())?
    };
    if let Some(code) = chain(&error).find_map(system) {
        return no_descriptor(&io::Error::from_raw_os_error(code));
    }
    let (reason, message) = if chain(&error).any(|e| e.is::<Unresolved>()) {
        (
            Reason::UpstreamDns,
            "DashScope's host name cannot be resolved",
        )
    } else if chain(&error).any(is_tls) {
        (Reason::UpstreamTls, "TLS handshake with DashScope failed")
    } else if let (true, Some(proxy)) = (error.is_connect(), proxy) {
        return unpassed(&proxy.to_string(), unpassed_because(&error)).with_source(Causes(&error));
    } else if error.is_connect() {
        (Reason::UpstreamConnect, "cannot connect to DashScope")
    } else if error.is_builder() {
        (Reason::GatewayBug, "the gateway made an invalid request")
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
    let message = "the gateway is out of file descriptors: the operator must raise `ulimit -n`";
    Error::new(Reason::Overloaded, message).with_source(error)
}

/// What it means that a call was not answered.
pub(super) fn unanswered(fault: Fault) -> Error {
    let (reason, message) = match &fault {
        Fault::Unresolved(_) => (
            Reason::UpstreamDns,
            "DashScope's host name cannot be resolved",
        ),
        Fault::Connect(error) if descriptors::are_used_up(error) => return no_descriptor(error),
        Fault::Connect(_) | Fault::Unsent(_) => {
            (Reason::UpstreamConnect, "cannot connect to DashScope")
        }
        Fault::Proxy { proxy, problem } => return unpassed(proxy, problem).with_source(fault),
        Fault::ProxyCredentials(proxy) => return refused_credentials(proxy),
        Fault::Tls(_) => (Reason::UpstreamTls, "TLS handshake with DashScope failed"),
        Fault::Setup(_) => (
            Reason::GatewayConfig,
            "the gateway cannot connect to such a host",
        ),
        Fault::Malformed(what) => return unreadable(what, Sent::Maybe),
        Fault::Encoded => {
            let what = "unrequested content encoding";
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

/// A proxy that does not let a connection pass, and what it did instead.
fn unpassed(proxy: &str, problem: &str) -> Error {
    let message = format!("cannot connect to DashScope through the proxy {proxy}: {problem}");
    Error::new(Reason::UpstreamConnect, message)
}

/// What a proxy did, as far as the library says it. It keeps the status to itself.
fn unpassed_because(error: &reqwest::Error) -> &'static str {
    const REFUSED: &str = "tunnel error: unsuccessful";
    match chain(error).any(|cause| cause.to_string() == REFUSED) {
        true => "it did not accept CONNECT",
        false => "it cannot be connected to, or closed the connection",
    }
}

/// A proxy that wants other credentials. Nothing reached DashScope.
pub(super) fn refused_credentials(proxy: impl std::fmt::Display) -> Error {
    let message = format!("the proxy {proxy} refused the gateway's credentials");
    Error::new(Reason::GatewayConfig, message)
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
