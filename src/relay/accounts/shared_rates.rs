//! What replicas share about accounts: the use of configured rates, and the rate limits that an
//! upstream has applied to a model of an account.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::callers::tenant;
use crate::chat::call::Tenant;
use crate::error::{self, Error, Reason, Scope};
use crate::quotas::{Quota, QuotaKind, Quotas, Verdict};
use crate::secret::Secret;
use crate::store::Store;
use crate::store::throttles::Throttle;
use crate::upstream::Upstream;

/// How many rate limits may wait to be written. More are known to this replica alone.
const QUEUE: usize = 256;

/// How often the rate limits of other replicas are read.
const POLL: Duration = Duration::from_millis(500);

/// The reasons that replicas share.
const REASONS: [Reason; 3] = [
    Reason::UpstreamRate,
    Reason::UpstreamBurst,
    Reason::UpstreamTokens,
];

/// What all accounts share through the store.
pub struct Sharing {
    quotas: Quotas,
    store: Store,
    sender: mpsc::Sender<Learned>,
    learned: Mutex<Option<mpsc::Receiver<Learned>>>,
}

/// A rate limit that an upstream applied to this replica.
struct Learned {
    account: Tenant,
    model: String,
    reason: Reason,
    pause: Duration,
}

/// What one account shares.
pub(super) struct SharedRates {
    id: Tenant,
    quotas: Quotas,
    sender: mpsc::Sender<Learned>,
}

/// The rates of one model of an account.
pub(super) struct ModelRates {
    requests: Quota,
    tokens: Quota,
}

impl Sharing {
    /// Through this store.
    pub fn new(store: Store, quotas: Quotas) -> Self {
        let (sender, learned) = mpsc::channel(QUEUE);
        Self {
            quotas,
            store,
            sender,
            learned: Mutex::new(Some(learned)),
        }
    }

    /// The store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// What this account shares.
    pub(super) fn rates(&self, upstream: &Upstream, key: Option<&Secret>) -> SharedRates {
        SharedRates {
            id: id(upstream, key),
            quotas: self.quotas.clone(),
            sender: self.sender.clone(),
        }
    }

    /// Writes what this replica learns, and passes on what others have learned, until it is
    /// dropped.
    pub(super) async fn run(&self, apply: impl Fn(&Throttle)) {
        let learned = self.learned.lock();
        let learned = learned.unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut learned) = learned else {
            return std::future::pending().await;
        };
        let mut known = HashMap::new();
        let mut polls = tokio::time::interval(POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(one) = learned.recv() => self.write(&one).await,
                _ = polls.tick() => {
                    // What cannot be read now is read later: this replica learns by itself too.
                    if let Ok(throttles) = self.store.throttles().await {
                        known = apply_new(throttles, &known, &apply);
                    }
                }
            }
        }
    }

    async fn write(&self, learned: &Learned) {
        let what = (&*learned.model, learned.reason.name());
        let written = self.store.throttle(&learned.account, what, learned.pause);
        if let Err(error) = written.await {
            tracing::debug!(%error, "a rate limit of an account could not be shared");
        }
    }
}

type Known = HashMap<(Tenant, String), i64>;

/// Applies what was not known. Returns what is known now.
fn apply_new(throttles: Vec<Throttle>, known: &Known, apply: &impl Fn(&Throttle)) -> Known {
    let mut now = Known::with_capacity(throttles.len());
    for throttle in throttles {
        let key = (throttle.account, throttle.model.clone());
        if known.get(&key) != Some(&throttle.until) {
            apply(&throttle);
        }
        now.insert(key, throttle.until);
    }
    now
}

/// The error of calls while another replica's rate limit applies.
pub(super) fn error_of(throttle: &Throttle) -> Error {
    let mut reasons = REASONS.iter();
    let reason = reasons.find(|reason| reason.name() == throttle.reason);
    let message = "the rate limit of this model is reached, as another replica has found";
    Error::new(reason.copied().unwrap_or(Reason::UpstreamRate), message).with_upstream(
        error::Upstream {
            scope: Scope::Model,
            ..error::Upstream::default()
        },
    )
}

impl SharedRates {
    /// Whether this is the account of a rate limit.
    pub(super) fn is(&self, account: &Tenant) -> bool {
        self.id == *account
    }

    /// The account, as all replicas name it.
    pub(super) fn id(&self) -> Tenant {
        self.id
    }

    /// The rates of a model, which limits with the same pattern do not share.
    pub(super) fn of_model(&self, model: &str) -> ModelRates {
        let quota = |name: &str| {
            let name = format!("{name} {model}");
            self.quotas.quota(self.id, &name, QuotaKind::Rate)
        };
        ModelRates {
            requests: quota("requests"),
            tokens: quota("tokens"),
        }
    }

    /// Lets other replicas know of a rate limit.
    pub(super) fn announce(&self, model: &str, reason: Reason, pause: Duration) {
        let learned = Learned {
            account: self.id,
            model: model.to_owned(),
            reason,
            pause,
        };
        // A full queue is a failing store: the others learn by themselves.
        let _ = self.sender.try_send(learned);
    }
}

impl ModelRates {
    /// How long to wait for a request; `None` if this replica's own use decides.
    pub(super) fn wait_for_request(&self, limit: u64, now: Instant) -> Option<Duration> {
        wait(&self.requests, limit, now)
    }

    /// How long to wait for tokens; `None` if this replica's own use decides.
    pub(super) fn wait_for_tokens(&self, limit: u64, now: Instant) -> Option<Duration> {
        wait(&self.tokens, limit, now)
    }

    /// Records a request.
    pub(super) fn take_request(&self, limit: u64, now: Instant) {
        self.requests.take(1, limit, now);
    }

    /// Records tokens.
    pub(super) fn take_tokens(&self, tokens: u64, limit: u64, now: Instant) {
        self.tokens.take(tokens, limit, now);
    }
}

fn wait(quota: &Quota, limit: u64, now: Instant) -> Option<Duration> {
    match quota.check(1, limit, now) {
        Verdict::Wait(wait) => Some(wait),
        // These limits protect from refusals, which cost nothing: they close nothing.
        Verdict::Local | Verdict::Closed => None,
    }
}

/// The account, as all replicas name it: by its address and its key, neither of which is stored.
fn id(upstream: &Upstream, key: Option<&Secret>) -> Tenant {
    let (host, port) = upstream.address();
    let key = key.map_or("", |key| key.expose());
    let parts = ["account", &host, &port.to_string(), key];
    tenant::hash(parts.map(str::as_bytes))
}
