//! The keys of our own that hold now: the file of keys, read again when it changes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::MissedTickBehavior;

use crate::chat::call::Caller;
use crate::error::Error;

use super::account::Account;
use super::date;
use super::file::{self, Entry, State};
use super::file_watcher::{LOOK_EVERY, Watched};
use super::key::{self, Digest};
use super::limits::Limits;

type Table = HashMap<String, Key>;

/// A key and whose it is.
struct Key {
    entry: Entry,
    holder: Holder,
}

/// Somebody who holds a key, and what it may use. Keys of one name have one holder.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) account: Arc<Account>,
    pub(super) limits: Arc<Limits>,
}

/// What all keys have in common.
pub(super) struct Terms {
    /// What a caller may use of whom nothing else is said.
    pub(super) limits: Limits,
    /// Makes the number of a caller.
    pub(super) hasher: RandomState,
}

/// All keys of a file.
pub(super) struct Keys {
    file: Watched,
    terms: Terms,
    table: RwLock<Arc<Table>>,
}

impl Keys {
    /// Reads the file. One that cannot be read is a fault of the settings.
    pub(super) fn open(path: PathBuf, terms: Terms) -> Result<Self, Error> {
        let (file, text) = Watched::open(path)?;
        let table = terms.table(file::parse(&file.path, &text)?, &Table::new());
        if table.is_empty() {
            tracing::warn!(
                file = %file.path.display(),
                "the key file is empty, so no caller is accepted; `dashgate keys new` creates a key"
            );
        }
        Ok(Self {
            file,
            terms,
            table: RwLock::new(Arc::new(table)),
        })
    }

    /// The caller whose key this is. The fault says what is wrong, for the log.
    pub(super) fn find(&self, text: &str, now: u64) -> Result<Holder, &'static str> {
        // Made whether or not there is such a key, so that time tells nothing either.
        let shown = Digest::of(text);
        let id = key::id_of(text).ok_or("not a key of this gateway")?;
        let table = self.table();
        let Key { entry, holder } = table.get(id).ok_or("there is no such key")?;
        if !entry.digest.matches(&shown) {
            return Err("the key does not match its id");
        }
        match entry.state(now) {
            State::Active => Ok(holder.clone()),
            State::Expired => Err("the key has expired"),
            State::Revoked => Err("the key is revoked"),
        }
    }

    fn table(&self) -> Arc<Table> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }

    /// Looks at the file again and again.
    pub(super) async fn watch(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let Some(text) = self.file.changed().await else {
            return;
        };
        let path = self.file.path.display();
        let entries =
            text.and_then(
                |text| match text.trim_start_matches('\u{feff}').trim().is_empty() {
                    // Cut by whoever writes it: all callers would be locked out.
                    true => Err(file::blank(&self.file.path)),
                    false => file::parse(&self.file.path, &text),
                },
            );
        match entries {
            Ok(entries) => {
                let table = Arc::new(self.terms.table(entries, &self.table()));
                tracing::info!(file = %path, keys = table.len(), "key file reloaded");
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
            }
            Err(error) => {
                tracing::error!(%error, "key file reload failed, keeping current keys");
            }
        }
    }
}

impl Terms {
    /// The keys of a file. A caller that was there before has used what it has used.
    fn table(&self, entries: Vec<Entry>, before: &Table) -> Table {
        let now = date::now();
        let is_live = |entry: &&Entry| entry.state(now) == State::Active;
        let live = entries.iter().filter(is_live).count();
        tracing::debug!(keys = entries.len(), live, "keys were read");
        let accounts = before.values().map(|key| &key.holder.account);
        let mut accounts: HashMap<Arc<str>, Arc<Account>> = accounts
            .map(|account| (Arc::clone(&account.name), Arc::clone(account)))
            .collect();
        let mut table = Table::with_capacity(entries.len());
        for entry in entries {
            let account = accounts.entry(Arc::clone(&entry.name)).or_insert_with(|| {
                let caller = Caller(self.hasher.hash_one(("key", &entry.name)));
                Arc::new(Account::new(Arc::clone(&entry.name), caller))
            });
            let holder = Holder {
                account: Arc::clone(account),
                limits: Arc::new(entry.limits.over(&self.limits)),
            };
            table.insert(entry.id.clone(), Key { entry, holder });
        }
        table
    }
}
