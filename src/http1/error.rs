//! The errors of requests and of response bodies.

use std::error::Error as StdError;
use std::{fmt, io};

use crate::net::proxy::Proxy;

/// Why a request got no response.
#[derive(Debug)]
pub enum RequestError {
    /// The URL or the certificates of this machine are unusable. Nothing was sent.
    Setup(String),
    /// The host name could not be resolved. Nothing was sent.
    Unresolved(io::Error),
    /// Connecting failed. Nothing was sent.
    Connect(io::Error),
    /// The proxy refused the connection. Nothing was sent.
    Proxy {
        /// The proxy's host and port.
        proxy: String,
        /// What went wrong.
        problem: String,
    },
    /// The proxy requires other credentials. Nothing was sent.
    ProxyCredentials(String),
    /// TLS verification of the host failed. Nothing was sent.
    Tls(io::Error),
    /// The connection broke before a byte of the request was sent.
    Unsent(io::Error),
    /// The connection broke. The request may have arrived.
    Reset(io::Error),
    /// The response is not HTTP. The request may have arrived.
    Malformed(&'static str),
    /// The response has an encoding that was not accepted.
    Encoded,
}

impl RequestError {
    /// The error of a proxy that refused a connection.
    pub(super) fn of_proxy(proxy: &Proxy, problem: &dyn fmt::Display) -> Self {
        Self::Proxy {
            proxy: proxy.to_string(),
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(what) => f.write_str(what),
            Self::Unresolved(error) => write!(f, "DNS lookup failed: {}", error.kind()),
            Self::Connect(error) => write!(f, "connect failed: {error}"),
            Self::Proxy { proxy, problem } => write!(f, "the proxy {proxy}: {problem}"),
            Self::ProxyCredentials(proxy) => write!(f, "the proxy {proxy} requires credentials"),
            Self::Tls(error) => write!(f, "tls failed: {error}"),
            Self::Unsent(error) => {
                write!(
                    f,
                    "the connection broke before the request was sent: {error}"
                )
            }
            Self::Reset(error) => write!(f, "the connection broke: {error}"),
            Self::Malformed(what) => write!(f, "invalid http response: {what}"),
            Self::Encoded => f.write_str("unrequested content encoding"),
        }
    }
}

impl StdError for RequestError {}

/// Why a body is incomplete.
#[derive(Debug)]
pub enum BodyError {
    /// The connection broke, or ended before the body did.
    Cut(io::Error),
    /// The body contradicts its framing.
    Malformed(&'static str),
    /// The compressed data is invalid.
    Corrupt,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(error) => write!(f, "the connection broke: {error}"),
            Self::Malformed(what) => write!(f, "invalid http response: {what}"),
            Self::Corrupt => f.write_str("the compressed body is corrupt"),
        }
    }
}

impl StdError for BodyError {}
