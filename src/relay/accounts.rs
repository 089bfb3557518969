//! The accounts at DashScope: which of them a call goes to, and which is left alone.
//!
//! An account is chosen by its weight among those that may be asked for the model. What its answers
//! say is remembered, so that a refused key, an unpaid bill or a throttled model costs one call and
//! not every call after it. With one account there is no choice, and the same memory keeps the
//! gateway from asking in vain.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::time::Instant;

use crate::dashscope::DashScope;
use crate::error::{Error, Reason, Sent};

use super::bucket::Bucket;
use super::routes::matches;
use super::standing::{self, Away, Consequence, Policy, Standing};

/// How many models are remembered for each account. There are some hundreds; a caller who makes
/// names up must not fill the memory.
const REMEMBERED_MODELS: usize = 512;

/// How many folders of the temporary storage are remembered, one for each upload: about 2 MiB. The
/// oldest make room; what lies there is asked for soon or never.
const REMEMBERED_FOLDERS: usize = 16 * 1024;

/// An account at DashScope.
#[derive(Clone, Debug)]
pub struct Account {
    /// The operator's name of it, for logs and metrics. Never its key.
    pub name: String,
    /// The way to it.
    pub dashscope: DashScope,
    /// How much it gets of what all get together.
    pub weight: u32,
    /// The rates of its models; the first pattern that fits holds, `*` stands for anything.
    pub limits: Vec<(String, Limit)>,
}

/// What an account may ask of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, in and out.
    pub tokens_per_minute: Option<u32>,
}

/// All accounts.
pub(super) struct Accounts {
    policy: RwLock<Policy>,
    members: RwLock<Arc<[Arc<Member>]>>,
    /// Which account stored what lies in a folder: nobody else can read it.
    folders: Mutex<Folders>,
}

#[derive(Default)]
struct Folders {
    owners: HashMap<String, String>,
    order: VecDeque<String>,
}

/// An account and how it stands.
struct Member {
    account: Account,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    standing: Standing,
    models: HashMap<String, ModelState>,
    /// What smooth weighted round robin has saved up.
    credit: i64,
}

struct ModelState {
    standing: Standing,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// An account that was chosen for one attempt.
#[derive(Clone)]
pub(super) struct Lease {
    member: Arc<Member>,
    model: Arc<str>,
    policy: Policy,
    /// Whether the call goes by the account's own key. What DashScope says to another's is nothing
    /// to learn from.
    by_its_key: bool,
}

impl Accounts {
    pub(super) fn new(accounts: Vec<Account>, policy: Policy) -> Self {
        Self {
            policy: RwLock::new(policy),
            members: RwLock::new(accounts.into_iter().map(Member::new).collect()),
            folders: Mutex::default(),
        }
    }

    /// Takes other accounts from now on. Calls in flight keep theirs. One that is as it was keeps
    /// its standing; a key that was changed gets another chance at once.
    pub(super) fn replace(&self, accounts: Vec<Account>, policy: Policy) {
        let old = self.members();
        let members = accounts
            .into_iter()
            .map(|account| {
                let same = |member: &&Arc<Member>| member.account.is_same(&account);
                old.iter()
                    .find(same)
                    .map_or_else(|| Member::new(account.clone()), Arc::clone)
            })
            .collect();
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = members;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Chooses the account for an attempt, leaving out those that were tried. `stored` is a medium
    /// in the temporary storage that the call names.
    pub(super) fn choose(
        &self,
        model: &Arc<str>,
        stored: Option<&str>,
        tried: &[String],
        now: Instant,
    ) -> Result<Lease, Error> {
        let policy = *self.policy.read().unwrap_or_else(PoisonError::into_inner);
        let owner = stored.and_then(|uri| self.owner(uri));
        let members = self.members();
        let mut able = Vec::new();
        let mut soonest: Option<Away> = None;
        for member in members.iter() {
            let name = &member.account.name;
            if tried.contains(name) || owner.as_ref().is_some_and(|owner| owner != name) {
                continue;
            }
            match member.check(model, now) {
                Ok(()) => able.push(member),
                Err(away) if soonest.as_ref().is_none_or(|other| away.wait < other.wait) => {
                    soonest = Some(away);
                }
                Err(_) => {}
            }
        }
        match (pick(&able), soonest) {
            (Some(member), _) => {
                member.ask(model, now, policy);
                Ok(Lease {
                    member: Arc::clone(member),
                    model: Arc::clone(model),
                    policy,
                    by_its_key: true,
                })
            }
            (None, Some(away)) => Err(away.error),
            (None, None) => Err(nobody()),
        }
    }

    /// The way for a call that brings a key of its own: any account's address will do.
    pub(super) fn address(&self, model: &Arc<str>) -> Result<Lease, Error> {
        let policy = *self.policy.read().unwrap_or_else(PoisonError::into_inner);
        let members = self.members();
        let member = members.first().ok_or_else(nobody)?;
        Ok(Lease {
            member: Arc::clone(member),
            model: Arc::clone(model),
            policy,
            by_its_key: false,
        })
    }

    /// Remembers who stored a medium.
    pub(super) fn stored(&self, uri: &str, lease: &Lease) {
        let Some(folder) = folder(uri) else { return };
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = lease.name().to_owned();
        if folders.owners.insert(folder.to_owned(), owner).is_none() {
            folders.order.push_back(folder.to_owned());
        }
        if folders.order.len() > REMEMBERED_FOLDERS
            && let Some(oldest) = folders.order.pop_front()
        {
            folders.owners.remove(&oldest);
        }
    }

    fn owner(&self, uri: &str) -> Option<String> {
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = folders.owners.get(folder(uri)?)?.clone();
        // An account that is gone cannot be asked; another one will say what is wrong.
        let there = self.members().iter().any(|m| m.account.name == owner);
        there.then_some(owner)
    }

    fn members(&self) -> Arc<[Arc<Member>]> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The part of an address that names its account: all but the file's own name and folder.
fn folder(uri: &str) -> Option<&str> {
    uri.rsplit_once('/').map(|(folder, _)| folder)
}

/// Smooth weighted round robin: each gets its share, and none gets it in one go.
fn pick<'a>(able: &[&'a Arc<Member>]) -> Option<&'a Arc<Member>> {
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

fn nobody() -> Error {
    let message = "no account at DashScope is left for this call";
    Error::new(Reason::UpstreamUnknown, message)
}

impl Account {
    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.weight == other.weight
            && self.limits == other.limits
            && self.dashscope.is_same(&other.dashscope)
    }
}

impl Member {
    fn new(account: Account) -> Arc<Self> {
        Arc::new(Self {
            account,
            state: Mutex::default(),
        })
    }

    fn check(&self, model: &str, now: Instant) -> Result<(), Away> {
        let state = self.lock();
        state.standing.check(now)?;
        let Some(of_model) = state.models.get(model) else {
            return Ok(());
        };
        of_model.standing.check(now)?;
        let spent = |bucket: &Option<Bucket>, reason, message| match bucket {
            Some(bucket) if !bucket.wait(1, now).is_zero() => {
                let wait = bucket.wait(1, now);
                let error = Error::new(reason, message).with_retry_after(wait);
                Err(Away { wait, error })
            }
            Some(_) | None => Ok(()),
        };
        let requests = "the rate of calls to this model is used up";
        spent(&of_model.requests, Reason::UpstreamRate, requests)?;
        let tokens = "the rate of tokens of this model is used up";
        spent(&of_model.tokens, Reason::UpstreamTokens, tokens)
    }

    fn ask(&self, model: &str, now: Instant, policy: Policy) {
        let mut state = self.lock();
        state.standing.ask(now, policy);
        let limit = self.limit(model);
        if limit != Limit::default() || state.models.contains_key(model) {
            let of_model = state.model(model, limit, now);
            of_model.standing.ask(now, policy);
            if let Some(bucket) = &mut of_model.requests {
                bucket.take(1, now);
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

impl State {
    fn model(&mut self, model: &str, limit: Limit, now: Instant) -> &mut ModelState {
        if self.models.len() >= REMEMBERED_MODELS && !self.models.contains_key(model) {
            self.models.retain(|_, state| !state.standing.is_clean(now));
            if self.models.len() >= REMEMBERED_MODELS {
                self.models.clear();
            }
        }
        let bucket = |rate: Option<u32>| rate.map(|rate| Bucket::new(rate, now));
        self.models
            .entry(model.to_owned())
            .or_insert_with(|| ModelState {
                standing: Standing::default(),
                requests: bucket(limit.requests_per_minute),
                tokens: bucket(limit.tokens_per_minute),
            })
    }
}

impl Lease {
    /// The way to the account.
    pub(super) fn dashscope(&self) -> &DashScope {
        &self.member.account.dashscope
    }

    /// Whether the call goes by the account's own key.
    pub(super) fn is_by_its_key(&self) -> bool {
        self.by_its_key
    }

    /// The operator's name of it.
    pub(super) fn name(&self) -> &str {
        &self.member.account.name
    }

    /// It began to answer.
    pub(super) fn answered(&self) {
        if !self.by_its_key {
            return;
        }
        let mut state = self.member.lock();
        state.standing.answered();
        if let Some(of_model) = state.models.get_mut(&*self.model) {
            of_model.standing.answered();
        }
    }

    /// It failed. Says whether another account may be asked at once: the fault is this one's, and
    /// nothing was done.
    pub(super) fn failed(&self, error: &Error, now: Instant) -> bool {
        if !self.by_its_key {
            return false;
        }
        let undone = matches!(error.sent(), Sent::No | Sent::Refused);
        let limit = self.member.limit(&self.model);
        let mut state = self.member.lock();
        match standing::consequence(error) {
            Consequence::None => false,
            Consequence::Failure => {
                state
                    .model(&self.model, limit, now)
                    .standing
                    .failed(now, self.policy);
                // What never reached DashScope says nothing about the model alone.
                if matches!(
                    error.reason(),
                    Reason::UpstreamDns | Reason::UpstreamConnect | Reason::UpstreamTls
                ) {
                    state.standing.failed(now, self.policy);
                }
                false
            }
            Consequence::Model(pause) => {
                let of_model = state.model(&self.model, limit, now);
                of_model.standing.leave(now, pause, error);
                undone
            }
            Consequence::Account(pause) => {
                tracing::error!(
                    account = self.name(),
                    reason = error.reason().name(),
                    pause_s = pause.as_secs(),
                    "an account at DashScope is left alone"
                );
                state.standing.leave(now, pause, error);
                undone
            }
        }
    }

    /// What the answer used.
    pub(super) fn settle(&self, tokens: u32, now: Instant) {
        if !self.by_its_key {
            return;
        }
        let mut state = self.member.lock();
        if let Some(of_model) = state.models.get_mut(&*self.model)
            && let Some(bucket) = &mut of_model.tokens
        {
            bucket.take(tokens, now);
        }
    }
}
