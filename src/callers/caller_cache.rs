//! The callers that are in no file: those of tokens, certificates and DashScope API keys. Their
//! number is bounded, because names can be invented.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Reason};

use super::caller_usage::Account;

/// The part of the idle callers that is evicted at once when the cache is full. A pass over all of
/// them is expensive, so it must free many entries.
const EVICTED_FRACTION: usize = 8;

/// Callers of one kind.
#[derive(Debug)]
pub(super) struct CallerCache {
    most: usize,
    accounts: Mutex<HashMap<Arc<str>, Arc<Account>>>,
}

impl CallerCache {
    /// A cache of at most `most` callers.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            accounts: Mutex::default(),
        }
    }

    /// The caller of this name, which is new if it is not cached. When the cache is full, the
    /// callers that have been idle for longest are evicted together with their usage.
    pub(super) fn account(
        &self,
        name: &str,
        make: impl FnOnce() -> Account,
    ) -> Result<Arc<Account>, Error> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(name) {
            return Ok(Arc::clone(account));
        }
        if accounts.len() >= self.most {
            evict(&mut accounts);
        }
        if accounts.len() >= self.most {
            let message = "too many callers at the same time (callers.max_tracked)";
            return Err(Error::new(Reason::Overloaded, message));
        }
        let account = Arc::new(make());
        accounts.insert(name.into(), Arc::clone(&account));
        Ok(account)
    }
}

/// Evicts the callers without calls that were used longest ago.
fn evict(accounts: &mut HashMap<Arc<str>, Arc<Account>>) {
    let idle = |account: &&Arc<Account>| Arc::strong_count(account) == 1;
    let mut ages: Vec<_> = accounts
        .values()
        .filter(idle)
        .map(|account| account.last_used())
        .collect();
    ages.sort_unstable();
    let Some(limit) = ages.get(ages.len() / EVICTED_FRACTION).copied() else {
        return;
    };
    accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.last_used() > limit);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chat::call::{Caller, Tenant};

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_evicts_idle_callers_and_none_with_calls() {
        let cache = CallerCache::new(100);
        let of = |name: &str| {
            let account = || Account::new(name.into(), (Caller(0), Tenant::default()), None);
            cache.account(name, account)
        };
        let busy = of("0").unwrap();
        for number in 1..1000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            of(&number.to_string()).unwrap();
            let kept = cache.accounts.lock().unwrap().len();
            assert!(kept <= 100, "{kept}");
        }
        assert!(Arc::ptr_eq(&busy, &of("0").unwrap()));
        assert!(cache.accounts.lock().unwrap().contains_key("998"));
        assert!(!cache.accounts.lock().unwrap().contains_key("1"));

        let cache = CallerCache::new(1);
        let busy = cache.account("a", || {
            Account::new("a".into(), (Caller(0), Tenant::default()), None)
        });
        let error = cache
            .account("b", || {
                Account::new("b".into(), (Caller(0), Tenant::default()), None)
            })
            .unwrap_err();
        assert_eq!(error.reason(), Reason::Overloaded);
        drop(busy);
        cache
            .account("b", || {
                Account::new("b".into(), (Caller(0), Tenant::default()), None)
            })
            .unwrap();
    }
}
