//! The validated settings. Each module gets its own part.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::net::Network;
use crate::net::roots::Roots;
use crate::secret::Secret;

use super::client::Client;
use super::memory::Memory;
use super::server::Server;
use super::store::StoreSettings;

/// All settings. [`super::all_settings`] documents them under the same names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server.
    pub server: Server,
    /// Memory of calls.
    pub memory: Memory,
    /// Timeouts of calls.
    pub timeouts: Timeouts,
    /// Live sessions.
    pub live: Live,
    /// DashScope.
    pub upstream: Upstream,
    /// Retries.
    pub retry: Retry,
    /// Idempotency.
    pub idempotency: Idempotency,
    /// The store, if there is one.
    pub store: Option<StoreSettings>,
    /// Models.
    pub models: Models,
    /// Authentication and limits.
    pub callers: Callers,
    /// The log.
    pub log: Log,
    /// The admin port.
    pub admin: Admin,
    /// Metrics and traces.
    pub telemetry: Telemetry,
    /// The commands that call a gateway.
    pub client: Client,
    /// The effective configuration as text, without secrets.
    pub effective: String,
}

/// Timeouts of calls.
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

/// Live sessions.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Live {
    pub max_duration: Duration,
    pub input_buffer: Duration,
    pub output_buffer: Duration,
    pub resume_window: Duration,
    pub journal_bytes: usize,
    pub upstream_limit: Duration,
}

/// DashScope.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Upstream {
    /// The upstream, from `upstream.url`, `api_key`, `api_key_file` and `region` together.
    pub endpoint: Endpoint,
    /// The accounts in `upstream.accounts_file`, which replace `endpoint` if there are any.
    pub accounts: Vec<Account>,
    pub breaker_failures: u32,
    pub breaker_pause: Duration,
    pub workspace: Option<String>,
    pub data_inspection: Option<String>,
    pub connect_timeout: Duration,
    pub max_connection_age: Duration,
    /// From `upstream.proxy`, `no_proxy`, `tls.ca` and `tls.system_roots`.
    pub network: Network,
    pub allow_plaintext: bool,
    pub inline_limit: usize,
    pub max_request_bytes: usize,
    /// From `upstream.unknown_uploads`.
    pub refuse_unknown_uploads: bool,
    pub private_hosts: Vec<String>,
    pub max_event_bytes: usize,
    pub max_body_bytes: usize,
    /// The models that `endpoint` serves; all if empty.
    pub models: Vec<String>,
    pub compatible_models: Vec<String>,
    pub stream_only_models: Vec<String>,
    pub incremental_models: Vec<String>,
    pub cumulative_models: Vec<String>,
    pub revised_models: Vec<String>,
    pub show_messages: bool,
    /// From `live.dialects`: patterns of models, and the names of their dialects.
    pub dialects: Vec<(String, String)>,
}

/// The upstream. There is no DashScope without a key, so the address has its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The emulator in this process.
    Embedded,
    /// DashScope or a compatible server.
    Remote {
        /// Includes `/api/v1`, without a trailing slash.
        base_url: String,
        /// Sent as `Authorization: Bearer`.
        api_key: Secret,
    },
    /// An OpenAI-style server.
    OpenAi {
        /// Its kind.
        kind: ServerKind,
        /// The URL before `/chat/completions`.
        base_url: String,
        /// Sent as `Authorization: Bearer`, if the server requires one.
        api_key: Option<Secret>,
    },
}

/// The kinds of OpenAI-style servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// DashScope's compatible mode, with DashScope's key.
    DashScopeCompatible,
    /// OpenAI, and servers that accept what it accepts.
    OpenAi,
    /// vLLM and vLLM-Omni.
    Vllm,
    /// SGLang.
    Sglang,
    /// SGLang-Omni.
    SglangOmni,
}

impl ServerKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::DashScopeCompatible,
        Self::OpenAi,
        Self::Vllm,
        Self::Sglang,
        Self::SglangOmni,
    ];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::DashScopeCompatible => "dashscope-compatible",
            Self::OpenAi => "openai",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::SglangOmni => "sglang-omni",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A DashScope account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name in the configuration.
    pub name: String,
    /// Its address and key.
    pub endpoint: Endpoint,
    /// Its workspace, if calls are made in one.
    pub workspace: Option<String>,
    /// Its share of all calls, relative to the weights of the others.
    pub weight: u32,
    /// The models that it serves; all if empty. `*` matches any characters.
    pub models: Vec<String>,
    /// Root certificates of its own, if it has any.
    pub roots: Option<Roots>,
    /// Rate limits by model pattern.
    pub limits: Vec<AccountLimit>,
}

/// Rate limits of an account for the models of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLimit {
    /// The models; `*` matches any characters.
    pub models: String,
    /// Calls per minute.
    pub requests_per_minute: Option<u32>,
    /// Input and output tokens per minute.
    pub tokens_per_minute: Option<u32>,
}

/// Retries.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Retry {
    pub max_attempts: u32,
    pub budget_percent: u32,
    pub after_reset: bool,
}

/// Idempotency.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Idempotency {
    pub keep: Duration,
    pub max_calls: usize,
    pub detached_grace: Duration,
    pub resume_grace: Duration,
    pub max_bytes: usize,
}

/// Models, in the order of the configuration. A name is a key at most once.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Models {
    pub aliases: Vec<(String, String)>,
    pub fallbacks: Vec<(String, Vec<String>)>,
    pub timeouts: Vec<(String, Duration)>,
    pub first_event_timeouts: Vec<(String, Duration)>,
    pub max_request_bytes: Vec<(String, usize)>,
    pub audio_limits: Vec<(String, Duration)>,
    /// From `models.long_audio`: whether such a call is refused.
    pub refuse_long_audio: bool,
    pub max_in_flight: Vec<(String, usize)>,
}

/// Authentication and limits.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Callers {
    pub keys_file: Option<PathBuf>,
    pub pass_through: bool,
    /// The accepted tokens, from `callers.jwks` and `callers.jwt_*` together.
    pub tokens: Option<TokenSettings>,
    pub certificate_uris: Vec<String>,
    pub max_tracked: usize,
    pub allow_anyone: bool,
    pub open_reflection: bool,
    pub limits: CallerLimits,
}

/// The accepted tokens.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// A path, or a URL with `https:`, or with `http:` on a loopback host.
    pub jwks: String,
    /// `iss`.
    pub issuer: String,
    /// `aud` must have one of these; never empty.
    pub audience: Vec<String>,
    /// Accepted algorithms; never empty.
    pub algorithms: Vec<String>,
    /// The most that clocks may differ.
    pub clock_skew: Duration,
    /// The claim that names the caller.
    pub name_claim: String,
    /// The claim with the caller's limits.
    pub limits_claim: Option<String>,
}

/// Default limits of callers. Zero is no limit.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct CallerLimits {
    pub models: Vec<String>,
    pub requests_per_minute: u64,
    pub tokens_per_minute: u64,
    pub max_streams: u64,
    pub tokens_per_day: u64,
    pub audio_seconds_per_day: u64,
}

impl Callers {
    /// Whether authentication is configured.
    pub fn require_authentication(&self) -> bool {
        let texts = self.keys_file.is_some() || self.pass_through || self.tokens.is_some();
        texts || !self.certificate_uris.is_empty()
    }
}

impl Settings {
    /// Every name of a model in the settings, also patterns. A name may occur several times.
    pub fn model_names(&self) -> impl Iterator<Item = &String> {
        let Upstream {
            models: served_models,
            compatible_models,
            stream_only_models,
            incremental_models,
            cumulative_models,
            revised_models,
            accounts,
            ..
        } = &self.upstream;
        let models = &self.models;
        let limits = accounts.iter().flat_map(|account| &account.limits);
        let lists = [
            served_models,
            compatible_models,
            stream_only_models,
            incremental_models,
            cumulative_models,
            revised_models,
        ];
        let durations = [
            &models.timeouts,
            &models.first_event_timeouts,
            &models.audio_limits,
        ];
        let sizes = [&models.max_request_bytes, &models.max_in_flight];
        let fallbacks = models.fallbacks.iter();
        (models.aliases.iter())
            .flat_map(|(alias, model)| [alias, model])
            .chain(fallbacks.flat_map(|(model, next)| std::iter::once(model).chain(next)))
            .chain(durations.into_iter().flatten().map(|(model, _)| model))
            .chain(sizes.into_iter().flatten().map(|(model, _)| model))
            .chain(self.telemetry.rates.iter().map(|(model, _)| model))
            .chain(accounts.iter().flat_map(|account| &account.models))
            .chain(limits.map(|limit| &limit.models))
            .chain(lists.into_iter().flatten())
    }
}

impl Models {
    /// Every model that may be sent to DashScope according to the settings.
    pub fn configured_names(&self) -> Vec<String> {
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

/// The admin port.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Admin {
    pub listen: Option<SocketAddr>,
    pub allowed_hosts: Vec<String>,
}

/// Metrics and traces.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Telemetry {
    /// Prices per million input and output tokens, by model.
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

/// What decides whether a call is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampler {
    /// The caller's decision; without one, the ratio.
    #[default]
    Parent,
    /// The ratio only.
    Ratio,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// JSON objects.
    Json,
    /// Text.
    Text,
}
