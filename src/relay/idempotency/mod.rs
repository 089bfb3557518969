//! Idempotent calls: a call with a `request_id` is executed once.
//!
//! The first call with a request id runs on its own task and writes its events into a log; it and
//! every later call with the same request id, caller and content read that log from the start. When
//! no reader is left, the task is dropped, and with it the connection to DashScope. A complete
//! answer is kept for a while; an error is not, so that the call can be retried.

mod cancellation;
mod eviction;
mod fingerprint;
mod late_turn;
mod owned_calls;
mod ownership;
mod refusals;
pub(super) mod replay_log;
mod running_turn;
mod shared_calls;
mod stored_conversations;
mod stored_error;
mod stored_events;
mod table;
mod unread;
mod unwritten;

use std::hash::BuildHasher;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use crate::chat::call::{Call, Caller};
use crate::chat::event::Event;
use crate::error::Error;
use crate::memory::Kind;
use crate::store::calls::CallKey;

use super::reply::{Reply, Unstarted};
use refusals::{key_reused, no_such_events, too_long};
use replay_log::{Interest, ReplayLog, ReplayReader};
use shared_calls::SharedCall;
use table::{Entry, Key, Running};

pub(super) use shared_calls::{FINISH_PAUSE, FINISH_TIME};
pub(super) use table::Idempotency;
pub use table::IdempotencyConfig;

/// Joins the call with this request id, or starts it, within this caller's share.
pub(super) fn open(
    once: &Arc<Idempotency>,
    (call, share): (&Call, Caller),
    start: impl FnOnce() -> Unstarted,
) -> Result<ReplayReader, Error> {
    let key = (call.caller, call.request_id.clone());
    let fingerprint = once.hasher.hash_one(fingerprint::content(call));
    let mut table = once.lock();
    let only_reads = call.joining.after > 0;
    let grace = once.settings.grace(call.joining.unread);
    if let Some(entry) = table.entries.get(&key)
        && let Some(reader) = join(entry, fingerprint, (only_reads, grace))?
    {
        return Ok(reader.from(call.joining.after));
    }
    if only_reads && once.conversations.is_none() {
        return Err(no_such_events(0));
    }
    // One without readers, or that only reads, is replaced.
    table.forget(&key);
    table.make_room(once.settings, share)?;

    let held = table.kept.begin(share);
    let log = Arc::new(ReplayLog::new(once.memory.share(Kind::Kept), held));
    let cancel = Arc::new(Notify::new());
    let mut in_store = None;
    let task = match &once.conversations {
        Some(conversations) => {
            let (store, tenant) = (conversations.store().clone(), call.tenant);
            let request_id = Arc::clone(&call.request_id);
            in_store = Some((store, CallKey { tenant, request_id }));
            let shared = SharedCall::new(once, conversations, (call, share), Arc::clone(&log));
            tokio::spawn(shared.run(key.clone(), start(), Arc::clone(&cancel)))
        }
        None => {
            let events = start().start(log.attempts());
            log.caught_up();
            log.counted_by(events.usage_so_far());
            let (whose, ends) = ((key.clone(), share), Arc::clone(&cancel));
            tokio::spawn(run(
                Arc::downgrade(once),
                whose,
                events,
                (Arc::clone(&log), ends),
            ))
        }
    };
    let running = Arc::new(Running {
        task: task.abort_handle(),
        once: Arc::downgrade(once),
        key: key.clone(),
    });
    log.extend_grace(grace);
    let reader = ReplayReader::new(Arc::clone(&log), Some(running.clone()), false);
    // Nothing is lost if one ends that only reads.
    if !only_reads && (in_store.is_some() || !grace.is_zero()) {
        unread::hold(Arc::clone(&running), Arc::clone(&log), in_store);
    }
    let entry = Entry {
        share,
        fingerprint,
        only_reads,
        log,
        interest: Arc::downgrade(&running),
        cancel,
        expires: None,
    };
    table.entries.insert(key, entry);
    Ok(reader.from(call.joining.after))
}

/// A reader of a call that runs or has succeeded; `None` if it must be started again.
fn join(
    entry: &Entry,
    fingerprint: u64,
    (only_reads, grace): (bool, Duration),
) -> Result<Option<ReplayReader>, Error> {
    // One that only reads is never begun again if its owner is gone.
    if entry.only_reads && !only_reads && entry.expires.is_none() {
        return Ok(None);
    }
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
    // One that ends with its last reader has no permits of its own, with which it could go on.
    if !entry.log.grace().is_zero() {
        entry.log.extend_grace(grace);
    }
    let interest = running.map(|running| running as Interest);
    Ok(Some(ReplayReader::new(
        Arc::clone(&entry.log),
        interest,
        true,
    )))
}

/// Runs an idempotent call on its own, independent of its readers.
async fn run(
    once: Weak<Idempotency>,
    (key, share): (Key, Caller),
    mut events: Reply,
    (log, cancel): (Arc<ReplayLog>, Arc<Notify>),
) {
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = cancel.notified() => Some(Err(events.end(refusals::cancelled()))),
        };
        let end = match event {
            Some(Ok(event)) => {
                let last = matches!(event, Event::End(_));
                let make_room = |bytes| {
                    if let Some(once) = once.upgrade() {
                        once.relieve(bytes, Some(share));
                    }
                };
                log.write(event, make_room).await;
                last.then_some(Ok(()))
            }
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(super::retry::silent())),
        };
        if let Some(end) = end {
            return table::end(&once, key, &log, (end, true));
        }
    }
}
