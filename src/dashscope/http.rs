//! Maps HTTP failures to errors, by type and never by text, and builds the client for uploads.
//!
//! Calls use [`crate::http1`]. Uploads, which are streamed forms, use reqwest.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::errors::unreadable;
use crate::descriptors;
use crate::error::{Error, Reason, Sent};
use crate::http1::{Body, RequestError};
use crate::net::Network;
use crate::net::proxy::Proxy;
use crate::net::resolver::Unresolved;

/// How long an idle connection is kept: less than the idle timeout of common load balancers, so
/// that they rarely close one as it is reused.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// The maximum number of idle connections: enough for consecutive bursts.
const POOL_SIZE: usize = 64;

/// The TCP keepalive interval, which detects unreachable hosts.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The maximum number of response headers. DashScope sends about thirty.
const MAX_HEADERS: usize = 128;

/// The fraction of the connect timeout that DNS may take, so that a slow resolver is distinguished
/// from a slow host.
const NAME_SHARE: f32 = 0.75;

/// The user agent of every request.
pub(crate) const USER_AGENT: &str = concat!("dashgate/", env!("CARGO_PKG_VERSION"));

/// A path below the base URL, with or without its trailing slash.
pub(crate) fn below(base_url: &url::Url, path: &[&str]) -> Result<url::Url, Error> {
    let mut url = base_url.clone();
    url.path_segments_mut()
        .map_err(|()| Error::new(Reason::GatewayConfig, "the base url must have a path"))?
        .pop_if_empty()
        .extend(path);
    Ok(url)
}

/// Builds the client for uploads.
pub(crate) fn client(
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

/// The error of a request without a response, sent through this proxy if there is one.
pub(crate) fn no_response(error: reqwest::Error, proxy: Option<&Proxy>) -> Error {
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
        return proxy_error(&proxy.to_string(), proxy_problem(&error)).with_source(Causes(&error));
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

/// The error of exhausted file descriptors: a limit of the gateway, not of DashScope.
fn no_descriptor(error: &io::Error) -> Error {
    let advice = descriptors::ADVICE;
    tracing::error!(%error, "connect failed: out of file descriptors; {advice}");
    let message = "the gateway is out of file descriptors: the operator must raise `ulimit -n`";
    Error::new(Reason::Overloaded, message).with_source(error)
}

/// The error of a call without a response.
pub(crate) fn send_error(fault: RequestError) -> Error {
    let (reason, message) = match &fault {
        RequestError::Unresolved(_) => (
            Reason::UpstreamDns,
            "DashScope's host name cannot be resolved",
        ),
        RequestError::Connect(error) if descriptors::are_used_up(error) => {
            return no_descriptor(error);
        }
        RequestError::Connect(_) | RequestError::Unsent(_) => {
            (Reason::UpstreamConnect, "cannot connect to DashScope")
        }
        RequestError::Proxy { proxy, problem } => {
            return proxy_error(proxy, problem).with_source(fault);
        }
        RequestError::ProxyCredentials(proxy) => return refused_credentials(proxy),
        RequestError::Tls(_) => (Reason::UpstreamTls, "TLS handshake with DashScope failed"),
        RequestError::Setup(_) => (
            Reason::GatewayConfig,
            "the gateway cannot connect to such a host",
        ),
        RequestError::Malformed(what) => return unreadable(what, Sent::Maybe),
        RequestError::Encoded => {
            let what = "unrequested content encoding";
            return unreadable(what, Sent::Maybe);
        }
        RequestError::Reset(_) => {
            let message = "the connection to DashScope broke before it answered";
            return Error::new(Reason::UpstreamReset, message)
                .with_sent(Sent::Maybe)
                .with_source(fault);
        }
    };
    Error::new(reason, message).with_source(fault)
}

/// The error of a proxy that refused a connection, and how.
fn proxy_error(proxy: &str, problem: &str) -> Error {
    let message = format!("cannot connect to DashScope through the proxy {proxy}: {problem}");
    Error::new(Reason::UpstreamConnect, message)
}

/// How a proxy refused, as far as the library reports it. The status is not exposed.
fn proxy_problem(error: &reqwest::Error) -> &'static str {
    const REFUSED: &str = "tunnel error: unsuccessful";
    match chain(error).any(|cause| cause.to_string() == REFUSED) {
        true => "it did not accept CONNECT",
        false => "it cannot be connected to, or closed the connection",
    }
}

/// The error of a proxy that requires other credentials. Nothing reached DashScope.
pub(crate) fn refused_credentials(proxy: impl std::fmt::Display) -> Error {
    let message = format!("the proxy {proxy} refused the gateway's credentials");
    Error::new(Reason::GatewayConfig, message)
}

/// Reads the body of a response, up to `limit` or the point where it breaks.
pub(crate) async fn read_body(mut body: Body, limit: usize) -> Bytes {
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

/// Reads a body, up to `limit` or the point where it breaks.
pub(crate) async fn read(mut body: reqwest::Body, limit: usize) -> Bytes {
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

/// The chain of sources of an error, itself included. `io::Error` does not expose the error that it
/// wraps as its source, so that is followed too.
pub(crate) fn chain<'a>(
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

/// The sources of a failure, for the log. The outermost error is omitted: it contains the URL.
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
