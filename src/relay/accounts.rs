//! The accounts at DashScope: which of them a call goes to, and which is left alone.
//!
//! An account is chosen by its weight among those that may be asked for the model. What its answers
//! say is remembered, so that a refused key, an unpaid bill or a throttled model costs one call and
//! not every call after it. With one account there is no choice, and the same memory keeps the
//! gateway from subject in vain.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::Instant;

use crate::chat::call::Prompt;
use crate::dashscope::DashScope;
use crate::error::{Error, Reason, Sent};

use super::account::Account;
use super::account_state::{Choice, Member, pick};
use super::circuit_breaker::{Away, CircuitBreakerPolicy, Consequence};
use super::media_hosts;
use super::shared_circuit::Voter;
use super::storage_owners::Owners;

/// All accounts.
pub(super) struct Accounts {
    policy: RwLock<CircuitBreakerPolicy>,
    members: RwLock<Arc<[Arc<Member>]>>,
    /// Who stored what, by which account.
    pub(super) owners: Owners,
}

/// Whom what an answer says may concern.
#[derive(Clone)]
pub(super) struct Subject {
    /// What the caller chose.
    pub(super) choice: Choice,
    /// The caller, as the circuit breaker tells callers apart.
    pub(super) voter: Voter,
}

/// An account that was chosen for one attempt.
#[derive(Clone)]
pub(super) struct Lease {
    member: Arc<Member>,
    subject: Subject,
    policy: CircuitBreakerPolicy,
    /// Whether the call goes by the account's own key. What DashScope says to another's is nothing
    /// to learn from.
    by_its_key: bool,
}

impl Accounts {
    pub(super) fn new(accounts: Vec<Account>, policy: CircuitBreakerPolicy) -> Self {
        Self {
            policy: RwLock::new(policy),
            members: RwLock::new(accounts.into_iter().map(Member::new).collect()),
            owners: Owners::default(),
        }
    }

    /// Takes other accounts from now on. Calls in flight keep theirs. One that is as it was keeps
    /// its standing; a key that was changed gets another chance at once.
    pub(super) fn replace(&self, accounts: Vec<Account>, policy: CircuitBreakerPolicy) {
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
        subject: &Subject,
        stored: Option<&str>,
        tried: &[String],
        now: Instant,
    ) -> Result<Lease, Error> {
        let policy = self.policy();
        let members = self.members();
        // An account that is gone cannot be asked; another one will say what is wrong.
        let owner = stored.and_then(|uri| self.owners.account(uri));
        let owner = owner.filter(|owner| members.iter().any(|m| *m.account.name == **owner));
        let mut able = Vec::new();
        let mut soonest: Option<Away> = None;
        for member in members.iter() {
            let name = &member.account.name;
            if tried.contains(name) || owner.as_ref().is_some_and(|owner| **owner != **name) {
                continue;
            }
            match member.check(&subject.choice, &subject.voter, now, policy) {
                Ok(()) => able.push(member),
                Err(away) if soonest.as_ref().is_none_or(|other| away.wait < other.wait) => {
                    soonest = Some(away);
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
            (None, None) => Err(nobody()),
        }
    }

    /// The way for a call that brings a key of its own: any account's address will do.
    pub(super) fn address(&self, subject: &Subject) -> Result<Lease, Error> {
        let members = self.members();
        let member = members.first().ok_or_else(nobody)?;
        Ok(self.lease(member, subject, false))
    }

    /// Refuses a prompt that names a private host, unless that is allowed or one of DashScope's.
    pub(super) fn check_hosts(&self, prompt: &Prompt, allowed: &[String]) -> Result<(), Error> {
        media_hosts::check(prompt, allowed, |host, port| {
            let members = self.members();
            let mut addresses = members.iter().map(|m| m.account.dashscope.address());
            addresses.any(|(own, own_port)| own == host && own_port == port)
        })
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

fn nobody() -> Error {
    let message = "no DashScope account is available for this call";
    Error::new(Reason::UpstreamUnknown, message)
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
        if self.by_its_key {
            self.member.answered(&self.subject.choice);
        }
    }

    /// It failed. Says whether another account may be asked at once: the fault is this one's, and
    /// nothing was done.
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
                    "DashScope refuses an account: calls to it are paused"
                );
                undone
            }
        }
    }

    /// What the answer used.
    pub(super) fn settle(&self, tokens: u32, now: Instant) {
        if self.by_its_key {
            self.member.settle(&self.subject.choice, tokens, now);
        }
    }
}
