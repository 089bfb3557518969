//! One call, as a value: all that the rooms below need to know of it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;

use super::media::Source;
use super::message::{Options, Tool, ToolChoice, Turn};
use super::warning::Warning;

/// One call. Made once at the door, then passed by reference.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name of the call, for logs, answers and doing it once.
    pub request_id: Arc<str>,
    /// Whether the caller chose that name: only then is the call done once.
    pub named: bool,
    /// Who calls, as far as is needed to tell callers apart.
    pub caller: Caller,
    /// Whose part of what callers share it takes: the caller's own if that is proved.
    pub share: Caller,
    /// The name that the operator gave to the caller, if any.
    pub caller_name: Option<Arc<str>>,
    /// How the answer is wanted.
    pub delivery: Delivery,
    /// How long the whole call may take, the stream included.
    pub timeout: Duration,
    /// What is asked.
    pub prompt: Prompt,
    /// What goes to DashScope beside it.
    pub passing: Passing,
    /// What the caller should know about the request; the answer carries it.
    pub warnings: Vec<Warning>,
}

/// Who calls: a number that is the same for the same credentials while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller(pub u64);

/// What is kept for each caller. Its number is a hash under a secret key already, which no caller
/// can choose, so it is not hashed once more.
pub type CallerMap<V> = HashMap<Caller, V, BuildHasherDefault<CallerHasher>>;

/// Takes the number of a caller as its hash.
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

/// What a caller's certificate says, once the front door has proved it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its URIs; a workload of a mesh has one `spiffe://` name.
    pub uri_sans: Vec<String>,
    /// Whom it was made for, as `CN=...`.
    pub subject: String,
}

/// Where a connection comes from: what tells callers apart that show no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The address of another machine. All connections from there are one caller.
    Address(IpAddr),
    /// A connection from this machine, by its number: programs here share one address.
    Connection(u64),
}

impl Default for Origin {
    fn default() -> Self {
        Self::Connection(0)
    }
}

/// What is known of the connection that a call came on.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// What the caller's certificate says, if one was asked for and shown.
    pub peer: Option<Arc<Peer>>,
    /// Where it comes from.
    pub origin: Origin,
}

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// All at once.
    Whole,
    /// As it is made.
    Stream,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prompt {
    /// The model.
    pub model: Arc<str>,
    /// The turns so far.
    pub turns: Vec<Turn>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub tool_choice: Option<ToolChoice>,
    /// How to answer. In a box, because a call is handed on a few times and they are most of it.
    pub options: Box<Options>,
}

impl Prompt {
    /// An address in DashScope's temporary storage that the prompt names, if it names one. Only the
    /// account that stored it can read it.
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

/// What of a caller's metadata goes to DashScope, and nothing else does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Passing {
    /// The caller's own key for DashScope, to use instead of the operator's.
    pub api_key: Option<Secret>,
    /// The workspace to use instead of the operator's.
    pub workspace: Option<String>,
    /// What of the content DashScope should inspect.
    pub data_inspection: Option<String>,
    /// The W3C trace that the call belongs to.
    pub traceparent: Option<String>,
    /// The state of that trace.
    pub tracestate: Option<String>,
}
