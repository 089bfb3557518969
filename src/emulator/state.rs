//! What all requests share, and what is known of one of them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;

use bytes::Bytes;

use super::clock::Clock;
use super::error::Fault;
use super::object_store::Store;
use super::policy::Signer;
use super::request_journal::{Entry, Journal};
use super::rule::Reply;
use super::script::{Call, Prompter, Script};
use super::settings::{BAD_KEY, EmulatorConfig};

/// Media that are decoded at one time: it is work for processors, and needs memory.
const LISTENERS: usize = 2;

/// The parts of the emulator.
pub(super) struct Desk {
    /// The script of the tester.
    pub(super) prompter: Prompter,
    /// The script that is built in: the samples of DashScope's documentation.
    pub(super) samples: Prompter,
    /// What came.
    pub(super) journal: Arc<Journal>,
    /// What was uploaded and made.
    pub(super) store: Store,
    /// What is signed.
    pub(super) signer: Signer,
    /// Permits to decode.
    pub(super) listeners: Arc<Semaphore>,
    /// The largest body that is read.
    pub(super) max_body_bytes: usize,
    /// The largest object that is taken.
    pub(super) max_object_bytes: usize,
    bad_keys: Vec<String>,
    address: SocketAddr,
}

/// DashScope takes objects up to this size.
const OBJECT_BYTES: usize = 1024 * 1024 * 1024;

impl Desk {
    /// Sets up all parts.
    pub(super) fn new(settings: EmulatorConfig, address: SocketAddr) -> Self {
        let clock = Clock::new();
        // A test parses the built-in script; were it broken, its samples would be missing.
        let samples = Script::parse(include_str!("quickstart.json")).unwrap_or_default();
        Self {
            prompter: Prompter::new(settings.script),
            samples: Prompter::new(samples),
            journal: Arc::new(Journal::new(settings.journal_entries, clock)),
            store: Store::new(settings.store_bytes),
            signer: Signer::new(clock),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
            max_body_bytes: settings.max_body_bytes,
            max_object_bytes: settings.store_bytes.min(OBJECT_BYTES),
            bad_keys: settings.bad_keys,
            address,
        }
    }

    /// Whether a request shows a key that is good.
    pub(super) fn admits(&self, parts: &Parts) -> bool {
        let header = parts.headers.get(AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        let Some(key) = header.and_then(|header| header.strip_prefix("Bearer ")) else {
            return false;
        };
        let key = key.trim();
        if key.starts_with("st-") {
            return self.signer.takes(key);
        }
        let bad = key == BAD_KEY || self.bad_keys.iter().any(|bad| bad == key);
        key.strip_prefix("sk-").is_some_and(|rest| !rest.is_empty()) && !bad
    }

    /// Where the emulator is reached: as the client called it.
    pub(super) fn origin(&self, parts: &Parts) -> String {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        match host {
            Some(host) if !host.is_empty() => format!("http://{host}"),
            _ => format!("http://{}", self.address),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// When it is too large, or does not come whole.
    pub(super) async fn body(&self, body: Incoming) -> Result<Bytes, Fault> {
        let body = Limited::new(body, self.max_body_bytes);
        let body = body.collect().await.map_err(|_| Fault::too_large())?;
        Ok(body.to_bytes())
    }

    /// What the tester's script replies to a call. The journal is told.
    pub(super) fn cue(&self, call: Call<'_>, visit: &mut Visit) -> Reply {
        let cue = self.prompter.cue(call);
        if let Some(cue) = &cue {
            visit.entry.note("rule", json!(cue.name));
        }
        let reply = cue.map(|cue| cue.reply).unwrap_or_default();
        if let Some(id) = &reply.request_id {
            visit.id.clone_from(id);
        }
        visit.entry.note("request_id", json!(visit.id));
        reply
    }
}

/// One request on its way.
pub(super) struct Visit {
    /// The name of the request.
    pub(super) id: String,
    /// Where the client reaches the emulator.
    pub(super) origin: String,
    /// Its entry in the journal.
    pub(super) entry: Entry,
}
