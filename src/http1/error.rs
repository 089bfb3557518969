//! What can go wrong between a request and the end of its answer.

use std::error::Error as StdError;
use std::{fmt, io};

use crate::net::proxy::Proxy;

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// The URL or the certificates of this machine are of no use. Nothing was sent.
    Setup(String),
    /// The name of the host has no address. Nothing was sent.
    Unresolved(io::Error),
    /// The host cannot be connected to. Nothing was sent.
    Connect(io::Error),
    /// The proxy on the way did not let the connection pass. Nothing was sent.
    Proxy {
        /// The proxy, as it is named.
        proxy: String,
        /// What went wrong.
        problem: String,
    },
    /// This proxy wants other credentials. Nothing was sent.
    ProxyCredentials(String),
    /// The host is not to be trusted. Nothing was sent.
    Tls(io::Error),
    /// The connection broke before a byte of the request was sent.
    Unsent(io::Error),
    /// The connection broke. The request may have arrived.
    Reset(io::Error),
    /// What came is no HTTP. The request may have arrived.
    Malformed(&'static str),
    /// The answer has an encoding that was not asked for.
    Encoded,
}

impl Fault {
    /// A proxy that does not let a connection pass.
    pub(super) fn of_proxy(proxy: &Proxy, problem: &dyn fmt::Display) -> Self {
        Self::Proxy {
            proxy: proxy.to_string(),
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for Fault {
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

impl StdError for Fault {}

/// Why a body does not go on.
#[derive(Debug)]
pub enum Broken {
    /// The connection broke, or ended before the body did.
    Cut(io::Error),
    /// What came is no body as its head announced it.
    Malformed(&'static str),
    /// The compressed bytes are no such bytes.
    Corrupt,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(error) => write!(f, "the connection broke: {error}"),
            Self::Malformed(what) => write!(f, "invalid http response: {what}"),
            Self::Corrupt => f.write_str("the compressed body is corrupt"),
        }
    }
}

impl StdError for Broken {}
