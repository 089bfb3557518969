//! Schedules the decompression of large messages.
//!
//! A few kilobytes become megabytes, and processing them takes steps of some milliseconds, between
//! which alone a thread polls its other calls. So there are limits:
//!
//! - A few are decompressed at once, for all callers together.
//! - Each caller has one at a time. Callers take turns, however many messages one of them sends.
//! - Each caller has a rate in bytes per second. Beyond it, only its own next message waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::chat::call::{Caller, CallerMap};

/// How many are decompressed concurrently: at most as many as a thread processes between two polls
/// of any other call.
const LARGE_AT_ONCE: usize = 2;

/// The bytes per second of one caller, per core. Decompressing, decoding and encoding this much
/// text takes an eighth of a core.
const BYTES_PER_SECOND: u64 = 128 << 20;

/// From this number on, callers are removed whose messages are done and whose wait is over.
const MANY_CALLERS: usize = 1024;

/// The queue of one caller. Cheap to clone; all clones are the same queue.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    shared: Arc<Shared>,
    caller: Caller,
}

#[derive(Debug)]
struct Shared {
    at_once: Arc<Semaphore>,
    bytes_per_second: u64,
    callers: Mutex<CallerMap<Arc<Queue>>>,
}

/// The messages of one caller.
#[derive(Debug)]
struct Queue {
    one: Arc<Semaphore>,
    /// When the next may begin.
    free_at: Mutex<Instant>,
}

/// The turn of one message. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    queue: Arc<Queue>,
    bytes_per_second: u64,
    // `None` if the semaphore is closed, which does not happen.
    _one: Option<OwnedSemaphorePermit>,
    _any: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shared = Shared {
            at_once: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            bytes_per_second: BYTES_PER_SECOND.saturating_mul(cores as u64),
            callers: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            caller: Caller::default(),
        }
    }
}

impl Turns {
    /// The queue of a caller.
    pub(super) fn of(&self, caller: Caller) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            caller,
        }
    }

    /// Waits for the turn of a message.
    pub(super) async fn wait(self) -> Turn {
        let queue = self.shared.queue(self.caller);
        let one = Arc::clone(&queue.one).acquire_owned().await.ok();
        let free_at = *lock(&queue.free_at);
        if free_at > Instant::now() {
            sleep_until(free_at).await;
        }
        let any = Arc::clone(&self.shared.at_once).acquire_owned().await.ok();
        Turn {
            queue,
            bytes_per_second: self.shared.bytes_per_second,
            _one: one,
            _any: any,
        }
    }
}

impl Shared {
    fn queue(&self, caller: Caller) -> Arc<Queue> {
        let mut callers = lock(&self.callers);
        if callers.len() >= MANY_CALLERS && !callers.contains_key(&caller) {
            let now = Instant::now();
            callers.retain(|_, queue| Arc::strong_count(queue) > 1 || *lock(&queue.free_at) > now);
        }
        let queue = callers.entry(caller).or_insert_with(|| {
            let queue = Queue {
                one: Arc::new(Semaphore::new(1)),
                free_at: Mutex::new(Instant::now()),
            };
            Arc::new(queue)
        });
        Arc::clone(queue)
    }
}

impl Turn {
    /// Records that this many bytes were decompressed: the next message of this caller waits for
    /// them.
    pub(super) fn spent(&self, bytes: usize) {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second;
        *lock(&self.queue.free_at) = Instant::now() + Duration::from_nanos(nanos);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_ready(turn: &mut (impl Future<Output = Turn> + Unpin)) -> Option<Turn> {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(turn).poll(&mut cx) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_for_its_own_messages_and_no_other_for_them() {
        let turns = Turns::default();
        let (greedy, other) = (turns.of(Caller(1)), turns.of(Caller(2)));
        let first = greedy.clone().wait().await;
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(greedy.clone().wait())).collect();
        for turn in &mut waiting {
            assert!(is_ready(turn).is_none());
        }
        drop(is_ready(&mut Box::pin(other.clone().wait())).unwrap());
        let begun = Instant::now();
        let second = usize::try_from(first.bytes_per_second).unwrap();
        first.spent(2 * second);
        drop(first);
        drop(is_ready(&mut Box::pin(other.wait())).unwrap());
        drop(waiting.remove(0).await);
        assert!(begun.elapsed() >= Duration::from_secs(2));
        assert!(begun.elapsed() < Duration::from_millis(2100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_are_unpacked_at_once_and_callers_are_forgotten() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for caller in 0..LARGE_AT_ONCE as u64 {
            held.push(turns.of(Caller(caller)).wait().await);
        }
        let mut next = Box::pin(turns.of(Caller(7)).wait());
        assert!(is_ready(&mut next).is_none());
        held.pop();
        drop(next.await);
        held.clear();
        for caller in 0..10_000 {
            drop(turns.of(Caller(caller)).wait().await);
        }
        assert!(lock(&turns.shared.callers).len() <= MANY_CALLERS);
    }
}
