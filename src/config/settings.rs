//! The checked settings: plain values that cannot be wrong. Each room is given its own part.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::net::Network;
use crate::secret::Secret;

use super::client::Client;
use super::memory::Memory;
use super::server::Server;

/// All settings. What each means stands in [`super::table`], under the same name.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The front door.
    pub server: Server,
    /// How much memory calls may hold.
    pub memory: Memory,
    /// The clocks of a call.
    pub timeouts: Timeouts,
    /// The back door.
    pub upstream: Upstream,
    /// Second tries.
    pub retry: Retry,
    /// Calls that are done once.
    pub idempotency: Idempotency,
    /// Names of models.
    pub models: Models,
    /// Who may call.
    pub callers: Callers,
    /// The log.
    pub log: Log,
    /// The operator's door.
    pub admin: Admin,
    /// What is counted and traced.
    pub telemetry: Telemetry,
    /// The commands that call a gateway.
    pub client: Client,
    /// What is in force, as text, without secrets.
    pub effective: String,
}

/// The clocks of a call.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Timeouts {
    pub unary: Duration,
    pub stream: Duration,
    pub max: Duration,
    pub first_event: Duration,
    pub idle: Duration,
    pub slow_consumer: Duration,
}

/// The back door.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Upstream {
    /// Who is asked, by `upstream.url`, `api_key`, `api_key_file` and `region` together.
    pub endpoint: Endpoint,
    /// Those of `upstream.accounts_file`, who are asked instead if there are any.
    pub accounts: Vec<Account>,
    pub breaker_failures: u32,
    pub breaker_pause: Duration,
    pub workspace: Option<String>,
    pub data_inspection: Option<String>,
    pub connect_timeout: Duration,
    pub max_connection_age: Duration,
    /// By `upstream.proxy`, `no_proxy`, `tls.ca` and `tls.system_roots`.
    pub network: Network,
    pub allow_plaintext: bool,
    pub inline_limit: usize,
    pub max_request_bytes: usize,
    /// By `upstream.unknown_uploads`.
    pub refuse_unknown_uploads: bool,
    pub private_hosts: Vec<String>,
    pub max_event_bytes: usize,
    pub max_body_bytes: usize,
    pub stream_only_models: Vec<String>,
    pub incremental_models: Vec<String>,
    pub cumulative_models: Vec<String>,
    pub revised_models: Vec<String>,
    pub show_messages: bool,
}

/// Who is asked. There is no DashScope without a key, so the key stands with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The embedded DashScope, in this process.
    Embedded,
    /// DashScope, or what plays it.
    Remote {
        /// With `/api/v1`, without a slash at the end.
        base_url: String,
        /// What is sent as `Authorization: Bearer`.
        api_key: Secret,
    },
}

/// An account at DashScope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the operator calls it.
    pub name: String,
    /// Its address and key.
    pub endpoint: Endpoint,
    /// Its workspace, if calls are made in one.
    pub workspace: Option<String>,
    /// How much it gets of what all get together.
    pub weight: u32,
    /// The rates of its models, by patterns.
    pub limits: Vec<AccountLimit>,
}

/// What an account may ask of the models of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLimit {
    /// The models; `*` stands for anything.
    pub models: String,
    /// Calls a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, in and out.
    pub tokens_per_minute: Option<u32>,
}

/// Second tries.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Retry {
    pub max_attempts: u32,
    pub budget_percent: u32,
    pub after_reset: bool,
}

/// Calls that are done once.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Idempotency {
    pub keep: Duration,
    pub max_calls: usize,
    pub max_bytes: usize,
}

/// Names of models, in the order in which they were given. A name stands once on the left.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Models {
    pub aliases: Vec<(String, String)>,
    pub fallbacks: Vec<(String, Vec<String>)>,
    pub timeouts: Vec<(String, Duration)>,
    pub first_event_timeouts: Vec<(String, Duration)>,
    pub max_request_bytes: Vec<(String, usize)>,
    pub audio_limits: Vec<(String, Duration)>,
    /// `models.long_audio`: whether such a call is refused.
    pub refuse_long_audio: bool,
    pub max_in_flight: Vec<(String, usize)>,
}

/// Who may call.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Callers {
    pub keys_file: Option<PathBuf>,
    pub pass_through: bool,
    /// Which tokens are accepted, by `callers.jwks` and `callers.jwt_*` together.
    pub tokens: Option<Tokens>,
    pub certificate_uris: Vec<String>,
    pub max_tracked: usize,
    pub allow_anyone: bool,
    pub open_reflection: bool,
    pub limits: CallerLimits,
}

/// Which tokens are accepted.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// A path, or an address that begins with `https:`, or `http:` on this machine.
    pub jwks: String,
    /// `iss`.
    pub issuer: String,
    /// One of these in `aud`; never empty.
    pub audience: Vec<String>,
    /// The algorithms; never empty.
    pub algorithms: Vec<String>,
    /// By how much clocks may differ.
    pub clock_skew: Duration,
    /// The claim that names the caller.
    pub name_claim: String,
    /// The claim that limits it.
    pub limits_claim: Option<String>,
}

/// What a caller may use of whom nothing else is said; 0 is no limit.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct CallerLimits {
    pub models: Vec<String>,
    pub requests_per_minute: u64,
    pub tokens_per_minute: u64,
    pub max_streams: u64,
    pub tokens_per_day: u64,
}

impl Callers {
    /// Whether callers are asked who they are.
    pub fn are_asked(&self) -> bool {
        let texts = self.keys_file.is_some() || self.pass_through || self.tokens.is_some();
        texts || !self.certificate_uris.is_empty()
    }
}

impl Models {
    /// Every model that is named for being asked.
    pub fn named(&self) -> Vec<String> {
        let aliases = self.aliases.iter().map(|(_, model)| model.clone());
        let fallbacks = self.fallbacks.iter();
        let fallbacks = fallbacks.flat_map(|(model, next)| std::iter::once(model).chain(next));
        aliases.chain(fallbacks.cloned()).collect()
    }
}

/// The log.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// The operator's door.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Admin {
    pub listen: Option<SocketAddr>,
    pub allowed_hosts: Vec<String>,
}

/// What is counted and traced.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Telemetry {
    /// By model: what a million tokens of the question and of the answer cost.
    pub rates: Vec<(String, [f64; 2])>,
    pub currency: String,
    pub load_reports: bool,
    pub otlp_endpoint: Option<String>,
    pub otlp_headers: Secret,
    pub service_name: String,
    pub trace_sampler: Sampler,
    pub trace_ratio: f64,
    pub capture_content: bool,
}

/// Who decides whether a call is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampler {
    /// The caller, and chance for those who do not say.
    #[default]
    Parent,
    /// Chance alone.
    Ratio,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// A JSON object.
    Json,
    /// Words for people.
    Text,
}
