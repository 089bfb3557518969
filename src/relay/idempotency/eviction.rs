//! The eviction order of kept results: the oldest of the caller that holds the most. So a caller
//! within its share keeps its own, whatever others do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use crate::chat::call::{Caller, CallerMap};

/// The bytes of all results of one caller, including those of running calls.
pub(super) type HeldBytes = Arc<AtomicUsize>;

/// The resource that is exhausted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scarce {
    /// Entries.
    Entries,
    /// Bytes.
    Bytes,
}

/// The order in which results are evicted. All are kept equally long, so they expire in the order
/// in which they were finished.
pub(super) struct ReplayCache<K> {
    owners: CallerMap<Owner<K>>,
    /// By number: expiry and caller.
    expiring: BTreeMap<u64, (Instant, Caller)>,
    next: u64,
    bytes: usize,
}

/// The entries of one caller.
struct Owner<K> {
    /// The calls that succeeded, the oldest first.
    finished: VecDeque<Finished<K>>,
    running: usize,
    held: HeldBytes,
}

struct Finished<K> {
    number: u64,
    key: K,
    bytes: usize,
}

impl<K> Default for ReplayCache<K> {
    fn default() -> Self {
        Self {
            owners: CallerMap::default(),
            expiring: BTreeMap::new(),
            next: 0,
            bytes: 0,
        }
    }
}

impl<K> Owner<K> {
    fn has(&self, what: Scarce) -> usize {
        match what {
            Scarce::Entries => self.running + self.finished.len(),
            Scarce::Bytes => self.held.load(Ordering::Relaxed),
        }
    }
}

impl<K> ReplayCache<K> {
    /// The bytes of kept results.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that a call of this caller begins. The returned counter holds the bytes of its
    /// result.
    pub(super) fn begin(&mut self, whose: Caller) -> HeldBytes {
        let owner = self.owners.entry(whose).or_insert_with(|| Owner {
            finished: VecDeque::new(),
            running: 0,
            held: HeldBytes::default(),
        });
        owner.running += 1;
        Arc::clone(&owner.held)
    }

    /// Records that a running call ended without a result to keep.
    pub(super) fn drop_running(&mut self, whose: Caller) {
        if let Some(owner) = self.owners.get_mut(&whose) {
            owner.running = owner.running.saturating_sub(1);
        }
        self.tidy(whose);
    }

    /// Records that a running call ended, and its result of this many bytes is kept until
    /// `expires`.
    pub(super) fn finish(&mut self, whose: Caller, key: K, (bytes, expires): (usize, Instant)) {
        let Some(owner) = self.owners.get_mut(&whose) else {
            return;
        };
        owner.running = owner.running.saturating_sub(1);
        let number = self.next;
        self.next += 1;
        owner.finished.push_back(Finished { number, key, bytes });
        self.expiring.insert(number, (expires, whose));
        self.bytes += bytes;
    }

    /// Removes a result that has expired.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<K> {
        let (_, (expires, whose)) = self.expiring.first_key_value()?;
        let due = now >= *expires;
        due.then_some(*whose).and_then(|whose| self.pop(whose))
    }

    /// Removes the oldest result of the caller that has the most. `None` if there is none, or if
    /// the caller in need of space has more already.
    pub(super) fn pop_of_heaviest(&mut self, what: Scarce, for_whom: Option<Caller>) -> Option<K> {
        let owners = self.owners.iter();
        let with_answers = owners.filter(|(_, owner)| !owner.finished.is_empty());
        let (most, whose) = with_answers
            .map(|(whose, owner)| (owner.has(what), *whose))
            .max_by_key(|(has, _)| *has)?;
        let own = for_whom.and_then(|caller| self.owners.get(&caller));
        match own.is_some_and(|own| own.has(what) > most) {
            true => None,
            false => self.pop(whose),
        }
    }

    fn pop(&mut self, whose: Caller) -> Option<K> {
        let oldest = self.owners.get_mut(&whose)?.finished.pop_front()?;
        self.expiring.remove(&oldest.number);
        self.bytes = self.bytes.saturating_sub(oldest.bytes);
        self.tidy(whose);
        Some(oldest.key)
    }

    /// Removes a caller without entries.
    fn tidy(&mut self, whose: Caller) {
        let is_empty = |owner: &Owner<K>| owner.running == 0 && owner.finished.is_empty();
        if self.owners.get(&whose).is_some_and(is_empty) {
            self.owners.remove(&whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HOG: Caller = Caller(1);
    const GOOD: Caller = Caller(2);

    fn keep(kept: &mut ReplayCache<u32>, whose: Caller, key: u32, bytes: usize) {
        kept.begin(whose).fetch_add(bytes, Ordering::Relaxed);
        let expires = Instant::now() + Duration::from_secs(600);
        kept.finish(whose, key, (bytes, expires));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_whoever_has_the_most_goes_first() {
        let mut kept = ReplayCache::default();
        keep(&mut kept, GOOD, 0, 50);
        for key in 1..4 {
            keep(&mut kept, HOG, key, 10);
        }
        assert_eq!(kept.pop_of_heaviest(Scarce::Entries, None), Some(1));
        assert_eq!(kept.pop_of_heaviest(Scarce::Entries, Some(GOOD)), Some(2));
        assert_eq!(kept.pop_of_heaviest(Scarce::Bytes, None), Some(0));
        assert_eq!(kept.bytes(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_run_push_out_no_caller_that_has_less() {
        let mut kept = ReplayCache::default();
        keep(&mut kept, GOOD, 0, 10);
        for _ in 0..2 {
            kept.begin(HOG).fetch_add(10, Ordering::Relaxed);
        }
        for what in [Scarce::Entries, Scarce::Bytes] {
            assert_eq!(kept.pop_of_heaviest(what, Some(HOG)), None);
        }
        kept.drop_running(HOG);
        kept.drop_running(HOG);
        assert!(!kept.owners.contains_key(&HOG));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_goes_in_its_order_and_leaves_nothing() {
        let mut kept = ReplayCache::default();
        for key in 0..6 {
            let whose = [HOG, GOOD][key as usize % 2];
            keep(&mut kept, whose, key, 1);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(kept.pop_expired(Instant::now()), None);
        tokio::time::advance(Duration::from_secs(600)).await;
        let gone = std::iter::from_fn(|| kept.pop_expired(Instant::now()));
        assert_eq!(gone.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert!(kept.owners.is_empty() && kept.expiring.is_empty());
        assert_eq!(kept.bytes(), 0);
    }
}
