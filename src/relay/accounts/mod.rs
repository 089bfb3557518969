//! The accounts at upstream servers, and the choice between them.
//!
//! An account is chosen by its weight among those that are available for the model. Errors are
//! recorded, so that a refused key, an unpaid bill or a throttled model costs one call and not
//! every later one. With one account there is no choice, and the same state prevents requests that
//! would fail.

pub mod account;
pub(super) mod choice;
pub mod circuit_breaker;
mod shared_circuit;
mod shared_owners;
pub mod shared_rates;

use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::Instant;

use crate::chat::call::Prompt;
use crate::chat::live_session::SessionChanges;
use crate::error::{Error, Reason, Sent};
use crate::store::throttles::Throttle;
use crate::upstream::{PendingModels, ServedModel, Upstream, UpstreamKind};

use super::media::hosts;
use super::media::storage_owners::Owners;
use account::Account;
use account::{Member, pick};
use choice::Choice;
use circuit_breaker::{Away, CircuitBreakerPolicy, Consequence};
use shared_circuit::Voter;
use shared_rates::Sharing;

/// All accounts.
pub(super) struct Accounts {
    policy: RwLock<CircuitBreakerPolicy>,
    members: RwLock<Arc<[Arc<Member>]>>,
    /// The owners of uploads, and their accounts.
    pub(super) owners: Owners,
    /// What replicas share, if there is a store.
    sharing: Option<Sharing>,
}

/// The call that an outcome may affect.
#[derive(Clone)]
pub(super) struct Subject {
    /// What the caller chose.
    pub(super) choice: Choice,
    /// The caller, as identified by the circuit breaker.
    pub(super) voter: Voter,
}

/// Whether accounts can be used for a call.
pub(super) struct Availability {
    /// Whether at least one can be used now.
    pub(super) able: bool,
    /// Why others cannot: the one that can be used again first.
    pub(super) paused: Option<Away>,
}

/// An account that was chosen for one attempt.
#[derive(Clone)]
pub(super) struct Lease {
    member: Arc<Member>,
    subject: Subject,
    policy: CircuitBreakerPolicy,
    /// Whether the call uses the account's own key. Errors of another key are not recorded.
    by_its_key: bool,
}

impl Accounts {
    pub(super) fn new(
        accounts: Vec<Account>,
        policy: CircuitBreakerPolicy,
        sharing: Option<Sharing>,
    ) -> Self {
        let members = accounts.into_iter();
        let members = members.map(|account| Member::new(account, sharing.as_ref()));
        Self {
            policy: RwLock::new(policy),
            members: RwLock::new(members.collect()),
            owners: Owners::default(),
            sharing,
        }
    }

    /// Shares with other replicas what rate limits accounts have, until it is dropped.
    pub(super) async fn share(&self) {
        let Some(sharing) = &self.sharing else {
            return std::future::pending().await;
        };
        let apply = |throttle: &Throttle| {
            for member in self.members().iter() {
                member.apply(throttle, Instant::now());
            }
        };
        sharing.run(apply).await;
    }

    /// Replaces the accounts. Calls in flight keep theirs. An unchanged account keeps its state; a
    /// changed key is tried again immediately.
    pub(super) fn replace(&self, accounts: Vec<Account>, policy: CircuitBreakerPolicy) {
        let old = self.members();
        let members = accounts
            .into_iter()
            .map(|account| {
                let same = |member: &&Arc<Member>| member.account.is_same(&account);
                old.iter().find(same).map_or_else(
                    || Member::new(account.clone(), self.sharing.as_ref()),
                    Arc::clone,
                )
            })
            .collect();
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = members;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Chooses the account for an attempt, excluding those that were tried. `stored` is a URL in
    /// the temporary storage that the call refers to.
    pub(super) fn choose(
        &self,
        subject: &Subject,
        stored: Option<&str>,
        tried: &[String],
        now: Instant,
    ) -> Result<Lease, Error> {
        let policy = self.policy();
        let members = self.members();
        // An account that was removed is not available; another one will return the error.
        let owner = stored.and_then(|uri| self.owners.account(uri));
        let model = &*subject.choice.model;
        let is_owner = |member: &Arc<Member>, owner: &str| {
            *member.account.name == *owner && member.account.serves(model)
        };
        let owner = owner.filter(|owner| members.iter().any(|m| is_owner(m, owner)));
        let mut able = Vec::new();
        let mut is_served = false;
        let mut soonest: Option<Away> = None;
        for member in members.iter() {
            let name = &member.account.name;
            if !member.account.serves(model) {
                continue;
            }
            is_served = true;
            if tried.contains(name) || owner.as_ref().is_some_and(|owner| **owner != **name) {
                continue;
            }
            match member.check(&subject.choice, &subject.voter, now, policy) {
                Ok(()) => able.push(member),
                Err(away) if soonest.as_ref().is_none_or(|other| away.wait < other.wait) => {
                    let Away { wait, error } = away;
                    let error = error.of_server(member.account.upstream.server());
                    soonest = Some(Away { wait, error });
                }
                Err(_) => {}
            }
        }
        match (pick(&able), soonest) {
            (Some(member), _) => {
                member.ask(&subject.choice, &subject.voter, now, policy);
                Ok(self.lease(member, subject, true))
            }
            (None, Some(away)) => Err(away.error),
            (None, None) if !is_served => Err(not_served()),
            (None, None) => Err(nobody()),
        }
    }

    /// The kinds of the accounts that serve a model, each once.
    pub(super) fn kinds(&self, model: &str) -> Vec<UpstreamKind> {
        let mut kinds = Vec::new();
        for member in self.members().iter() {
            let kind = member.account.upstream.kind(model);
            if member.account.serves(model) && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The models that the accounts' servers list, by account, without those that it does not
    /// serve. A server is asked if the names of its models are not configured.
    pub(super) async fn listed_models(&self) -> Vec<Listed> {
        // All are asked before one is waited for.
        let asked = self.members().iter().filter_map(ask).collect::<Vec<_>>();
        let mut listed = Vec::with_capacity(asked.len());
        for (member, pending) in asked {
            let models = pending.wait().await;
            listed.push(Listed { member, models });
        }
        listed
    }

    /// Whether one of them serves a model at DashScope, so that a caller's own key can be used.
    pub(super) fn serve_dashscope(&self, model: &str) -> bool {
        let members = self.members();
        let mut serving = members.iter().filter(|m| m.account.serves(model));
        serving.any(|m| m.account.upstream.is_dashscope())
    }

    /// The maximum request body for a model without a limit of its own: that of the account with
    /// the smallest. `of_dashscope` is DashScope's.
    pub(super) fn max_request_bytes(&self, model: &str, of_dashscope: usize) -> usize {
        let members = self.members();
        let serving = members.iter().filter(|m| m.account.serves(model));
        let limits = serving.map(|m| m.account.upstream.max_request_bytes(of_dashscope));
        limits.min().unwrap_or(of_dashscope)
    }

    /// Whether accounts can be used for a call now.
    pub(super) fn availability(&self, subject: &Subject, now: Instant) -> Availability {
        let policy = self.policy();
        let mut able = false;
        let mut paused: Option<Away> = None;
        let members = self.members();
        let model = &*subject.choice.model;
        for member in members.iter().filter(|m| m.account.serves(model)) {
            match member.check(&subject.choice, &subject.voter, now, policy) {
                Ok(()) => able = true,
                Err(away) if paused.as_ref().is_none_or(|other| away.wait < other.wait) => {
                    paused = Some(away);
                }
                Err(_) => {}
            }
        }
        Availability { able, paused }
    }

    /// The account for a retry after an attempt at this one: a different one if available.
    pub(super) fn choose_other(
        &self,
        subject: &Subject,
        stored: Option<&str>,
        tried: &str,
    ) -> Result<Lease, Error> {
        let now = Instant::now();
        let other = self.choose(subject, stored, &[tried.to_owned()], now);
        other.or_else(|_| self.choose(subject, stored, &[], now))
    }

    /// The lease for a call with its own API key: the address of any DashScope account that serves
    /// the model will do.
    pub(super) fn address(&self, subject: &Subject) -> Result<Lease, Error> {
        let members = self.members();
        let model = &*subject.choice.model;
        let mut serving = members
            .iter()
            .filter(|m| m.account.serves(model))
            .peekable();
        if serving.peek().is_none() {
            return Err(not_served());
        }
        let member = serving.find(|member| member.account.upstream.is_dashscope());
        let member = member.ok_or_else(takes_no_key)?;
        Ok(self.lease(member, subject, false))
    }

    /// Rejects a prompt with a private host, unless that is allowed or one of DashScope's.
    pub(super) fn check_hosts(&self, prompt: &Prompt, allowed: &[String]) -> Result<(), Error> {
        hosts::check(prompt, allowed, |host, port| self.is_own(host, port))
    }

    /// The same for the configuration of a live session below this path, or a change of it.
    pub(super) fn check_live_hosts(
        &self,
        (path, changes): (&str, &SessionChanges),
        allowed: &[String],
    ) -> Result<(), Error> {
        hosts::check_changes(changes, path, allowed, |host, port| self.is_own(host, port))
    }

    /// Whether this is the address of a DashScope.
    fn is_own(&self, host: &str, port: u16) -> bool {
        let members = self.members();
        // A server on a private address would be asked to call itself.
        let dashscope = members.iter().map(|m| &m.account.upstream);
        let dashscope = dashscope.filter(|upstream| upstream.is_dashscope());
        let mut addresses = dashscope.map(Upstream::address);
        addresses.any(|(own, own_port)| own == host && own_port == port)
    }

    fn lease(&self, member: &Arc<Member>, subject: &Subject, by_its_key: bool) -> Lease {
        Lease {
            member: Arc::clone(member),
            subject: subject.clone(),
            policy: self.policy(),
            by_its_key,
        }
    }

    fn policy(&self) -> CircuitBreakerPolicy {
        *self.policy.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> Arc<[Arc<Member>]> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the server of an account lists.
pub(super) struct Listed {
    member: Arc<Member>,
    models: Arc<[ServedModel]>,
}

impl Listed {
    /// The models that calls are sent to this server for.
    pub(super) fn models(&self) -> impl Iterator<Item = &ServedModel> {
        let account = &self.member.account;
        self.models
            .iter()
            .filter(|model| account.serves(&model.name))
    }

    /// Whether it is the same list of the same account.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.member, &other.member) && Arc::ptr_eq(&self.models, &other.models)
    }
}

fn ask(member: &Arc<Member>) -> Option<(Arc<Member>, PendingModels)> {
    let account = &member.account;
    let pending = account.has_patterns().then(|| account.upstream.models());
    Some((Arc::clone(member), pending.flatten()?))
}

fn nobody() -> Error {
    let message = "no account is available for this call";
    Error::new(Reason::UpstreamUnknown, message)
}

/// The error of a model that no account serves.
fn not_served() -> Error {
    let message = "no upstream of the gateway serves this model: check its name";
    Error::new(Reason::ModelNotFound, message)
}

/// The error of a caller's DashScope key for a model that DashScope does not serve here.
fn takes_no_key() -> Error {
    let message = "this model is not served by DashScope: call it without a DashScope key";
    Error::new(Reason::UpstreamPermission, message)
}

impl Lease {
    /// The client of the account.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.member.account.upstream
    }

    /// Whether the call uses the account's own key.
    pub(super) fn is_by_its_key(&self) -> bool {
        self.by_its_key
    }

    /// The configured name.
    pub(super) fn name(&self) -> &str {
        &self.member.account.name
    }

    /// Records that a response began.
    pub(super) fn answered(&self) {
        if self.by_its_key {
            self.member.answered(&self.subject.choice);
        }
    }

    /// Records a failure. Returns whether another account may be tried immediately: the error is
    /// specific to this one, and nothing was executed.
    pub(super) fn failed(&self, error: &Error, now: Instant) -> bool {
        if !self.by_its_key {
            return false;
        }
        let undone = matches!(error.sent(), Sent::No | Sent::Refused);
        let Subject { choice, voter } = &self.subject;
        let consequence = self.member.failed(choice, voter, error, now, self.policy);
        match consequence {
            Consequence::None | Consequence::Unreached | Consequence::Failure => false,
            Consequence::Choice(_) | Consequence::Model(_) => undone,
            Consequence::Account(pause) => {
                tracing::error!(
                    account = self.name(),
                    reason = error.reason().name(),
                    pause_s = pause.as_secs(),
                    "the upstream refuses an account: calls to it are paused"
                );
                undone
            }
        }
    }

    /// Records the tokens that the answer used.
    pub(super) fn settle(&self, tokens: u32, now: Instant) {
        if self.by_its_key {
            self.member.settle(&self.subject.choice, tokens, now);
        }
    }
}
