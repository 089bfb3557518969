//! A caller as its calls know it: who it is, and what it may use.

use std::sync::Arc;

use crate::chat::call::{Caller, Tenant};
use crate::error::Error;
use crate::secret::Secret;

use super::caller_permit::{self, CallerPermit};
use super::caller_usage::Account;
use super::limits::Limits;
use super::now::Now;

/// An authenticated or anonymous caller.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Id that distinguishes callers.
    pub caller: Caller,
    /// The owner of the call's share of capacity: the caller if its credentials are verified,
    /// otherwise all callers from the same network origin.
    pub share: Caller,
    /// Whose stored values it may use.
    pub tenant: Tenant,
    /// The caller's DashScope API key, if it authenticated with one.
    pub api_key: Option<Secret>,
    pub(super) account: Option<Arc<Account>>,
    pub(super) limits: Arc<Limits>,
}

impl Identity {
    /// This caller, with these limits.
    pub(super) fn new(account: Arc<Account>, limits: Arc<Limits>) -> Self {
        Self {
            caller: account.caller,
            share: account.caller,
            tenant: account.tenant,
            api_key: None,
            account: Some(account),
            limits,
        }
    }

    /// The name of the caller, for logs and metrics. Never a key.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.account.as_ref().map(|account| &account.name)
    }

    /// Takes a slot and a request of the caller's limits for a call whose headers have arrived, or
    /// refuses and takes nothing. [`CallerPermit::charge`] takes what depends on the request.
    pub fn enter(&self) -> Result<CallerPermit, Error> {
        match &self.account {
            Some(account) => caller_permit::enter(account, &self.limits, Now::read()),
            None => Ok(CallerPermit::default()),
        }
    }

    /// Counts a call that the gateway answers by itself as one of the caller's calls per minute. It
    /// takes no slot, so that it also works while the caller has as many calls as it may.
    pub fn count(&self) -> Result<(), Error> {
        match &self.account {
            Some(account) => caller_permit::count(account, &self.limits, Now::read()),
            None => Ok(()),
        }
    }

    /// Refuses a model that the caller may not use.
    pub fn check_model(&self, model: &str) -> Result<(), Error> {
        match &self.account {
            Some(account) => account.check_model(&self.limits, model),
            None => Ok(()),
        }
    }

    /// Whether shares of its limits should be waited for.
    pub(super) fn is_missing_shares(&self) -> bool {
        let account = self.account.as_deref();
        let shared = account.and_then(Account::shared);
        shared.is_some_and(|shared| shared.is_missing(&self.limits))
    }

    /// Waits for shares of its limits, for a short time.
    pub(super) async fn prepare(&self) {
        let account = self.account.as_deref();
        if let Some(shared) = account.and_then(Account::shared) {
            shared.prepare(&self.limits).await;
        }
    }

    /// Whether the caller may use a model.
    pub fn may_use(&self, model: &str) -> bool {
        self.account.is_none() || self.limits.allows(model)
    }
}
