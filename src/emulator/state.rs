//! State shared by all requests, and the context of one request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;

use bytes::Bytes;

use super::clock::Clock;
use super::dialect::Dialect;
use super::error::ApiError;
use super::object_store::Store;
use super::policy::Signer;
use super::request_journal::{Entry, Journal};
use super::script::{ActiveScript, Call, Script};
use super::script_rule::Reply;
use super::settings::{BAD_KEY, EmulatorConfig};

/// Concurrent decodings, which need CPU and memory.
const MAX_DECODINGS: usize = 2;

/// State shared by all requests.
pub(super) struct ServerState {
    /// The tester's script.
    pub(super) script: ActiveScript,
    /// The built-in script: the samples of DashScope's documentation.
    pub(super) samples: ActiveScript,
    /// The requests received.
    pub(super) journal: Arc<Journal>,
    /// Uploads and results.
    pub(super) store: Store,
    /// Signs policies and temporary keys.
    pub(super) signer: Signer,
    /// Permits for decoding.
    pub(super) decode_permits: Arc<Semaphore>,
    /// The largest request body.
    pub(super) max_body_bytes: usize,
    /// The largest object.
    pub(super) max_object_bytes: usize,
    /// The dialect of `/v1`.
    pub(super) dialect: Dialect,
    /// The models of `/v1`; empty if they are not limited.
    pub(super) models: Vec<String>,
    /// The time without activity after which a WebSocket session ends.
    pub(super) socket_idle: Duration,
    /// The longest WebSocket session.
    pub(super) socket_lifetime: Duration,
    clock: Clock,
    api_key: Option<String>,
    bad_keys: Vec<String>,
    address: SocketAddr,
}

/// The largest object that DashScope accepts.
const OBJECT_BYTES: usize = 1024 * 1024 * 1024;

impl ServerState {
    /// Sets up all parts.
    pub(super) fn new(settings: EmulatorConfig, address: SocketAddr) -> Self {
        let clock = Clock::new();
        // A test parses the built-in script; an invalid one would only lack its samples.
        let samples = Script::parse(include_str!("quickstart.json")).unwrap_or_default();
        Self {
            script: ActiveScript::new(settings.script),
            samples: ActiveScript::new(samples),
            journal: Arc::new(Journal::new(settings.journal_entries, clock)),
            store: Store::new(settings.store_bytes),
            signer: Signer::new(clock),
            decode_permits: Arc::new(Semaphore::new(MAX_DECODINGS)),
            max_body_bytes: settings.max_body_bytes,
            max_object_bytes: settings.store_bytes.min(OBJECT_BYTES),
            dialect: settings.dialect,
            models: settings.models,
            socket_idle: settings.socket_idle,
            socket_lifetime: settings.socket_lifetime,
            clock,
            api_key: settings.api_key,
            bad_keys: settings.bad_keys,
            address,
        }
    }

    /// Whether a request has a valid key.
    pub(super) fn is_authorized(&self, parts: &Parts) -> bool {
        let Some(key) = bearer(parts) else {
            return false;
        };
        if key.starts_with("st-") {
            return self.signer.accepts(key);
        }
        let bad = key == BAD_KEY || self.bad_keys.iter().any(|bad| bad == key);
        key.strip_prefix("sk-").is_some_and(|rest| !rest.is_empty()) && !bad
    }

    /// Whether a request has the key that a dialect requires.
    pub(super) fn has_key_of(&self, dialect: Dialect, parts: &Parts) -> bool {
        let key = bearer(parts);
        match (dialect, &self.api_key) {
            (Dialect::DashScope, _) => self.is_authorized(parts),
            (_, Some(required)) => key == Some(required),
            (Dialect::OpenAi, None) => self.is_authorized(parts),
            (_, None) => true,
        }
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    /// The base URL by which the client reached the emulator.
    pub(super) fn origin(&self, parts: &Parts) -> String {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        match host {
            Some(host) if !host.is_empty() => format!("http://{host}"),
            _ => format!("http://{}", self.address),
        }
    }

    /// Reads a request body.
    ///
    /// # Errors
    ///
    /// If it is too large or incomplete.
    pub(super) async fn body(&self, body: Incoming) -> Result<Bytes, ApiError> {
        let body = Limited::new(body, self.max_body_bytes);
        let body = body.collect().await.map_err(|_| ApiError::too_large())?;
        Ok(body.to_bytes())
    }

    /// The reply of the tester's script to a call, which is recorded in the journal.
    pub(super) fn scripted_reply(&self, call: Call<'_>, context: &mut RequestContext) -> Reply {
        let matching_rule = self.script.matching_rule(call);
        if let Some(matching_rule) = &matching_rule {
            context.entry.note("rule", json!(matching_rule.name));
        }
        let reply = matching_rule
            .map(|matching_rule| matching_rule.reply)
            .unwrap_or_default();
        if let Some(id) = &reply.request_id {
            context.id.clone_from(id);
        }
        context.entry.note("request_id", json!(context.id));
        reply
    }
}

/// The key of a request.
fn bearer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = header.split_once(' ')?;
    // The name of a scheme has no case, and one SDK writes it in lower case.
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The context of one request.
pub(super) struct RequestContext {
    /// The request id.
    pub(super) id: String,
    /// Base URL by which the client reached the emulator.
    pub(super) origin: String,
    /// Its journal entry.
    pub(super) entry: Entry,
}
