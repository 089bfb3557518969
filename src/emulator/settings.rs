//! The settings of the emulator.

use std::fmt;
use std::time::Duration;

use super::dialect::Dialect;
use super::script::Script;

/// A key that is always refused, for testing clients without a setting.
pub(super) const BAD_KEY: &str = "sk-bad";

/// Default limit of a request body: several media of the largest size as data URIs.
const BODY_BYTES: usize = 64 * 1024 * 1024;
/// Default capacity of the store: one object of the largest size that DashScope accepts, 1 GiB.
const STORE_BYTES: usize = 1024 * 1024 * 1024;
/// Default limit of connections: above what a test suite opens, and affordable for small machines.
const CONNECTIONS: usize = 1024;
/// Default number of requests in the journal.
const JOURNAL: usize = 1000;

/// The time without activity after which DashScope closes a WebSocket session.
const SOCKET_IDLE: Duration = Duration::from_secs(300);
/// The longest WebSocket session of DashScope.
const SOCKET_LIFETIME: Duration = Duration::from_secs(120 * 60);

/// Settings of the emulator. The defaults give an error-free DashScope.
#[derive(Clone)]
pub struct EmulatorConfig {
    /// Rules that replace the emulator's own answers. Default: none.
    pub script: Script,
    /// Keys that are refused, besides `sk-bad`. Default: none.
    pub bad_keys: Vec<String>,
    /// The largest body of a generation request, in bytes. Default: 64 MiB.
    pub max_body_bytes: usize,
    /// Capacity of the object store, in bytes; new objects replace the oldest. Also the largest
    /// object, up to 1 GiB. Default: 1 GiB.
    pub store_bytes: usize,
    /// Concurrent connections; further ones wait to be accepted. Default: 1024.
    pub max_connections: usize,
    /// Requests in the journal. Default: 1000.
    pub journal_entries: usize,
    /// The dialect of `/v1`. Default: vLLM.
    pub dialect: Dialect,
    /// The models that `/v1` serves. Default: every model whose name is known.
    pub models: Vec<String>,
    /// The key that `/v1` requires. Default: none; DashScope and OpenAI require any.
    pub api_key: Option<String>,
    /// The time without activity after which a WebSocket session ends. Default: 300 s.
    pub socket_idle: Duration,
    /// The longest WebSocket session. Default: 120 minutes.
    pub socket_lifetime: Duration,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            script: Script::default(),
            bad_keys: Vec::new(),
            max_body_bytes: BODY_BYTES,
            store_bytes: STORE_BYTES,
            max_connections: CONNECTIONS,
            journal_entries: JOURNAL,
            dialect: Dialect::default(),
            models: Vec::new(),
            api_key: None,
            socket_idle: SOCKET_IDLE,
            socket_lifetime: SOCKET_LIFETIME,
        }
    }
}

impl fmt::Debug for EmulatorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A refused key may be a real one that was revoked: it is not shown.
        f.debug_struct("EmulatorConfig")
            .field("rules", &self.script.len())
            .field("bad_keys", &self.bad_keys.len())
            .field("max_body_bytes", &self.max_body_bytes)
            .field("store_bytes", &self.store_bytes)
            .field("max_connections", &self.max_connections)
            .field("journal_entries", &self.journal_entries)
            .field("dialect", &self.dialect)
            .field("models", &self.models)
            .field("api_key", &self.api_key.is_some())
            .field("socket_idle", &self.socket_idle)
            .field("socket_lifetime", &self.socket_lifetime)
            .finish()
    }
}
