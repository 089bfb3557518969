//! What can be set of the emulator.

use std::fmt;

use super::script::Script;

/// A key that is always refused, so that clients can be tested without a setting.
pub(super) const BAD_KEY: &str = "sk-bad";

/// The largest body of a request to the models: several media of the largest size as data URIs.
const BODY_BYTES: usize = 64 * 1024 * 1024;
/// The temporary storage holds one object of the largest size that DashScope takes, 1 GiB.
const STORE_BYTES: usize = 1024 * 1024 * 1024;
/// More connections than a test suite opens, and few enough for small machines.
const CONNECTIONS: usize = 1024;
/// Requests that the journal keeps.
const JOURNAL: usize = 1000;

/// How the emulator behaves. The default is DashScope at its best.
#[derive(Clone)]
pub struct EmulatorConfig {
    /// What to reply instead of the emulator's own answers. Empty by default.
    pub script: Script,
    /// Keys that are refused, beside `sk-bad`. None by default.
    pub bad_keys: Vec<String>,
    /// The largest body of a request to the models, in bytes. 64 MiB by default.
    pub max_body_bytes: usize,
    /// What the temporary storage holds, in bytes; the oldest objects are dropped for new ones.
    /// 1 GiB by default. No single object may be larger than that or than 1 GiB.
    pub store_bytes: usize,
    /// Connections at one time; more wait to be accepted. 1024 by default.
    pub max_connections: usize,
    /// Requests that the journal keeps. 1000 by default.
    pub journal_entries: usize,
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
            .finish()
    }
}
