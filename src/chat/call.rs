//! A call, as a value: everything that `relay` and `dashscope` need to know of it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;

use super::media::Source;
use super::message::{Options, Tool, ToolChoice, Turn};
use super::stored::StoredConversation;
use super::warning::Warning;

/// A call. Created once by the server, then passed by reference.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request id, for logs, answers and idempotency.
    pub request_id: Arc<str>,
    /// Whether the caller chose the request id; only then the call is idempotent.
    pub named: bool,
    /// Identifies the caller.
    pub caller: Caller,
    /// Whose share of common limits is used: the caller's own if it is authenticated.
    pub share: Caller,
    /// Whose stored values it may use. The default unless there is a store.
    pub tenant: Tenant,
    /// The configured name of the caller, if any.
    pub caller_name: Option<Arc<str>>,
    /// The name of the method that was called, for the report.
    pub method: &'static str,
    /// Whether the answer is streamed.
    pub delivery: Delivery,
    /// The timeout of the whole call, the stream included.
    pub timeout: Duration,
    /// The request.
    pub prompt: Prompt,
    /// Metadata that is forwarded to DashScope.
    pub passing: Passing,
    /// The stored conversation that it is a turn of, if it is one; then the prompt has only the new
    /// messages, until the history is added.
    pub stored: Option<Box<StoredConversation>>,
    /// Warnings about the request, returned with the answer.
    pub warnings: Vec<Warning>,
    /// How a call with a request id is joined.
    pub joining: Joining,
}

/// How a call with a request id is joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joining {
    /// How many of its events are known already. Unless 0, no call is started.
    pub after: usize,
    /// How long it goes on without a reader.
    pub unread: Unread,
}

/// How long a call goes on without a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unread {
    /// It ends with its last reader.
    #[default]
    Ends,
    /// Until its reader had time to return after its connection was lost.
    AwaitsReader,
    /// Until its answer may be fetched.
    Detached,
}

/// A caller: a number that is the same for the same credentials while the process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller(pub u64);

/// Whose a stored value is: the same for the same credentials, whatever the process.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(pub [u8; 32]);

impl Tenant {
    /// The tenant as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tenant")
    }
}

/// A map by caller. Its number is already a hash under a secret key, which no caller can choose, so
/// it is not hashed again.
pub type CallerMap<V> = HashMap<Caller, V, BuildHasherDefault<CallerHasher>>;

/// Uses the number of a caller as its hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallerHasher(u64);

impl Hasher for CallerHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The caller's verified client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its URI SANs; a workload of a mesh has one `spiffe://` URI.
    pub uri_sans: Vec<String>,
}

/// The origin of a connection, which identifies callers without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The address of another machine. All connections from it are one caller.
    Address(IpAddr),
    /// A connection from this machine, by its number: local programs share one address.
    Connection(u64),
}

impl Default for Origin {
    fn default() -> Self {
        Self::Connection(0)
    }
}

/// The connection of a call.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The client certificate, if one was requested and presented.
    pub peer: Option<Arc<Peer>>,
    /// The origin.
    pub origin: Origin,
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// As a whole.
    Whole,
    /// As a stream.
    Stream,
}

/// The request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prompt {
    /// The model.
    pub model: Arc<str>,
    /// The messages of the conversation.
    pub turns: Vec<Turn>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether a tool must be called.
    pub tool_choice: Option<ToolChoice>,
    /// The options. Boxed, because a call is moved a few times and they are most of its size.
    pub options: Box<Options>,
}

impl Prompt {
    /// The first URL of DashScope's temporary storage in the prompt. Only the account that stored
    /// the file can read it.
    pub fn stored_medium(&self) -> Option<&str> {
        let parts = self.turns.iter().flat_map(|turn| &turn.parts);
        parts
            .flat_map(|part| part.body.media())
            .find_map(|medium| match &medium.source {
                Source::Uri(uri) if is_stored(uri) => Some(uri.as_str()),
                Source::Uri(_) | Source::Inline(_) => None,
            })
    }
}

fn is_stored(uri: &str) -> bool {
    let scheme = uri.get(..4);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("oss:"))
}

/// The metadata that is forwarded to DashScope; nothing else is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Passing {
    /// The caller's own API key for DashScope, which replaces the configured one.
    pub api_key: Option<Secret>,
    /// The workspace, which replaces the configured one.
    pub workspace: Option<String>,
    /// DashScope's data inspection header.
    pub data_inspection: Option<String>,
    /// The W3C `traceparent` of the call.
    pub traceparent: Option<String>,
    /// The W3C `tracestate` of the call.
    pub tracestate: Option<String>,
}
