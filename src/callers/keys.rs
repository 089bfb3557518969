//! The keys of our own that hold now: the file of keys, read again when it changes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use crate::chat::call::Caller;
use crate::error::Error;

use super::account::Account;
use super::date;
use super::file::{self, Entry, State};
use super::key::{self, Digest};
use super::limits::Limits;

/// How often the file is looked at: a key that was taken back still opens the door for so long. A
/// look is one `stat`; a watch by the kernel would miss files that are mounted or linked anew.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that is younger than this may change once more without a change of its time.
const YOUNG: Duration = Duration::from_secs(2);

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
    path: PathBuf,
    terms: Terms,
    table: RwLock<Arc<Table>>,
    seen: Mutex<Seen>,
}

/// What of the file was read last.
struct Seen {
    /// `None`: look into it again, whatever its stamp.
    stamp: Option<Stamp>,
    content: Option<Digest>,
}

/// What tells one state of a file from the next, without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// A link that leads elsewhere now, as Kubernetes changes its mounts.
    inode: u64,
}

impl Keys {
    /// Reads the file. One that cannot be read is a fault of the settings.
    pub(super) fn open(path: PathBuf, terms: Terms) -> Result<Self, Error> {
        let stamp = stamp(&path);
        let text = file::text(&path)?;
        let table = terms.table(file::parse(&path, &text)?, &Table::new());
        if table.is_empty() {
            tracing::warn!(
                file = %path.display(),
                "the file of keys is empty: nobody can call; dashgate keys new makes a key"
            );
        }
        Ok(Self {
            path,
            terms,
            table: RwLock::new(Arc::new(table)),
            seen: Mutex::new(Seen {
                stamp,
                content: Some(Digest::of(&text)),
            }),
        })
    }

    /// The caller whose key this is. The fault says what is wrong, for the log.
    pub(super) fn find(&self, text: &str, now: u64) -> Result<Holder, &'static str> {
        // Made whether or not there is such a key, so that time tells nothing either.
        let shown = Digest::of(text);
        let id = key::id_of(text).ok_or("what was sent is no key of this gateway")?;
        let table = self.table();
        let Key { entry, holder } = table.get(id).ok_or("there is no such key")?;
        if !entry.digest.matches(&shown) {
            return Err("the key is not the one of this id");
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
        let path = self.path.clone();
        let seen = self.seen().stamp;
        // A disk that hangs must not hang the calls.
        let looking = tokio::task::spawn_blocking(move || {
            let stamp = stamp(&path);
            if stamp.is_some() && stamp == seen {
                return None;
            }
            let text = file::text(&path);
            let read = text.map(|text| (Digest::of(&text), file::parse(&path, &text)));
            Some((stamp, read))
        });
        // Only a runtime that ends lets go of a look.
        let Ok(Some((stamp, read))) = looking.await else {
            return;
        };
        let (content, parsed) = match read {
            Ok((content, parsed)) => (Some(content), parsed),
            Err(error) => (None, Err(error)),
        };
        if !self.is_news(stamp, content) {
            return;
        }
        let file = self.path.display();
        match parsed {
            Ok(entries) => {
                let table = Arc::new(self.terms.table(entries, &self.table()));
                tracing::info!(%file, keys = table.len(), "the file of keys was read again");
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
            }
            Err(error) => {
                tracing::error!(%error, "the keys stay as they were: the new file is no good");
            }
        }
    }

    /// Keeps what was seen, and says whether its content is new.
    fn is_news(&self, stamp: Option<Stamp>, content: Option<Digest>) -> bool {
        let mut seen = self.seen();
        let is_old = |stamp: &Stamp| {
            let age = stamp.modified.map(|modified| modified.elapsed());
            matches!(age, Some(Ok(age)) if age >= YOUNG)
        };
        seen.stamp = stamp.filter(is_old);
        let same = match (&seen.content, &content) {
            (Some(old), Some(new)) => old.matches(new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        seen.content = content;
        !same
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        inode,
    })
}
