//! The callers that have no place in a file: those of tokens, certificates and keys of their own.
//! They are remembered within a bound, because anyone can make names up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Reason};

use super::account::Account;

/// What part of the idle callers is forgotten at once when the register is full. A look through all
/// of them is dear, so it must make room for many.
const FORGOTTEN: usize = 8;

/// Callers of one kind.
#[derive(Debug)]
pub(super) struct Register {
    most: usize,
    accounts: Mutex<HashMap<Arc<str>, Arc<Account>>>,
}

impl Register {
    /// Remembers this many at the most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            accounts: Mutex::default(),
        }
    }

    /// The caller of this name; a new one if it is not remembered. When the register is full, those
    /// that have been idle for longest are forgotten, with all that they used.
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
            forget(&mut accounts);
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

/// Forgets the callers that nobody holds and that were used longest ago.
fn forget(accounts: &mut HashMap<Arc<str>, Arc<Account>>) {
    let idle = |account: &&Arc<Account>| Arc::strong_count(account) == 1;
    let mut ages: Vec<_> = accounts
        .values()
        .filter(idle)
        .map(|account| account.last_used())
        .collect();
    ages.sort_unstable();
    let Some(limit) = ages.get(ages.len() / FORGOTTEN).copied() else {
        return;
    };
    accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.last_used() > limit);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chat::call::Caller;

    #[tokio::test(start_paused = true)]
    async fn a_full_register_forgets_the_idle_and_never_who_calls() {
        let register = Register::new(100);
        let of = |name: &str| {
            let account = || Account::new(name.into(), Caller(0));
            register.account(name, account)
        };
        let busy = of("0").unwrap();
        for number in 1..1000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            of(&number.to_string()).unwrap();
            let kept = register.accounts.lock().unwrap().len();
            assert!(kept <= 100, "{kept}");
        }
        assert!(Arc::ptr_eq(&busy, &of("0").unwrap()));
        assert!(register.accounts.lock().unwrap().contains_key("998"));
        assert!(!register.accounts.lock().unwrap().contains_key("1"));

        let register = Register::new(1);
        let busy = register.account("a", || Account::new("a".into(), Caller(0)));
        let error = register
            .account("b", || Account::new("b".into(), Caller(0)))
            .unwrap_err();
        assert_eq!(error.reason(), Reason::Overloaded);
        drop(busy);
        register
            .account("b", || Account::new("b".into(), Caller(0)))
            .unwrap();
    }
}
