//! The upstreams and accounts of calls, from the settings.

use url::Url;

use crate::config::{self, Endpoint, ServerKind, Settings};
use crate::dashscope::realtime;
use crate::dashscope::{self, DashScope, TextForm};
use crate::error::{Error, Reason};
use crate::net::Network;
use crate::openai::dialect::Dialect;
use crate::openai::{OpenAi, OpenAiConfig};
use crate::relay::accounts::account::{Account, Limit};
use crate::secret::Secret;
use crate::upstream::{Compatible, Upstream};

/// The API key for the emulator, which accepts any in the format of a key.
const EMBEDDED_KEY: &str = "sk-embedded";

/// The name of the account if there is only one.
const ONLY_ACCOUNT: &str = "default";

pub(super) fn base_url(text: &str) -> Result<Url, Error> {
    Url::parse(text)
        .map_err(|error| Error::new(Reason::GatewayConfig, "invalid base URL").with_source(error))
}

/// The accounts that calls are sent to.
pub(super) fn accounts(settings: &Settings, embedded: Option<&Url>) -> Result<Vec<Account>, Error> {
    let upstream = &settings.upstream;
    if upstream.accounts.is_empty() {
        let only = config::Account {
            name: ONLY_ACCOUNT.to_owned(),
            endpoint: upstream.endpoint.clone(),
            workspace: upstream.workspace.clone(),
            weight: 1,
            models: upstream.models.clone(),
            roots: None,
            limits: Vec::new(),
        };
        return Ok(vec![account(upstream, &only, embedded)?]);
    }
    let named = upstream.accounts.iter();
    named
        .map(|named| account(upstream, named, embedded))
        .collect()
}

/// Whether texts of models are cumulative or incremental.
fn text_forms(upstream: &config::Upstream) -> Vec<(String, TextForm)> {
    let lists = [
        (&upstream.incremental_models, TextForm::Pieces),
        (&upstream.cumulative_models, TextForm::Cumulative),
        (&upstream.revised_models, TextForm::Revised),
    ];
    let named = |(list, form): (&Vec<String>, TextForm)| {
        let pairs = list.iter().map(move |model| (model.clone(), form));
        pairs.collect::<Vec<_>>()
    };
    lists.into_iter().flat_map(named).collect()
}

/// The dialects of realtime models.
fn dialects(upstream: &config::Upstream) -> Vec<(String, &'static realtime::Dialect)> {
    let named = upstream.dialects.iter();
    let known = named.filter_map(|(pattern, name)| {
        // Names are validated with the settings.
        let dialect = realtime::Dialect::named(name)?;
        Some((pattern.clone(), dialect))
    });
    known.collect()
}

/// The account of these settings.
fn account(
    upstream: &config::Upstream,
    account: &config::Account,
    embedded: Option<&Url>,
) -> Result<Account, Error> {
    let client = match (&account.endpoint, embedded) {
        (
            Endpoint::Remote {
                base_url: url,
                api_key,
            },
            _,
        ) => {
            let network = network(upstream, account);
            let endpoint = (base_url(url)?, api_key.clone());
            let compatible = &upstream.compatible_models;
            dashscope(upstream, account, endpoint, network, compatible)?
        }
        // The emulator is in this process, so no proxy is used.
        (Endpoint::Embedded, Some(url)) => {
            let endpoint = (url.clone(), Secret::new(EMBEDDED_KEY));
            let compatible = &upstream.compatible_models;
            dashscope(upstream, account, endpoint, Network::default(), compatible)?
        }
        (Endpoint::Embedded, None) => {
            return Err(Error::new(
                Reason::GatewayBug,
                "the embedded emulator was not started",
            ));
        }
        (
            Endpoint::OpenAi {
                kind,
                base_url: url,
                api_key,
            },
            _,
        ) => {
            let network = network(upstream, account);
            let url = base_url(url)?;
            match (native_url(&url), api_key) {
                // With its storage, which both interfaces read.
                (Some(native), Some(key)) if *kind == ServerKind::DashScopeCompatible => {
                    let endpoint = (native, key.clone());
                    dashscope(upstream, account, endpoint, network, &["*".to_owned()])?
                }
                (_, key) => {
                    let server = (dialect(*kind), (url, key.clone()));
                    Upstream::OpenAi(openai(upstream, account, server, network, None)?)
                }
            }
        }
    };
    if let Some(proxy) = client.proxy() {
        let server = client.server();
        tracing::info!(account = account.name, %proxy, "connecting to {server} through a proxy");
    }
    let limits = account.limits.iter().map(|limit| {
        let rates = Limit {
            requests_per_minute: limit.requests_per_minute,
            tokens_per_minute: limit.tokens_per_minute,
        };
        (limit.models.clone(), rates)
    });
    Ok(Account {
        name: account.name.clone(),
        key: key(&account.endpoint),
        upstream: client,
        models: account.models.clone(),
        weight: account.weight,
        limits: limits.collect(),
    })
}

fn key(endpoint: &Endpoint) -> Option<Secret> {
    match endpoint {
        Endpoint::Remote { api_key, .. } => Some(api_key.clone()),
        Endpoint::OpenAi { api_key, .. } => api_key.clone(),
        Endpoint::Embedded => None,
    }
}

/// Proxies and root certificates of an account.
fn network(upstream: &config::Upstream, account: &config::Account) -> Network {
    let mut network = upstream.network.clone();
    if let Some(roots) = &account.roots {
        network.roots = roots.clone();
    }
    network
}

/// DashScope, natively and in its compatible mode.
fn dashscope(
    upstream: &config::Upstream,
    account: &config::Account,
    (url, api_key): (Url, Secret),
    network: Network,
    compatible_models: &[String],
) -> Result<Upstream, Error> {
    let native = DashScope::new(dashscope::DashScopeConfig {
        workspace: account.workspace.clone(),
        data_inspection: upstream.data_inspection.clone(),
        connect_timeout: upstream.connect_timeout,
        max_connection_age: upstream.max_connection_age,
        network: network.clone(),
        allow_plaintext: upstream.allow_plaintext,
        inline_limit: upstream.inline_limit,
        max_event_bytes: upstream.max_event_bytes,
        max_body_bytes: upstream.max_body_bytes,
        text_forms: text_forms(upstream),
        dialects: dialects(upstream),
        ..dashscope::DashScopeConfig::new(url.clone(), api_key.clone())
    })?;
    let compatible_url = compatible_url(&url).filter(|_| !compatible_models.is_empty());
    let Some(compatible_url) = compatible_url else {
        return Ok(native.into());
    };
    let endpoint = (compatible_url, Some(api_key));
    let storage = Some(native.clone());
    let client = openai(
        upstream,
        account,
        (Dialect::DASHSCOPE, endpoint),
        network,
        storage,
    )?;
    Ok(Upstream::DashScope {
        native,
        compatible: Some(Compatible {
            client,
            models: compatible_models.into(),
        }),
    })
}

/// The base path of DashScope's own interface.
const NATIVE: &str = "/api/v1";

/// The base path of its compatible mode.
const COMPATIBLE: &str = "/compatible-mode/v1";

/// The base URL of DashScope's compatible mode on the host of its own interface.
fn compatible_url(native: &Url) -> Option<Url> {
    with_other_path(native, NATIVE, COMPATIBLE)
}

/// The base URL of DashScope's own interface on the host of its compatible mode.
fn native_url(compatible: &Url) -> Option<Url> {
    with_other_path(compatible, COMPATIBLE, NATIVE)
}

fn with_other_path(url: &Url, from: &str, to: &str) -> Option<Url> {
    let path = url.path().trim_end_matches('/').strip_suffix(from)?;
    let mut other = url.clone();
    other.set_path(&format!("{path}{to}"));
    Some(other)
}

fn openai(
    upstream: &config::Upstream,
    account: &config::Account,
    (dialect, (base_url, api_key)): (&'static Dialect, (Url, Option<Secret>)),
    network: Network,
    storage: Option<DashScope>,
) -> Result<OpenAi, Error> {
    let config = OpenAiConfig {
        api_key,
        workspace: account.workspace.clone().filter(|_| dialect.is_dashscope()),
        data_inspection: upstream
            .data_inspection
            .clone()
            .filter(|_| dialect.is_dashscope()),
        connect_timeout: upstream.connect_timeout,
        max_connection_age: upstream.max_connection_age,
        network,
        allow_plaintext: upstream.allow_plaintext,
        max_event_bytes: upstream.max_event_bytes,
        max_body_bytes: upstream.max_body_bytes,
        ..OpenAiConfig::new(base_url, dialect)
    };
    OpenAi::new(config, storage)
}

fn dialect(kind: ServerKind) -> &'static Dialect {
    match kind {
        ServerKind::DashScopeCompatible => Dialect::DASHSCOPE,
        ServerKind::OpenAi => Dialect::OPENAI,
        ServerKind::Vllm => Dialect::VLLM,
        ServerKind::Sglang => Dialect::SGLANG,
        ServerKind::SglangOmni => Dialect::SGLANG_OMNI,
    }
}
