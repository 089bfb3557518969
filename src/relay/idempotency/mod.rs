//! Idempotent calls: a call with a `request_id` is executed once.
//!
//! The first call with a request id runs on its own task and writes its events into a log; it and
//! every later call with the same request id, caller and content read that log from the start. When
//! no reader is left, the task is dropped, and with it the connection to DashScope. A complete
//! answer is kept for a while; an error is not, so that the call can be retried.

mod eviction;
mod fingerprint;
pub(super) mod replay_log;
mod shared_calls;
mod stored_events;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use crate::chat::call::{Call, Caller};
use crate::chat::event::Event;
use crate::error::{Error, Reason, Violation};
use crate::memory::{Kind, MemoryLedger};
use crate::store::Store;

use super::reply::{Reply, Unstarted};
use eviction::{ReplayCache, Scarce};
use replay_log::{Interest, ReplayLog, ReplayReader};
use shared_calls::SharedCall;

/// How long, and how many, idempotent calls are kept.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyConfig {
    /// How long after its end.
    pub keep: Duration,
    /// The maximum number.
    pub max_calls: usize,
    /// The maximum bytes of all results together.
    pub max_bytes: usize,
}

/// All idempotent calls: running ones, and those that ended recently.
pub(super) struct Idempotency {
    settings: IdempotencyConfig,
    hasher: RandomState,
    memory: MemoryLedger,
    /// Where calls are recorded for other replicas, if anywhere.
    store: Option<Store>,
    table: Mutex<Table>,
}

/// A caller and its request id.
type Key = (Caller, Arc<str>);

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    kept: ReplayCache<Key>,
}

struct Entry {
    /// The caller whose share of the memory it uses.
    share: Caller,
    fingerprint: u64,
    log: Arc<ReplayLog>,
    interest: Weak<Running>,
    /// The expiry of a finished call.
    expires: Option<Instant>,
}

/// A running call, held by every reader. When the last one is dropped, the call ends.
struct Running {
    task: AbortHandle,
    once: Weak<Idempotency>,
    key: Key,
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
    pub(super) fn new(
        settings: IdempotencyConfig,
        memory: MemoryLedger,
        store: Option<Store>,
    ) -> Self {
        Self {
            settings,
            store,
            memory,
            hasher: RandomState::new(),
            table: Mutex::default(),
        }
    }

    /// Evicts results until this many bytes are free, for a call of this caller if given. Returns
    /// the number of evicted results.
    pub(super) fn relieve(&self, bytes: usize, for_whom: Option<Caller>) -> u64 {
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

    fn lock(&self) -> MutexGuard<'_, Table> {
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
    fn forget(&mut self, key: &Key) {
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
    fn make_room(&mut self, settings: IdempotencyConfig, share: Caller) -> Result<(), Error> {
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

/// Joins the call with this request id, or starts it, within this caller's share.
pub(super) fn open(
    once: &Arc<Idempotency>,
    (call, share): (&Call, Caller),
    start: impl FnOnce() -> Unstarted,
) -> Result<ReplayReader, Error> {
    let key = (call.caller, call.request_id.clone());
    // Not the trace: each retry of a call has its own span.
    let passing = (&call.passing.workspace, &call.passing.data_inspection);
    let fingerprint = once.hasher.hash_one((&call.prompt, call.delivery, passing));
    let mut table = once.lock();
    if let Some(entry) = table.entries.get(&key)
        && let Some(reader) = join(entry, fingerprint)?
    {
        return Ok(reader);
    }
    // One without readers is started again.
    table.forget(&key);
    table.make_room(once.settings, share)?;

    let held = table.kept.begin(share);
    let log = Arc::new(ReplayLog::new(once.memory.share(Kind::Kept), held));
    let task = match &once.store {
        Some(store) => {
            let shared = SharedCall::new(once, store, (call, share), Arc::clone(&log));
            tokio::spawn(shared.run(key.clone(), start()))
        }
        None => {
            let events = start().start(log.attempts());
            log.counted_by(events.usage_so_far());
            let whose = (key.clone(), share);
            tokio::spawn(run(Arc::downgrade(once), whose, events, Arc::clone(&log)))
        }
    };
    let running = Arc::new(Running {
        task: task.abort_handle(),
        once: Arc::downgrade(once),
        key: key.clone(),
    });
    let entry = Entry {
        share,
        fingerprint,
        log: Arc::clone(&log),
        interest: Arc::downgrade(&running),
        expires: None,
    };
    table.entries.insert(key, entry);
    Ok(ReplayReader::new(log, Some(running), false))
}

/// A reader of a call that runs or has succeeded; `None` if it must be started again.
fn join(entry: &Entry, fingerprint: u64) -> Result<Option<ReplayReader>, Error> {
    let kept = entry
        .expires
        .is_some_and(|expires| Instant::now() < expires);
    let running = entry.expires.is_none() && entry.interest.strong_count() > 0;
    if !running && !kept {
        return Ok(None);
    }
    if entry.fingerprint != fingerprint {
        return Err(key_reused());
    }
    if entry.log.is_cut() {
        return Err(too_long());
    }
    // The last reader may have been dropped just now; then the call is started again.
    let running = entry.interest.upgrade();
    if running.is_none() && !kept {
        return Ok(None);
    }
    let interest = running.map(|running| running as Interest);
    Ok(Some(ReplayReader::new(
        Arc::clone(&entry.log),
        interest,
        true,
    )))
}

/// The error of a request id that was used for another request.
fn key_reused() -> Error {
    let message = "was used for another request; choose a new one for each request";
    let violation = Violation {
        field: "request_id".to_owned(),
        description: message.to_owned(),
    };
    let message = format!("request_id {message}");
    Error::new(Reason::IdempotencyKeyReused, message).with_violation(violation)
}

/// The error of a second call, if the answer of the first was not kept.
fn too_long() -> Error {
    let message = "a call with this request_id was made, and its answer is too long to be shared";
    Error::new(Reason::CallInProgress, message)
}

/// Runs an idempotent call on its own, independent of its readers.
async fn run(
    once: Weak<Idempotency>,
    (key, share): (Key, Caller),
    mut events: Reply,
    log: Arc<ReplayLog>,
) {
    while let Some(event) = events.next().await {
        let end = match event {
            Ok(event) => {
                let last = matches!(event, Event::End(_));
                let make_room = |bytes| {
                    if let Some(once) = once.upgrade() {
                        once.relieve(bytes, Some(share));
                    }
                };
                log.write(event, make_room).await;
                last.then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        };
        let Some(end) = end else { continue };
        return self::end(&once, key, &log, end);
    }
}

/// Ends a call: its answer is kept if it has succeeded.
fn end(once: &Weak<Idempotency>, key: Key, log: &Arc<ReplayLog>, end: Result<(), Error>) {
    if let Some(once) = once.upgrade() {
        let mut table = once.lock();
        match &end {
            _ if !table.is(&key, log) => {}
            Ok(()) => table.keep(key, Instant::now() + once.settings.keep),
            Err(_) => table.forget(&key),
        }
    }
    log.end(end);
}
