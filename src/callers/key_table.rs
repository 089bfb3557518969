//! The keys of the key file, which is read again when it changes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::MissedTickBehavior;

use crate::chat::call::Caller;
use crate::error::Error;
use crate::quotas::Quotas;

use super::api_key::{self, Digest};
use super::caller_usage::Account;
use super::date;
use super::file_watcher::{CHECK_INTERVAL, WatchedFile};
use super::key_file::{self, Entry, State};
use super::limits::Limits;
use super::tenant;

type Table = HashMap<String, Key>;

/// A key and its owner.
struct Key {
    entry: Entry,
    owner: KeyOwner,
}

/// The owner of keys, with its limits. Keys of the same name have one owner.
#[derive(Clone)]
pub(super) struct KeyOwner {
    pub(super) account: Arc<Account>,
    pub(super) limits: Arc<Limits>,
}

/// What all keys have in common.
pub(super) struct KeyDefaults {
    /// The default limits.
    pub(super) limits: Limits,
    /// Computes the id of a caller.
    pub(super) hasher: RandomState,
    /// The limits that replicas share, if there is a store.
    pub(super) quotas: Option<Quotas>,
}

/// All keys of a file.
pub(super) struct Keys {
    file: WatchedFile,
    defaults: KeyDefaults,
    table: RwLock<Arc<Table>>,
}

impl Keys {
    /// Reads the file. If it cannot be read, that is a configuration error.
    pub(super) fn open(path: PathBuf, defaults: KeyDefaults) -> Result<Self, Error> {
        let (file, text) = WatchedFile::open(path)?;
        let table = defaults.table(key_file::parse(&file.path, &text)?, &Table::new());
        if table.is_empty() {
            tracing::warn!(
                file = %file.path.display(),
                "the key file is empty, so no caller is accepted; `dashgate keys new` creates a key"
            );
        }
        Ok(Self {
            file,
            defaults,
            table: RwLock::new(Arc::new(table)),
        })
    }

    /// The owner of a key. The error is the reason, for the log.
    pub(super) fn find(&self, text: &str, now: u64) -> Result<KeyOwner, &'static str> {
        // Computed even if there is no such key, so that timing reveals nothing.
        let digest = Digest::of(text);
        let id = api_key::id_of(text).ok_or("not a key of this gateway")?;
        let table = self.table();
        let Key { entry, owner } = table.get(id).ok_or("there is no such key")?;
        if !entry.digest.matches(&digest) {
            return Err("the key does not match its id");
        }
        match entry.state(now) {
            State::Active => Ok(owner.clone()),
            State::Expired => Err("the key has expired"),
            State::Revoked => Err("the key is revoked"),
        }
    }

    fn table(&self) -> Arc<Table> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }

    /// Checks the file at intervals.
    pub(super) async fn watch(&self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.check().await;
        }
    }

    async fn check(&self) {
        let Some(text) = self.file.changed().await else {
            return;
        };
        let path = self.file.path.display();
        let entries =
            text.and_then(
                |text| match text.trim_start_matches('\u{feff}').trim().is_empty() {
                    // The file is being rewritten: an empty one would lock out all callers.
                    true => Err(key_file::blank(&self.file.path)),
                    false => key_file::parse(&self.file.path, &text),
                },
            );
        match entries {
            Ok(entries) => {
                let table = Arc::new(self.defaults.table(entries, &self.table()));
                tracing::info!(file = %path, keys = table.len(), "key file reloaded");
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
            }
            Err(error) => {
                tracing::error!(%error, "key file reload failed, keeping current keys");
            }
        }
    }
}

impl KeyDefaults {
    /// The keys of a file. A caller that existed before keeps its usage.
    fn table(&self, entries: Vec<Entry>, before: &Table) -> Table {
        let now = date::now();
        let is_live = |entry: &&Entry| entry.state(now) == State::Active;
        let live = entries.iter().filter(is_live).count();
        tracing::debug!(keys = entries.len(), live, "keys were read");
        let accounts = before.values().map(|key| &key.owner.account);
        let mut accounts: HashMap<Arc<str>, Arc<Account>> = accounts
            .map(|account| (Arc::clone(&account.name), Arc::clone(account)))
            .collect();
        let mut table = Table::with_capacity(entries.len());
        for entry in entries {
            let account = accounts.entry(Arc::clone(&entry.name)).or_insert_with(|| {
                let caller = Caller(self.hasher.hash_one(("key", &entry.name)));
                let tenant = tenant::of("key", &entry.name);
                let quotas = self.quotas.as_ref();
                Arc::new(Account::new(
                    Arc::clone(&entry.name),
                    (caller, tenant),
                    quotas,
                ))
            });
            let owner = KeyOwner {
                account: Arc::clone(account),
                limits: Arc::new(entry.limits.apply_to(&self.limits)),
            };
            table.insert(entry.id.clone(), Key { entry, owner });
        }
        table
    }
}
