//! The public keys that tokens are signed with: a JWK set, from a file or from an `https` address.

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

use super::file_watcher::{LOOK_EVERY, Watched};

/// How long a fetch may take, all in all. Calls may wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest set that is read. One of ten RSA keys has 20 KiB with all its certificates.
const MAX_SET_BYTES: usize = 256 * 1024;

/// The most keys of a set.
const MAX_KEYS: usize = 100;

/// The least time between the starts of two fetches: whoever makes up names of keys must not make
/// the gateway ask for each of them.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// The same after fetches that failed, when it has doubled often enough: an authority that is down
/// is not hurried, and one that is back is found within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often the set is fetched when nobody needs a new key, so that keys which were taken out of
/// it end.
const FETCH_EVERY: Duration = Duration::from_secs(5 * 60);

/// Where the set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, read again when it changes.
    File(PathBuf),
    /// An address, `https`, or `http` on this machine.
    Address(String),
}

/// A set of keys that is kept up to date.
pub(super) struct Jwks {
    shared: Arc<Shared>,
}

/// What a refresh needs, which runs on a task of its own: the caller for whose token it began may
/// go away at any time.
struct Shared {
    set: RwLock<Arc<Set>>,
    origin: Origin,
    pace: Mutex<Pace>,
}

/// Where the set comes from, as it is kept.
enum Origin {
    File(Watched),
    Address {
        client: reqwest::Client,
        url: Url,
        /// The proxy on the way, for the log.
        proxy: Option<String>,
    },
}

/// When the set was refreshed, and whether it is now. One refresh at a time.
#[derive(Default)]
struct Pace {
    /// When the last one began.
    last: Option<Instant>,
    /// How many have failed in a row.
    failures: u32,
    /// Closed when the one that runs is done.
    running: Option<watch::Receiver<()>>,
}

/// Says that a refresh is done, however it ended.
struct Done {
    shared: Arc<Shared>,
    _open: watch::Sender<()>,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.shared.pace().running = None;
    }
}

/// The keys that tokens may be signed with.
#[derive(Default)]
struct Set(Vec<Key>);

struct Key {
    id: Option<String>,
    /// What it may be used with, where the set says so.
    algorithm: Option<Algorithm>,
    key: Arc<DecodingKey>,
}

impl Jwks {
    /// A file is read now, and must be good. An address is asked later: an authority that is down
    /// must not keep a gateway from starting.
    pub(super) fn open(source: Source, network: &Network) -> Result<Self, Error> {
        let (set, origin) = match source {
            Source::File(path) => {
                let (file, text) = Watched::open(path)?;
                (parse(text.as_bytes())?, Origin::File(file))
            }
            Source::Address(address) => {
                let url = Url::parse(&address)
                    .map_err(|_| fault("the address of the JWK set is not a URL"))?;
                let client = client(network)?;
                let proxy = network.proxies.of(&url).map(ToString::to_string);
                (Set::default(), Origin::Address { client, url, proxy })
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                set: RwLock::new(Arc::new(set)),
                origin,
                pace: Mutex::default(),
            }),
        })
    }

    /// The key of this name for this algorithm. One that is not known may be new: then the set is
    /// refreshed first, unless that was done just now.
    pub(super) async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<Arc<DecodingKey>> {
        if let Some(key) = self.shared.set().find(id, algorithm) {
            return Some(key);
        }
        let pause = match self.shared.origin {
            Origin::File(_) => LOOK_EVERY,
            Origin::Address { .. } => FETCH_PAUSE,
        };
        self.refresh(pause).await;
        self.shared.set().find(id, algorithm)
    }

    /// Keeps the set up to date, until it is dropped.
    pub(super) async fn watch(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.shared.origin {
                Origin::File(_) => self.refresh(Duration::ZERO).await,
                Origin::Address { .. } => self.refresh(FETCH_EVERY).await,
            }
        }
    }

    /// Waits for the refresh that runs, or begins one if the last began longer ago than this.
    async fn refresh(&self, pause: Duration) {
        if let Some(mut running) = self.begin(pause) {
            // Ends with an error when it is done: nothing is ever sent.
            let _ = running.changed().await;
        }
    }

    fn begin(&self, pause: Duration) -> Option<watch::Receiver<()>> {
        let mut pace = self.shared.pace();
        if let Some(running) = &pace.running {
            return Some(running.clone());
        }
        if pace
            .last
            .is_some_and(|last| last.elapsed() < pace.pause(pause))
        {
            return None;
        }
        let (open, running) = watch::channel(());
        pace.last = Some(Instant::now());
        pace.running = Some(running.clone());
        let done = Done {
            shared: Arc::clone(&self.shared),
            _open: open,
        };
        tokio::spawn(async move {
            let outcome = done.shared.read().await;
            done.shared.take(outcome);
            drop(done);
        });
        Some(running)
    }
}

impl Pace {
    /// How long to pause after those that failed.
    fn pause(&self, pause: Duration) -> Duration {
        let doubled = pause.saturating_mul(2_u32.saturating_pow(self.failures.min(16)));
        doubled.min(LONGEST_PAUSE.max(pause))
    }
}

impl Shared {
    /// What stands there now; none if it is what was read before.
    async fn read(&self) -> Option<Result<Vec<u8>, Error>> {
        match &self.origin {
            Origin::File(file) => file
                .changed()
                .await
                .map(|text| text.map(String::into_bytes)),
            Origin::Address { client, url, proxy } => {
                Some(fetch(client, url, proxy.as_deref()).await)
            }
        }
    }

    fn take(&self, read: Option<Result<Vec<u8>, Error>>) {
        let Some(read) = read else {
            return;
        };
        let is_address = matches!(self.origin, Origin::Address { .. });
        match read.and_then(|bytes| parse(&bytes)) {
            Ok(set) => {
                tracing::debug!(keys = set.0.len(), "JWK set loaded");
                self.pace().failures = 0;
                *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
            }
            Err(error) => {
                if is_address {
                    let mut pace = self.pace();
                    pace.failures = pace.failures.saturating_add(1);
                }
                tracing::error!(%error, cause = error.cause(), "JWK set reload failed, keeping \
                    current keys");
            }
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) -> Arc<Set> {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&set)
    }
}

impl Set {
    /// The key that was named; the only one that fits, when none was.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<DecodingKey>> {
        let fits = |key: &&Key| {
            key.key.family() == algorithm.family()
                && key.algorithm.is_none_or(|own| own == algorithm)
                && (id.is_none() || key.id.as_deref() == id)
        };
        let mut keys = self.0.iter().filter(fits);
        let key = keys.next()?;
        // Which of several would have to be tried out.
        keys.next().is_none().then(|| Arc::clone(&key.key))
    }
}

/// The keys of a set that can verify. Others stand there too, and are for others.
fn parse(bytes: &[u8]) -> Result<Set, Error> {
    let set: JwkSet = serde_json::from_slice(bytes)
        // The parser's own words may quote what stands there.
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let place = format!("the JWK set cannot be read at line {line}, column {column}");
            fault(place)
        })?;
    let keys: Vec<_> = set.keys.iter().take(MAX_KEYS).filter_map(key).collect();
    if keys.is_empty() {
        return Err(fault(
            "the JWK set has no key that verifies: RSA, EC on P-256 or P-384, or Ed25519",
        ));
    }
    Ok(Set(keys))
}

fn key(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    // A key that both sides know would let the gateway's own configuration sign tokens.
    let public = !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
    if !signs || !public {
        return None;
    }
    let algorithm = match common.key_algorithm {
        None => None,
        // A key for an algorithm that is not known fits no token.
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
        fault(format!("the JWK set cannot be fetched{through}")).with_source(error.without_url())
    };
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(fault(format!(
            "the JWK set cannot be fetched: HTTP status {status}"
        )));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_SET_BYTES {
            return Err(fault("the JWK set is larger than 256 KiB"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A client that goes where it was told to, and nowhere else.
fn client(network: &Network) -> Result<reqwest::Client, Error> {
    let wrong =
        |cause: &dyn std::fmt::Display| fault("the HTTP client cannot be built").with_source(cause);
    network
        .http_client(FETCH_TIMEOUT)
        .map_err(|error| wrong(&error))?
        .user_agent(concat!("dashgate/", env!("CARGO_PKG_VERSION")))
        // A connection is not worth to be kept for minutes.
        .pool_max_idle_per_host(0)
        .timeout(FETCH_TIMEOUT)
        .build()
        .map_err(|error| wrong(&error))
}

fn fault(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    // A fault of a setting, which never reaches a caller.
    Error::new(Reason::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_what_verifies_and_no_shared_secret() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let ed = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#);
        let set = |keys: &[String]| parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes());
        let kid = |kid: &str| ed(&format!(r#","kid":"{kid}""#));
        let two = set(&[kid("a"), kid("b")]).unwrap();
        assert!(two.find(Some("a"), Algorithm::EdDSA).is_some());
        assert!(two.find(Some("c"), Algorithm::EdDSA).is_none());
        assert!(two.find(Some("a"), Algorithm::RS256).is_none());
        // Without a name there must be no choice.
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
