//! The public keys that verify tokens: a JWK set from a file or an `https` URL.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::error::{Error, Reason};
use crate::net::Network;

use super::file_watcher::{CHECK_INTERVAL, WatchedFile};

/// The longest duration of a fetch. Calls may wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest set, in bytes. Ten RSA keys with all their certificates have 20 KiB.
const MAX_SET_BYTES: usize = 256 * 1024;

/// The most keys of a set.
const MAX_KEYS: usize = 100;

/// The shortest interval between the starts of two fetches: tokens with invented key ids must not
/// cause a fetch each.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(10);

/// The longest interval after repeated failures, until which it doubles: it limits the load on an
/// unavailable issuer, and notices its recovery within a minute.
const MAX_FETCH_INTERVAL: Duration = Duration::from_secs(60);

/// The interval of fetches while no unknown key id arrives, after which keys that were removed from
/// the set are rejected.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The source of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file, read again when it changes.
    File(PathBuf),
    /// A URL with `https`, or `http` on a loopback host.
    Address(String),
}

/// A set of keys that is kept up to date.
pub(super) struct Jwks {
    shared: Arc<Shared>,
}

/// What a refresh needs. It runs on a task of its own, because the call that started it may be
/// cancelled at any time.
struct Shared {
    set: RwLock<Arc<KeySet>>,
    origin: KeySource,
    refresh_state: Mutex<RefreshState>,
}

/// The source of the set, ready to be read.
enum KeySource {
    File(WatchedFile),
    Address {
        client: reqwest::Client,
        url: Url,
        /// The proxy in use, for the log.
        proxy: Option<String>,
    },
}

/// When the set was refreshed, and whether a refresh is running. Only one runs at a time.
#[derive(Default)]
struct RefreshState {
    /// Start of the last refresh.
    last: Option<Instant>,
    /// Consecutive failures.
    failures: u32,
    /// Closed when the running refresh ends.
    running: Option<watch::Receiver<()>>,
}

/// Signals the end of a refresh, whatever its result.
struct RefreshGuard {
    shared: Arc<Shared>,
    _open: watch::Sender<()>,
}

impl Drop for RefreshGuard {
    fn drop(&mut self) {
        self.shared.refresh_state().running = None;
    }
}

/// The keys of a set.
#[derive(Default)]
struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    /// The algorithm of the key, if the set specifies it.
    algorithm: Option<Algorithm>,
    key: Arc<DecodingKey>,
}

impl Jwks {
    /// Opens a set. A file is read at once and must be valid. A URL is fetched later, so that an
    /// unavailable issuer does not prevent the start of the gateway.
    pub(super) fn open(source: JwksSource, network: &Network) -> Result<Self, Error> {
        let (set, origin) = match source {
            JwksSource::File(path) => {
                let (file, text) = WatchedFile::open(path)?;
                (parse(text.as_bytes())?, KeySource::File(file))
            }
            JwksSource::Address(address) => {
                let url = Url::parse(&address)
                    .map_err(|_| config_error("the address of the JWK set is not a URL"))?;
                let client = client(network)?;
                let proxy = network.proxies.of(&url).map(ToString::to_string);
                (KeySet::default(), KeySource::Address { client, url, proxy })
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                set: RwLock::new(Arc::new(set)),
                origin,
                refresh_state: Mutex::default(),
            }),
        })
    }

    /// The key with this id for this algorithm. If it is unknown, the set is refreshed first,
    /// unless that has just been done.
    pub(super) async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<Arc<DecodingKey>> {
        if let Some(key) = self.shared.set().find(id, algorithm) {
            return Some(key);
        }
        let interval = match self.shared.origin {
            KeySource::File(_) => CHECK_INTERVAL,
            KeySource::Address { .. } => MIN_FETCH_INTERVAL,
        };
        self.refresh(interval).await;
        self.shared.set().find(id, algorithm)
    }

    /// Keeps the set up to date until it is dropped.
    pub(super) async fn watch(&self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.shared.origin {
                KeySource::File(_) => self.refresh(Duration::ZERO).await,
                KeySource::Address { .. } => self.refresh(REFRESH_INTERVAL).await,
            }
        }
    }

    /// Waits for the running refresh, or starts one if the last one started longer ago than
    /// `interval`.
    async fn refresh(&self, interval: Duration) {
        if let Some(mut running) = self.begin(interval) {
            // Ends with an error, because nothing is ever sent.
            let _ = running.changed().await;
        }
    }

    fn begin(&self, interval: Duration) -> Option<watch::Receiver<()>> {
        let mut refresh_state = self.shared.refresh_state();
        if let Some(running) = &refresh_state.running {
            return Some(running.clone());
        }
        if refresh_state
            .last
            .is_some_and(|last| last.elapsed() < refresh_state.interval(interval))
        {
            return None;
        }
        let (open, running) = watch::channel(());
        refresh_state.last = Some(Instant::now());
        refresh_state.running = Some(running.clone());
        let done = RefreshGuard {
            shared: Arc::clone(&self.shared),
            _open: open,
        };
        tokio::spawn(async move {
            let outcome = done.shared.read().await;
            done.shared.store(outcome);
            drop(done);
        });
        Some(running)
    }
}

impl RefreshState {
    /// The interval after the failures so far.
    fn interval(&self, interval: Duration) -> Duration {
        let doubled = interval.saturating_mul(2_u32.saturating_pow(self.failures.min(16)));
        doubled.min(MAX_FETCH_INTERVAL.max(interval))
    }
}

impl Shared {
    /// Reads the source. `None` if a file is unchanged.
    async fn read(&self) -> Option<Result<Vec<u8>, Error>> {
        match &self.origin {
            KeySource::File(file) => file
                .changed()
                .await
                .map(|text| text.map(String::into_bytes)),
            KeySource::Address { client, url, proxy } => {
                Some(fetch(client, url, proxy.as_deref()).await)
            }
        }
    }

    fn store(&self, read: Option<Result<Vec<u8>, Error>>) {
        let Some(read) = read else {
            return;
        };
        let is_address = matches!(self.origin, KeySource::Address { .. });
        match read.and_then(|bytes| parse(&bytes)) {
            Ok(set) => {
                tracing::debug!(keys = set.0.len(), "JWK set loaded");
                self.refresh_state().failures = 0;
                *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
            }
            Err(error) => {
                if is_address {
                    let mut refresh_state = self.refresh_state();
                    refresh_state.failures = refresh_state.failures.saturating_add(1);
                }
                tracing::error!(%error, cause = error.cause(), "JWK set reload failed, keeping \
                    current keys");
            }
        }
    }

    fn refresh_state(&self) -> MutexGuard<'_, RefreshState> {
        self.refresh_state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) -> Arc<KeySet> {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&set)
    }
}

impl KeySet {
    /// The key with this id; without an id, the only key that fits.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<DecodingKey>> {
        let matches = |key: &&Key| {
            key.key.family() == algorithm.family()
                && key.algorithm.is_none_or(|own| own == algorithm)
                && (id.is_none() || key.id.as_deref() == id)
        };
        let mut keys = self.0.iter().filter(matches);
        let key = keys.next()?;
        // Several keys fit, and an id is required.
        keys.next().is_none().then(|| Arc::clone(&key.key))
    }
}

/// The keys of a set that can verify signatures. Others are ignored.
fn parse(bytes: &[u8]) -> Result<KeySet, Error> {
    let set: JwkSet = serde_json::from_slice(bytes)
        // The parser's message may quote the content.
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let place = format!("the JWK set cannot be read at line {line}, column {column}");
            config_error(place)
        })?;
    let keys: Vec<_> = set.keys.iter().take(MAX_KEYS).filter_map(key).collect();
    if keys.is_empty() {
        return Err(config_error(
            "the JWK set has no key that verifies: RSA, EC on P-256 or P-384, or Ed25519",
        ));
    }
    Ok(KeySet(keys))
}

fn key(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    // A symmetric key would allow anyone who can read the configuration to sign tokens.
    let public = !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
    if !signs || !public {
        return None;
    }
    let algorithm = match common.key_algorithm {
        None => None,
        // A key for an unknown algorithm matches no token.
        Some(named) => Some(named.to_string().parse().ok()?),
    };
    Some(Key {
        id: common.key_id.clone(),
        algorithm,
        key: Arc::new(DecodingKey::from_jwk(jwk).ok()?),
    })
}

async fn fetch(client: &reqwest::Client, url: &Url, proxy: Option<&str>) -> Result<Vec<u8>, Error> {
    let failed = |error: reqwest::Error| {
        let through = proxy.map(|proxy| format!(" through the proxy {proxy}"));
        let through = through.unwrap_or_default();
        config_error(format!("the JWK set cannot be fetched{through}"))
            .with_source(error.without_url())
    };
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(config_error(format!(
            "the JWK set cannot be fetched: HTTP status {status}"
        )));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_SET_BYTES {
            return Err(config_error("the JWK set is larger than 256 KiB"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An HTTP client that follows no redirects.
fn client(network: &Network) -> Result<reqwest::Client, Error> {
    let wrong = |cause: &dyn std::fmt::Display| {
        config_error("the HTTP client cannot be built").with_source(cause)
    };
    network
        .http_client(FETCH_TIMEOUT)
        .map_err(|error| wrong(&error))?
        .user_agent(concat!("dashgate/", env!("CARGO_PKG_VERSION")))
        // Connections are not kept between fetches, which are minutes apart.
        .pool_max_idle_per_host(0)
        .timeout(FETCH_TIMEOUT)
        .build()
        .map_err(|error| wrong(&error))
}

fn config_error(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    // A configuration error, which is never returned to a caller.
    Error::new(Reason::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_public_keys_and_no_shared_secret() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let ed = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#);
        let set = |keys: &[String]| parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes());
        let kid = |kid: &str| ed(&format!(r#","kid":"{kid}""#));
        let two = set(&[kid("a"), kid("b")]).unwrap();
        assert!(two.find(Some("a"), Algorithm::EdDSA).is_some());
        assert!(two.find(Some("c"), Algorithm::EdDSA).is_none());
        assert!(two.find(Some("a"), Algorithm::RS256).is_none());
        // Without an id, the key must be unambiguous.
        assert!(two.find(None, Algorithm::EdDSA).is_none());
        let one = set(&[kid("a")]).unwrap();
        assert!(one.find(None, Algorithm::EdDSA).is_some());

        let shared = r#"{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}"#.to_owned();
        for wrong in [
            vec![],
            vec![shared],
            vec![ed(r#","use":"enc""#)],
            vec![r#"{"kty":"new","n":1}"#.to_owned()],
        ] {
            assert!(set(&wrong).is_err(), "{wrong:?}");
        }
        let bound = set(&[ed(r#","alg":"RS256""#)]).unwrap();
        assert!(bound.find(None, Algorithm::EdDSA).is_none());
        let told = parse(b"{\"keys\":[{\"kty\":\"canary").err().unwrap();
        assert!(!format!("{told:?}").contains("canary"));
    }
}
