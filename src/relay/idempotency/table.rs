//! The table of idempotent calls on this replica.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::chat::call::{Caller, Unread};
use crate::conversations::Conversations;
use crate::error::{Error, Reason};
use crate::memory::MemoryLedger;
use crate::store::Store;

use super::eviction::{ReplayCache, Scarce};
use super::owned_calls::OwnedCalls;
use super::replay_log::ReplayLog;

/// How many times within a grace it is recorded that a call is read.
const FOLLOWS: u32 = 20;

/// The longest pause between two such records.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// How long, and how many, idempotent calls are kept.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyConfig {
    /// How long after its end.
    pub keep: Duration,
    /// The maximum number.
    pub max_calls: usize,
    /// The maximum bytes of all results together.
    pub max_bytes: usize,
    /// How long a detached call goes on without a reader.
    pub detached_grace: Duration,
    /// How long a call waits for a reader that will resume it.
    pub resume_grace: Duration,
}

impl IdempotencyConfig {
    /// How long a call goes on without a reader.
    pub(super) fn grace(&self, unread: Unread) -> Duration {
        match unread {
            Unread::Ends => Duration::ZERO,
            Unread::AwaitsReader => self.resume_grace,
            Unread::Detached => self.detached_grace,
        }
    }

    /// The pause between two records that a call of another replica is read here.
    pub(super) fn follow_pause(&self) -> Duration {
        let grace = self.resume_grace.min(self.detached_grace);
        (grace / FOLLOWS).min(FOLLOW_PAUSE)
    }
}

/// All idempotent calls: running ones, and those that ended recently.
pub(in crate::relay) struct Idempotency {
    pub(super) settings: IdempotencyConfig,
    pub(super) hasher: RandomState,
    pub(super) memory: MemoryLedger,
    /// Stored conversations, in the store in which calls are recorded for other replicas, if there
    /// is one.
    pub(super) conversations: Option<Conversations>,
    /// The calls in the store that this replica runs.
    pub(super) owned: OwnedCalls,
    table: Mutex<Table>,
}

/// A caller and its request id.
pub(super) type Key = (Caller, Arc<str>);

/// All calls by their keys.
#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: HashMap<Key, Entry>,
    pub(super) kept: ReplayCache<Key>,
}

/// One call.
pub(super) struct Entry {
    /// The caller whose share of the memory it uses.
    pub(super) share: Caller,
    pub(super) fingerprint: u64,
    /// Whether it reads what another replica writes, and never runs the call itself.
    pub(super) only_reads: bool,
    pub(super) log: Arc<ReplayLog>,
    pub(super) interest: Weak<Running>,
    /// Ends it, if it runs.
    pub(super) cancel: Arc<Notify>,
    /// The expiry of a finished call.
    pub(super) expires: Option<Instant>,
}

/// A running call, held by every reader. When the last one is dropped, the call ends.
pub(super) struct Running {
    pub(super) task: AbortHandle,
    pub(super) once: Weak<Idempotency>,
    pub(super) key: Key,
}

impl Running {
    /// Removes the call that writes this log, which is about to be dropped, so that no call joins
    /// it. Returns whether it has no reader.
    pub(super) fn give_up(&self, log: &Arc<ReplayLog>) -> bool {
        let Some(once) = self.once.upgrade() else {
            return true;
        };
        let mut table = once.lock();
        // Readers join under the lock.
        if log.is_read() {
            return false;
        }
        let entry = table.entries.get(&self.key);
        if entry.is_some_and(|entry| Arc::ptr_eq(&entry.log, log) && entry.expires.is_none()) {
            table.forget(&self.key);
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(once) = self.once.upgrade() {
            once.lock().give_up(&self.key);
        }
    }
}

impl Idempotency {
    /// Without calls.
    pub(in crate::relay) fn new(
        settings: IdempotencyConfig,
        memory: MemoryLedger,
        conversations: Option<Conversations>,
    ) -> Self {
        Self {
            settings,
            conversations,
            owned: OwnedCalls::default(),
            memory,
            hasher: RandomState::new(),
            table: Mutex::default(),
        }
    }

    /// The stored conversations, if there is a store.
    pub(in crate::relay) fn conversations(&self) -> Option<&Conversations> {
        self.conversations.as_ref()
    }

    /// The store, if there is one.
    pub(super) fn store(&self) -> Option<&Store> {
        self.conversations.as_ref().map(Conversations::store)
    }

    /// Evicts results until this many bytes are free, for a call of this caller if given. Returns
    /// the number of evicted results.
    pub(in crate::relay) fn relieve(&self, bytes: usize, for_whom: Option<Caller>) -> u64 {
        let mut table = self.lock();
        let (before, mut count) = (table.kept.bytes(), 0);
        while before - table.kept.bytes() < bytes
            && let Some(key) = table.kept.pop_of_heaviest(Scarce::Bytes, for_whom)
        {
            table.entries.remove(&key);
            count += 1;
        }
        count
    }

    /// Locks the table.
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Removes a call without readers, unless it has succeeded or was replaced.
    fn give_up(&mut self, key: &Key) {
        let given_up =
            |entry: &Entry| entry.expires.is_none() && entry.interest.strong_count() == 0;
        if self.entries.get(key).is_some_and(given_up) {
            self.forget(key);
        }
    }

    /// Removes a running call.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key)
            && entry.expires.is_none()
        {
            self.kept.drop_running(entry.share);
        }
    }

    /// Whether the call with this key is the one that writes this log, and not a later one.
    fn is(&self, key: &Key, log: &Arc<ReplayLog>) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| Arc::ptr_eq(&entry.log, log))
    }

    /// Keeps a call that has succeeded.
    fn keep(&mut self, key: Key, expires: Instant) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.expires = Some(expires);
            let bytes = entry.log.charged();
            self.kept.finish(entry.share, key, (bytes, expires));
        }
    }

    /// Removes expired results; then results of the callers that hold the most, until one more call
    /// of this caller fits.
    pub(super) fn make_room(
        &mut self,
        settings: IdempotencyConfig,
        share: Caller,
    ) -> Result<(), Error> {
        let now = Instant::now();
        while let Some(key) = self.kept.pop_expired(now) {
            self.entries.remove(&key);
        }
        while self.kept.bytes() > settings.max_bytes
            && let Some(key) = self.kept.pop_of_heaviest(Scarce::Bytes, None)
        {
            self.entries.remove(&key);
        }
        while self.entries.len() >= settings.max_calls
            && let Some(key) = self.kept.pop_of_heaviest(Scarce::Entries, Some(share))
        {
            self.entries.remove(&key);
        }
        if self.entries.len() < settings.max_calls {
            return Ok(());
        }
        let message = "too many calls with a request_id are running; omit request_id";
        Err(Error::new(Reason::Overloaded, message))
    }
}

/// Ends a call: its answer is kept if it has succeeded, unless the store alone keeps it.
pub(super) fn end(
    once: &Weak<Idempotency>,
    key: Key,
    log: &Arc<ReplayLog>,
    (end, is_kept): (Result<(), Error>, bool),
) {
    if let Some(once) = once.upgrade() {
        let mut table = once.lock();
        match &end {
            _ if !table.is(&key, log) => {}
            Ok(()) if is_kept => table.keep(key, Instant::now() + once.settings.keep),
            Ok(()) | Err(_) => table.forget(&key),
        }
    }
    log.end(end);
}
