//! One account at an upstream server: its configuration, and its state: rate limits and circuit
//! breakers, per caller where necessary.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::Tenant;
use crate::error::{Error, Reason};
use crate::relay::routes::matches;
use crate::secret::Secret;
use crate::store::throttles::Throttle;
use crate::token_bucket::TokenBucket;
use crate::upstream::Upstream;

use super::choice::Choice;
use super::circuit_breaker::{self, Away, CircuitBreaker, CircuitBreakerPolicy, Consequence};
use super::shared_circuit::{SharedCircuit, Voter};
use super::shared_rates::{self, ModelRates, SharedRates, Sharing};

/// The maximum number of models per account with state. There are some hundreds; callers with
/// invented names must not fill the memory.
const REMEMBERED_MODELS: usize = 512;

/// The maximum number of choices per account with state: only those that failed recently. A hundred
/// bytes each.
const REMEMBERED_CHOICES: usize = 4096;

/// An account at DashScope, or another server.
#[derive(Clone, Debug)]
pub struct Account {
    /// The configured name, for logs and metrics. Never the API key.
    pub name: String,
    /// The API key, if there is one: replicas recognise the account by its hash.
    pub key: Option<Secret>,
    /// The client.
    pub upstream: Upstream,
    /// The models that it serves, with `*` for any characters. All if empty.
    pub models: Vec<String>,
    /// The weight in the distribution of calls.
    pub weight: u32,
    /// The rate limits of its models; the first pattern that matches applies, `*` matches any
    /// characters.
    pub limits: Vec<(String, Limit)>,
}

/// The rate limits of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls per minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute, input and output.
    pub tokens_per_minute: Option<u32>,
}

impl Limit {
    /// The calls per minute of a token bucket, in which 0 is no limit.
    pub(super) fn requests(self) -> u64 {
        self.requests_per_minute.map_or(0, u64::from)
    }

    /// The tokens per minute of a token bucket, in which 0 is no limit.
    pub(super) fn tokens(self) -> u64 {
        self.tokens_per_minute.map_or(0, u64::from)
    }
}

impl Account {
    /// Whether the other account has the same configuration.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.weight == other.weight
            && self.limits == other.limits
            && self.models == other.models
            && self.upstream.is_same(&other.upstream)
    }

    /// Whether it may serve models that its configuration does not name.
    pub(super) fn has_patterns(&self) -> bool {
        self.models.is_empty() || self.models.iter().any(|glob| glob.contains('*'))
    }

    /// Whether it serves this model.
    pub(super) fn serves(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|glob| matches(glob, model))
    }
}

/// An account and its state.
pub(super) struct Member {
    pub(super) account: Account,
    state: Mutex<State>,
    /// What replicas share, if there is a store.
    shared: Option<SharedRates>,
}

#[derive(Default)]
struct State {
    standing: CircuitBreaker,
    models: HashMap<String, ModelState>,
    choices: HashMap<Choice, Remembered<CircuitBreaker>>,
    /// The current weight of smooth weighted round robin.
    credit: i64,
}

/// A value, and when it was last used.
struct Remembered<T> {
    value: T,
    used: Instant,
}

struct Model {
    standing: CircuitBreaker,
    circuit: SharedCircuit,
    limit: Limit,
    requests: TokenBucket,
    tokens: TokenBucket,
    /// The rates that replicas share.
    shared: Option<ModelRates>,
}

type ModelState = Remembered<Model>;

impl Member {
    /// An account without state.
    pub(super) fn new(account: Account, sharing: Option<&Sharing>) -> Arc<Self> {
        let shared = sharing.map(|sharing| sharing.rates(&account.upstream, account.key.as_ref()));
        Arc::new(Self {
            account,
            state: Mutex::default(),
            shared,
        })
    }

    /// The account, as all replicas name it, if there is a store.
    pub(super) fn shared_id(&self) -> Option<Tenant> {
        self.shared.as_ref().map(SharedRates::id)
    }

    /// Applies a rate limit that another replica has learned, if it is one of this account.
    pub(super) fn apply(&self, throttle: &Throttle, now: Instant) {
        if self
            .shared
            .as_ref()
            .is_some_and(|own| own.is(&throttle.account))
        {
            let limit = self.limit(&throttle.model);
            let mut state = self.lock();
            let model = state.model(&throttle.model, limit, (&self.shared, now));
            let error = shared_rates::error_of(throttle);
            model.standing.leave(now, throttle.left, &error);
        }
    }

    /// Whether a request may be sent now.
    pub(super) fn check(
        &self,
        choice: &Choice,
        voter: &Voter,
        now: Instant,
        policy: CircuitBreakerPolicy,
    ) -> Result<(), Away> {
        let state = self.lock();
        state.standing.check(now)?;
        if !state.choices.is_empty()
            && let Some(of_choice) = state.choices.get(choice)
        {
            of_choice.value.check(now)?;
        }
        let Some(Remembered { value: model, .. }) = state.models.get(&*choice.model) else {
            return Ok(());
        };
        model.standing.check(now)?;
        if let Some(wait) = model.circuit.wait(now, voter, policy) {
            let error = circuit_breaker::circuit_open(wait);
            return Err(Away { wait, error });
        }
        let refused = |wait: Duration, reason, message| {
            if wait.is_zero() {
                return Ok(());
            }
            let error = Error::new(reason, message).with_retry_after(wait);
            Err(Away { wait, error })
        };
        let wait = model.wait_for_request(now);
        let requests = "the request rate limit of this model is reached";
        refused(wait, Reason::UpstreamRate, requests)?;
        let wait = model.wait_for_tokens(now);
        let tokens = "the token rate limit of this model is reached";
        refused(wait, Reason::UpstreamTokens, tokens)
    }

    /// Records that a request is sent now.
    pub(super) fn ask(
        &self,
        choice: &Choice,
        voter: &Voter,
        now: Instant,
        policy: CircuitBreakerPolicy,
    ) {
        let mut state = self.lock();
        state.standing.ask(now, policy);
        if !state.choices.is_empty()
            && let Some(of_choice) = state.choices.get_mut(choice)
        {
            of_choice.value.ask(now, policy);
        }
        let limit = self.limit(&choice.model);
        if limit != Limit::default() || state.models.contains_key(&*choice.model) {
            let model = state.model(&choice.model, limit, (&self.shared, now));
            model.standing.ask(now, policy);
            model.circuit.ask(now, voter, policy);
            model.requests.take(1, limit.requests(), now);
            if let Some(shared) = &model.shared {
                shared.take_request(limit.requests(), now);
            }
        }
    }

    /// Records that a response began.
    pub(super) fn answered(&self, choice: &Choice) {
        let mut state = self.lock();
        state.standing.answered();
        if !state.choices.is_empty() {
            state.choices.remove(choice);
        }
        if let Some(model) = state.models.get_mut(&*choice.model) {
            model.value.standing.answered();
            model.value.circuit.answered();
        }
    }

    /// Records a failure. Returns how long the affected callers have to wait.
    pub(super) fn failed(
        &self,
        choice: &Choice,
        voter: &Voter,
        error: &Error,
        now: Instant,
        policy: CircuitBreakerPolicy,
    ) -> Consequence {
        let consequence = circuit_breaker::consequence(error, choice.workspace.is_some());
        let limit = self.limit(&choice.model);
        let mut state = self.lock();
        match consequence {
            Consequence::None => {}
            Consequence::Unreached => {
                // This does not concern the model alone.
                state.standing.failed(now, policy);
                let model = state.model(&choice.model, limit, (&self.shared, now));
                model.standing.failed(now, policy);
            }
            Consequence::Failure => {
                state.choice(choice, now).failed(now, policy);
                let model = state.model(&choice.model, limit, (&self.shared, now));
                model.circuit.failed(now, voter, policy);
            }
            Consequence::Choice(pause) => state.choice(choice, now).leave(now, pause, error),
            Consequence::Model(pause) => {
                let model = state.model(&choice.model, limit, (&self.shared, now));
                model.standing.leave(now, pause, error);
                if let Some(shared) = &self.shared {
                    shared.announce(&choice.model, error.reason(), pause);
                }
            }
            Consequence::Account(pause) => state.standing.leave(now, pause, error),
        }
        consequence
    }

    /// Records the tokens that an answer used.
    pub(super) fn settle(&self, choice: &Choice, tokens: u32, now: Instant) {
        let mut state = self.lock();
        if let Some(Remembered { value: model, .. }) = state.models.get_mut(&*choice.model) {
            let (tokens, limit) = (u64::from(tokens), model.limit.tokens());
            model.tokens.charge(tokens, limit, now);
            if let Some(shared) = &model.shared {
                shared.take_tokens(tokens, limit, now);
            }
        }
    }

    fn limit(&self, model: &str) -> Limit {
        let mut limits = self.account.limits.iter();
        limits
            .find(|(pattern, _)| matches(pattern, model))
            .map_or_else(Limit::default, |(_, limit)| *limit)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Smooth weighted round robin: each account gets its share, evenly spread.
pub(super) fn pick<'a>(able: &[&'a Arc<Member>]) -> Option<&'a Arc<Member>> {
    if let [only] = able {
        return Some(only);
    }
    let mut best: Option<(i64, &Arc<Member>)> = None;
    let mut total = 0;
    for member in able {
        let weight = i64::from(member.account.weight);
        total += weight;
        let mut state = member.lock();
        state.credit += weight;
        if best.is_none_or(|(credit, _)| state.credit > credit) {
            best = Some((state.credit, member));
        }
    }
    let (_, member) = best?;
    member.lock().credit -= total;
    Some(member)
}

impl Model {
    fn wait_for_request(&self, now: Instant) -> Duration {
        let limit = self.limit.requests();
        let shared = self.shared.as_ref();
        let shared = shared.and_then(|shared| shared.wait_for_request(limit, now));
        shared.unwrap_or_else(|| self.requests.wait(1, limit, now))
    }

    fn wait_for_tokens(&self, now: Instant) -> Duration {
        let limit = self.limit.tokens();
        let shared = self.shared.as_ref();
        let shared = shared.and_then(|shared| shared.wait_for_tokens(limit, now));
        shared.unwrap_or_else(|| self.tokens.wait(1, limit, now))
    }
}

impl State {
    fn model(
        &mut self,
        model: &str,
        limit: Limit,
        (shared, now): (&Option<SharedRates>, Instant),
    ) -> &mut Model {
        if !self.models.contains_key(model) {
            make_room(&mut self.models, REMEMBERED_MODELS, |state| {
                state.standing.is_clean(now) && state.circuit.is_clean()
            });
        }
        let entry = self.models.entry(model.to_owned());
        let state = entry.or_insert_with(|| Remembered {
            value: Model {
                standing: CircuitBreaker::default(),
                circuit: SharedCircuit::default(),
                limit,
                requests: TokenBucket::FULL,
                tokens: TokenBucket::FULL,
                shared: shared
                    .as_ref()
                    .filter(|_| limit != Limit::default())
                    .map(|shared| shared.of_model(model)),
            },
            used: now,
        });
        state.used = now;
        &mut state.value
    }

    fn choice(&mut self, choice: &Choice, now: Instant) -> &mut CircuitBreaker {
        if !self.choices.contains_key(choice) {
            make_room(&mut self.choices, REMEMBERED_CHOICES, |standing| {
                standing.is_clean(now)
            });
        }
        let entry = self.choices.entry(choice.clone());
        let standing = entry.or_insert_with(|| Remembered {
            value: CircuitBreaker::default(),
            used: now,
        });
        standing.used = now;
        &mut standing.value
    }
}

/// Removes an entry from a full table: one without state, else the least recently used. Callers
/// with invented names evict their own entries before those in use.
fn make_room<K: Clone + Eq + Hash, T>(
    table: &mut HashMap<K, Remembered<T>>,
    limit: usize,
    is_clean: impl Fn(&T) -> bool,
) {
    if table.len() < limit {
        return;
    }
    table.retain(|_, remembered| !is_clean(&remembered.value));
    if table.len() >= limit {
        let oldest = table.iter().min_by_key(|(_, remembered)| remembered.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            table.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::call::Caller;
    use crate::dashscope::{DashScope, DashScopeConfig};
    use crate::error::{self, Scope, Sent};

    const POLICY: CircuitBreakerPolicy = CircuitBreakerPolicy {
        failures: 10,
        pause: Duration::from_secs(2),
    };

    fn member() -> Arc<Member> {
        let url = "https://dashscope.test/api/v1".parse().unwrap();
        Member::new(
            Account {
                name: "only".to_owned(),
                key: None,
                upstream: DashScope::new(DashScopeConfig::new(url, Secret::new("sk-1")))
                    .unwrap()
                    .into(),
                models: Vec::new(),
                weight: 1,
                limits: Vec::new(),
            },
            None,
        )
    }

    fn choice(caller: u64, workspace: Option<&str>, model: &str) -> Choice {
        Choice {
            caller: Caller(caller),
            share: Caller(caller),
            workspace: workspace.map(str::to_owned),
            model: model.into(),
        }
    }

    fn error(reason: Reason, scope: Scope) -> Error {
        let upstream = error::Upstream {
            scope,
            ..error::Upstream::default()
        };
        Error::new(reason, "refused")
            .with_sent(Sent::Refused)
            .with_upstream(upstream)
    }

    /// All errors that a caller's choice can cause at DashScope, repeatedly.
    #[tokio::test(start_paused = true)]
    async fn what_a_caller_chose_keeps_no_other_choice_and_no_other_caller_away() {
        let now = Instant::now();
        for &reason in Reason::ALL {
            for scope in [Scope::Call, Scope::Model, Scope::Account] {
                let member = member();
                let bad = choice(1, Some("evil"), "m");
                let voter = Some("bad".into());
                let error = error(reason, scope);
                if circuit_breaker::consequence(&error, true) == Consequence::Unreached {
                    continue;
                }
                for _ in 0..100 {
                    member.failed(&bad, &voter, &error, now, POLICY);
                }
                let other = Some("good".into());
                for good in [
                    choice(2, None, "m"),
                    choice(2, Some("evil"), "m"),
                    choice(1, None, "m"),
                    choice(1, Some("evil"), "other"),
                ] {
                    let outcome = member.check(&good, &other, now, POLICY);
                    assert!(outcome.is_ok(), "{reason:?} {scope:?} {good:?}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_one_caller_may_not_use_is_refused_to_that_caller_alone() {
        let now = Instant::now();
        let member = member();
        let denied = error(Reason::UpstreamPermission, Scope::Model);
        let bad = choice(1, None, "m");
        member.failed(&bad, &None, &denied, now, POLICY);
        assert!(member.check(&bad, &None, now, POLICY).is_err());
        assert!(
            member
                .check(&choice(2, None, "m"), &None, now, POLICY)
                .is_ok()
        );
        assert!(
            member
                .check(&choice(1, None, "n"), &None, now, POLICY)
                .is_ok()
        );
        // A refused key affects everybody.
        let key = error(Reason::UpstreamCredential, Scope::Account);
        member.failed(&choice(2, None, "m"), &None, &key, now, POLICY);
        assert!(
            member
                .check(&choice(3, None, "n"), &None, now, POLICY)
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_are_made_up_push_out_themselves() {
        let mut now = Instant::now();
        let member = member();
        let denied = error(Reason::UpstreamPermission, Scope::Model);
        let throttled =
            error(Reason::UpstreamRate, Scope::Model).with_retry_after(Duration::from_secs(60));
        let kept = choice(1, None, "kept");
        for n in 0..3 * REMEMBERED_CHOICES {
            if n % 1000 == 0 {
                member.failed(&kept, &None, &denied, now, POLICY);
                member.failed(&kept, &None, &throttled, now, POLICY);
            }
            now += Duration::from_millis(1);
            let made_up = choice(2, None, &format!("m{n}"));
            member.failed(&made_up, &None, &denied, now, POLICY);
            if n % 10 == 0 {
                member.failed(&made_up, &None, &throttled, now, POLICY);
            }
        }
        let state = member.lock();
        assert!(
            state.choices.len() <= REMEMBERED_CHOICES && state.models.len() <= REMEMBERED_MODELS
        );
        assert!(state.choices.contains_key(&kept) && state.models.contains_key("kept"));
    }
}
