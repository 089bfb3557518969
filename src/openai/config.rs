//! The configuration of the client.

use std::time::Duration;

use url::Url;

use super::dialect::Dialect;
use crate::dashscope;
use crate::net::Network;
use crate::secret::Secret;

/// The configuration of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAiConfig {
    /// The base URL, to which `chat/completions` is appended.
    pub base_url: Url,
    /// The API key, if the server requires one.
    pub api_key: Option<Secret>,
    /// The kind of server.
    pub dialect: &'static Dialect,
    /// DashScope's workspace of calls that specify none.
    pub workspace: Option<String>,
    /// DashScope's data inspection header of calls that specify none.
    pub data_inspection: Option<String>,
    /// The connect timeout.
    pub connect_timeout: Duration,
    /// Proxies and root certificates.
    pub network: Network,
    /// Whether `http` is allowed to hosts other than loopback.
    pub allow_plaintext: bool,
    /// The maximum age of a connection.
    pub max_connection_age: Duration,
    /// The maximum data of one event.
    pub max_event_bytes: usize,
    /// The maximum response that is not a stream.
    pub max_body_bytes: usize,
}

impl OpenAiConfig {
    /// The configuration with every default.
    pub fn new(base_url: Url, dialect: &'static Dialect) -> Self {
        Self {
            base_url,
            api_key: None,
            dialect,
            workspace: None,
            data_inspection: None,
            connect_timeout: dashscope::CONNECT_TIMEOUT,
            network: Network::default(),
            allow_plaintext: false,
            max_connection_age: dashscope::MAX_CONNECTION_AGE,
            max_event_bytes: dashscope::MAX_EVENT_BYTES,
            max_body_bytes: dashscope::MAX_BODY_BYTES,
        }
    }
}
