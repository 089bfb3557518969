//! Memory by caller, and the choice of calls to cancel when memory is short.
//!
//! Only calls that hold more than [`super::CALL`] are listed, so small calls, which are nearly all,
//! cost nothing here. The number of a caller's calls is queried when needed.

use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::chat::call::{Caller, CallerMap};

/// A call that can be cancelled by another task.
pub trait Cancel: Debug + Send + Sync {
    /// Cancels it, so that it releases its memory soon. Does not wait.
    fn cancel(&self);
}

/// The number of calls in flight of each caller.
pub trait CallCounts: Debug + Send + Sync {
    /// Calls `tell` with each caller and its number of calls.
    fn each(&self, tell: &mut dyn FnMut(Caller, usize));
}

/// What each caller holds at one moment, and in how many calls.
#[derive(Debug, Default)]
pub(super) struct Totals(CallerMap<usize>, CallerMap<usize>);

impl Totals {
    /// Adds bytes to a caller.
    pub(super) fn add(&mut self, caller: Caller, bytes: usize) {
        let total = self.0.entry(caller).or_default();
        *total = total.saturating_add(bytes);
    }

    /// Sets the minimum number of calls of a caller.
    pub(super) fn count(&mut self, caller: Caller, calls: usize) {
        let count = self.1.entry(caller).or_default();
        *count = calls.max(*count);
    }

    /// Whether a caller above its fair share has to release memory for a new call of this caller:
    /// one with several calls, or with more than half of `room`. The only call of another caller,
    /// which may be billed, is not cancelled for a new one.
    pub(super) fn must_release(&self, to: Caller, room: usize) -> bool {
        let above = self.above(room);
        let mut others = above.iter().filter(|(caller, _)| *caller != to);
        others.any(|(caller, _)| {
            let calls = self.1.get(caller).copied().unwrap_or_default();
            let bytes = self.0.get(caller).copied().unwrap_or_default();
            calls > 1 || bytes > room / 2
        })
    }

    /// What all callers hold together.
    pub(super) fn sum(&self) -> usize {
        let totals = self.0.values();
        totals.fold(0, |sum, total| sum.saturating_add(*total))
    }

    /// Whether everything held would fit into `room` if no caller held more than this one.
    pub(super) fn is_within_fair_share(&self, caller: Caller, room: usize) -> bool {
        let own = self.0.get(&caller).copied().unwrap_or_default();
        let totals = self.0.values();
        let sum = totals.fold(0_usize, |sum, total| sum.saturating_add(own.min(*total)));
        sum <= room
    }

    /// The fair share: the most that each caller may hold so that all fit into `room`.
    fn fair_share(&self, mut room: usize) -> usize {
        let mut totals: Vec<_> = self.0.values().copied().collect();
        totals.sort_unstable();
        let mut left = totals.len();
        for total in totals {
            let part = room / left.max(1);
            if total > part {
                return part;
            }
            room = room.saturating_sub(total);
            left -= 1;
        }
        usize::MAX
    }

    /// The callers above their fair share, and by how much: the largest first.
    pub(super) fn above(&self, room: usize) -> Vec<(Caller, usize)> {
        let part = self.fair_share(room);
        let above = |(caller, total): (&Caller, &usize)| {
            let more = total.saturating_sub(part);
            (more > 0).then_some((*caller, more))
        };
        let mut above: Vec<_> = self.0.iter().filter_map(above).collect();
        above.sort_unstable_by_key(|(_, more)| std::cmp::Reverse(*more));
        above
    }
}

/// The calls that hold more than [`super::CALL`], by caller.
#[derive(Debug, Default)]
pub(super) struct Holders {
    state: Mutex<State>,
    /// The bytes held by calls chosen for cancellation.
    returning: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    callers: CallerMap<Holder>,
    /// The chosen calls that are not cancelled yet.
    chosen: Vec<Weak<dyn Cancel>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Holder {
    /// The bytes of its calls that are not chosen.
    bytes: usize,
    calls: HashMap<u64, Large>,
}

#[derive(Debug)]
struct Large {
    bytes: usize,
    is_chosen: bool,
    call: Weak<dyn Cancel>,
}

impl Holders {
    /// The bytes held by calls chosen for cancellation.
    pub(super) fn returning(&self) -> usize {
        self.returning.load(Ordering::Relaxed)
    }

    /// Adds the bytes of each caller's calls that are not chosen.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        for (caller, holder) in &self.lock().callers {
            totals.add(*caller, holder.bytes);
            totals.count(*caller, holder.calls.len());
        }
    }

    /// Chooses calls for cancellation until this many bytes will be released: the largest of the
    /// largest caller, while that is above its fair share. Returns the number of bytes.
    pub(super) fn choose(&self, bytes: usize, totals: &Totals, room: usize) -> usize {
        let (mut state, mut freed) = (self.lock(), 0);
        let state = &mut *state;
        let above = totals.above(room);
        let mut heap: BinaryHeap<_> = above.into_iter().map(|(who, more)| (more, who.0)).collect();
        let mut sorted: HashMap<u64, Vec<(usize, u64)>> = HashMap::new();
        while freed < bytes
            && let Some((more, who)) = heap.pop()
        {
            let Some(holder) = state.callers.get_mut(&Caller(who)) else {
                continue;
            };
            let calls = sorted.entry(who).or_insert_with(|| holder.sorted());
            let Some((weight, id)) = calls.pop() else {
                continue;
            };
            if let Some(large) = holder.calls.get_mut(&id) {
                large.is_chosen = true;
                state.chosen.push(Weak::clone(&large.call));
            }
            holder.bytes = holder.bytes.saturating_sub(weight);
            self.returning.fetch_add(weight, Ordering::Relaxed);
            freed += weight;
            if more > weight {
                heap.push((more - weight, who));
            }
        }
        freed
    }

    /// Removes the chosen calls that still exist, to be cancelled.
    pub(super) fn take_chosen(&self) -> Vec<Arc<dyn Cancel>> {
        let chosen = std::mem::take(&mut self.lock().chosen);
        chosen.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// Its calls that are not chosen, the largest last.
    fn sorted(&self) -> Vec<(usize, u64)> {
        let calls = self.calls.iter();
        let calls = calls.filter(|(_, large)| !large.is_chosen && large.bytes > 0);
        let mut calls: Vec<_> = calls.map(|(id, large)| (large.bytes, *id)).collect();
        calls.sort_unstable();
        calls
    }
}

/// An entry of a call among its caller's, until it is dropped.
#[derive(Debug)]
pub(super) struct Holding {
    holders: Arc<Holders>,
    owner: Caller,
    id: u64,
}

impl Holding {
    /// Adds an entry for a call that holds nothing yet.
    pub(super) fn new(holders: &Arc<Holders>, owner: Caller, call: Weak<dyn Cancel>) -> Self {
        let mut state = holders.lock();
        let id = state.next;
        state.next += 1;
        let large = Large {
            bytes: 0,
            is_chosen: false,
            call,
        };
        let holder = state.callers.entry(owner).or_default();
        holder.calls.insert(id, large);
        drop(state);
        Self {
            holders: Arc::clone(holders),
            owner,
            id,
        }
    }

    /// Sets the bytes that the call holds beyond [`super::CALL`]. Returns false if it is chosen for
    /// cancellation.
    pub(super) fn set(&self, bytes: usize) -> bool {
        let mut state = self.holders.lock();
        let Some(holder) = state.callers.get_mut(&self.owner) else {
            return true;
        };
        let Some(large) = holder.calls.get_mut(&self.id) else {
            return true;
        };
        let before = std::mem::replace(&mut large.bytes, bytes);
        if large.is_chosen {
            let returning = &self.holders.returning;
            match bytes > before {
                true => returning.fetch_add(bytes - before, Ordering::Relaxed),
                false => returning.fetch_sub(before - bytes, Ordering::Relaxed),
            };
            return false;
        }
        holder.bytes = holder.bytes.saturating_sub(before).saturating_add(bytes);
        true
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.set(0);
        let mut state = self.holders.lock();
        if let Entry::Occupied(mut holder) = state.callers.entry(self.owner) {
            holder.get_mut().calls.remove(&self.id);
            if holder.get().calls.is_empty() {
                holder.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn totals(held: &[usize]) -> Totals {
        let mut totals = Totals::default();
        for (number, bytes) in (0..).zip(held) {
            totals.add(Caller(number), *bytes);
        }
        totals
    }

    #[test]
    fn a_small_caller_beside_a_large_one_is_within_its_fair_share() {
        let totals = totals(&[80, 15, 1, 1, 1]);
        for (caller, within) in [(0, false), (1, true), (2, true), (9, true)] {
            assert_eq!(
                totals.is_within_fair_share(Caller(caller), 85),
                within,
                "{caller}"
            );
        }
        assert_eq!(totals.above(85), [(Caller(0), 13)]);
    }

    #[test]
    fn the_only_call_of_a_caller_is_not_cancelled_for_a_new_one() {
        let mut totals = totals(&[30, 30, 30, 5]);
        assert!(!totals.must_release(Caller(3), 85));
        totals.count(Caller(1), 2);
        assert!(totals.must_release(Caller(3), 85));
        assert!(!totals.must_release(Caller(1), 85), "not to itself");
    }

    #[test]
    fn callers_with_equal_shares_of_too_much_are_all_above_them() {
        let totals = totals(&[30, 30, 30]);
        assert!((0..3).all(|caller| !totals.is_within_fair_share(Caller(caller), 85)));
        assert_eq!(totals.above(85).len(), 3);
        assert!(totals.above(90).is_empty());
    }

    proptest! {
        #[test]
        fn the_excess_above_all_fair_shares_is_what_does_not_fit(
            held in proptest::collection::vec(0_usize..1000, 0..20),
            room in 0_usize..5000,
        ) {
            let totals = totals(&held);
            let sum: usize = held.iter().sum();
            let above = totals.above(room);
            let more: usize = above.iter().map(|(_, more)| more).sum();
            let missing = sum.saturating_sub(room);
            // Fair shares are rounded down to whole bytes.
            prop_assert!((missing..=missing + held.len()).contains(&more));
            for (number, own) in (0..).zip(&held) {
                let is_above = above.iter().any(|(caller, _)| *caller == Caller(number));
                let within = totals.is_within_fair_share(Caller(number), room);
                prop_assert!(*own == 0 || is_above != within, "{} of {:?}", number, held);
            }
        }
    }
}
