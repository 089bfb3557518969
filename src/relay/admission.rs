//! The limit on calls in flight. Beyond it a call is rejected immediately: nothing queues here, so
//! no queue is unbounded.
//!
//! Permits are shared fairly without a list of waiting callers. A caller that holds `h` permits
//! gets another one only while `h` is below `free * share / (100 - share)`. Alone it gets `share`
//! percent of all permits; `n` greedy callers get equal parts and still leave some free, so that a
//! caller without permits is admitted. Permits that become free go first to callers with few.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::callers::Identity;
use crate::callers::caller_permit::CallerPermit;
use crate::chat::call::{Caller, CallerMap};
use crate::chat::usage::Usage;
use crate::error::{Error, Reason, Sent};
use crate::memory;

/// The range of the retry delay returned to a rejected caller: long enough to try another replica
/// first, spread so that rejected callers do not return together.
const PUSHBACK_MS: std::ops::Range<u64> = 50..500;

/// The share of one caller among the requests that are not completely received: half. A legitimate
/// caller sends its request right after the headers.
const PARTIAL_SHARE_PERCENT: u32 = 50;

/// The limit. It can be changed while calls are in flight: calls beyond a lower limit continue.
#[derive(Clone, Debug)]
pub struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: AtomicUsize,
    share_percent: AtomicU32,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    taken: usize,
    /// Permits by caller, without entries of zero.
    by_caller: CallerMap<usize>,
}

/// A permit of a call in flight, released when dropped.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    caller: Caller,
}

impl Admission {
    /// A limit of this many calls, of which a single caller gets at most this percentage.
    pub fn new(limit: usize, share_percent: u32) -> Self {
        let inner = Inner {
            limit: AtomicUsize::new(limit),
            share_percent: AtomicU32::new(share_percent),
            places: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Changes the limit.
    pub fn set_limit(&self, limit: usize, share_percent: u32) {
        self.inner.limit.store(limit, Ordering::Relaxed);
        let share = &self.inner.share_percent;
        share.store(share_percent, Ordering::Relaxed);
    }

    /// Acquires a permit for a call of this caller, or rejects it immediately.
    pub fn admit(&self, caller: Caller) -> Result<Permit, Error> {
        let limit = self.inner.limit.load(Ordering::Relaxed);
        let share = self.inner.share_percent.load(Ordering::Relaxed);
        let mut places = self.inner.lock();
        let free = limit.saturating_sub(places.taken);
        if free == 0 {
            drop(places);
            return Err(overloaded(format!(
                "too many in-flight calls (limit {limit})"
            )));
        }
        let entry = places.by_caller.entry(caller);
        let held = match &entry {
            Entry::Occupied(held) => *held.get(),
            Entry::Vacant(_) => 0,
        };
        if has_share(held, free, share) {
            *entry.or_default() += 1;
        } else {
            drop(places);
            return Err(overloaded(format!(
                "too many in-flight calls of this caller ({held} of {limit}): {free} free calls \
                 are reserved for others"
            )));
        }
        places.taken += 1;
        drop(places);
        Ok(Permit {
            inner: Arc::clone(&self.inner),
            caller,
        })
    }

    /// The number of calls in flight.
    pub fn in_flight(&self) -> usize {
        self.inner.lock().taken
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.in_flight() >= self.inner.limit.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl memory::CallCounts for Admission {
    fn each(&self, tell: &mut dyn FnMut(Caller, usize)) {
        for (caller, places) in &self.inner.lock().by_caller {
            tell(*caller, *places);
        }
    }
}

/// Whether a caller that holds this many permits may have one of those that are free.
fn has_share(held: usize, free: usize, share_percent: u32) -> bool {
    let share = share_percent.min(100);
    let (held, free) = (held as u128, free as u128);
    held * u128::from(100 - share) < free * u128::from(share)
}

fn overloaded(message: String) -> Error {
    let wait = Duration::from_millis(fastrand::u64(PUSHBACK_MS));
    Error::new(Reason::Overloaded, message).with_retry_after(wait)
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = self.inner.lock();
        places.taken = places.taken.saturating_sub(1);
        if let Entry::Occupied(mut held) = places.by_caller.entry(self.caller) {
            match held.get().saturating_sub(1) {
                0 => drop(held.remove()),
                left => drop(held.insert(left)),
            }
        }
    }
}

/// The limits on all calls, and on those whose request is not completely received.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) all: Admission,
    partial: Admission,
}

impl Entrance {
    /// The limits at startup.
    pub(super) fn new(max_in_flight: usize, max_partial: usize, share_percent: u32) -> Self {
        Self {
            all: Admission::new(max_in_flight, share_percent),
            partial: Admission::new(max_partial, PARTIAL_SHARE_PERCENT),
        }
    }

    /// Changes the limits.
    pub(super) fn set_limits(&self, max_in_flight: usize, max_partial: usize, share_percent: u32) {
        self.all.set_limit(max_in_flight, share_percent);
        self.partial.set_limit(max_partial, PARTIAL_SHARE_PERCENT);
    }

    /// Admits a call whose headers have arrived: first by its caller's own limits, then by those of
    /// the gateway, so that callers over their own limits use nothing that is shared.
    pub(super) fn enter(&self, who: &Identity) -> Result<Held, Error> {
        let mut pass = who.enter()?;
        let permits = self.all.admit(who.share).and_then(|permit| {
            let partial = self.partial.admit(who.share)?;
            Ok((permit, partial))
        });
        let (permit, partial) = permits.inspect_err(|_| pass.refund())?;
        Ok(Held(Mutex::new(Some(Entered {
            admitted: (permit, pass),
            _partial: partial,
        }))))
    }

    /// Takes the permits that a call acquired when its headers arrived.
    pub(super) fn take(&self, held: &Held, who: &Identity) -> Result<Admitted, Error> {
        match held.give() {
            Some(admitted) => Ok(admitted),
            // They were taken already.
            None => Ok((self.all.admit(who.share)?, who.enter()?)),
        }
    }
}

/// A permit of all calls, and the call's use of its caller's limits.
pub(super) type Admitted = (Permit, CallerPermit);

/// What a call holds while its request is received.
#[derive(Debug)]
pub struct Held(Mutex<Option<Entered>>);

#[derive(Debug)]
struct Entered {
    admitted: Admitted,
    _partial: Permit,
}

impl Held {
    /// Passes it to the call, whose request was received. `None` if that happened already.
    fn give(&self) -> Option<Admitted> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.take().map(|entered| entered.admitted)
    }
}

/// A permit of all calls, and one of the model's if that is limited.
pub(super) type Permits = (Permit, Option<Permit>);

/// All permits of a call, released when dropped.
pub(super) struct CallPermits {
    pass: CallerPermit,
    _permits: Option<Permits>,
}

impl CallPermits {
    /// The permits of an admitted call.
    pub(super) fn new(permits: Permits, pass: CallerPermit) -> Self {
        Self {
            pass,
            _permits: Some(permits),
        }
    }

    /// The token reservation alone, for the running call: its readers keep their permits and are
    /// charged nothing.
    pub(super) fn take_tokens(&mut self) -> Self {
        Self {
            pass: self.pass.take_tokens(),
            _permits: None,
        }
    }

    /// Charges the caller for the usage reported by DashScope. Without token counts, the estimate
    /// stays.
    pub(super) fn used(&mut self, usage: &Usage) {
        let parts = [usage.input_tokens, usage.output_tokens];
        let sum = || parts.iter().flatten().copied().reduce(i32::saturating_add);
        if let Some(tokens) = usage.total_tokens.or_else(sum) {
            self.pass.settle(u64::try_from(tokens).unwrap_or_default());
        }
    }

    /// Charges the caller for usage of a call that goes on.
    pub(super) fn add(&mut self, tokens: u32) {
        self.pass.add(u64::from(tokens));
    }

    /// Charges the caller for audio of a call that goes on.
    pub(super) fn add_audio(&mut self, seconds: u64) {
        self.pass.add_audio(seconds);
    }

    /// Checks the caller's limits of tokens and audio for a call that goes on.
    pub(super) fn check(&self, model: &str) -> Result<(), Error> {
        self.pass.check(model)
    }

    /// Charges the caller for this estimate of an interrupted answer, at least the reservation.
    pub(super) fn estimated(&mut self, tokens: u64) {
        self.pass.settle(tokens.max(self.pass.reserved()));
    }

    /// Charges the caller nothing: another call was charged, or no model ran.
    pub(super) fn free(&mut self) {
        self.pass.settle(0);
    }

    /// Settles a failed call. If it may have run, it is charged as estimated.
    pub(super) fn failed(&mut self, error: &Error) {
        match error.sent() {
            Sent::No | Sent::Refused => self.free(),
            Sent::Maybe | Sent::Begun => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const ONE: Caller = Caller(1);
    const OTHER: Caller = Caller(2);

    #[test]
    fn a_full_gateway_refuses_at_once_and_a_dropped_permit_frees_its_place() {
        let admission = Admission::new(1, 90);
        let permit = admission.admit(ONE).unwrap();
        assert_eq!(admission.in_flight(), 1);
        let error = admission.admit(OTHER).unwrap_err();
        assert_eq!(error.reason(), Reason::Overloaded);
        assert!(error.retry_after().unwrap() >= Duration::from_millis(50));
        drop(permit);
        admission.admit(OTHER).unwrap();
        assert!(admission.inner.lock().by_caller.is_empty());
    }

    #[test]
    fn a_bound_that_moves_cuts_nobody() {
        let admission = Admission::new(2, 90);
        let permits = [admission.admit(ONE).unwrap(), admission.admit(ONE).unwrap()];
        admission.set_limit(1, 90);
        assert_eq!(admission.in_flight(), 2);
        admission.admit(OTHER).unwrap_err();
        let [first, second] = permits;
        drop(first);
        admission.admit(OTHER).unwrap_err();
        drop(second);
        admission.admit(OTHER).unwrap();
    }

    /// As many permits as this caller gets.
    fn fill(admission: &Admission, caller: Caller) -> Vec<Permit> {
        std::iter::from_fn(|| admission.admit(caller).ok()).collect()
    }

    #[test]
    fn a_caller_alone_takes_its_share_and_leaves_the_rest_to_others() {
        for (limit, share, expected) in [
            (1024, 90, 922),
            (1024, 50, 512),
            (1024, 100, 1024),
            (1024, 1, 11),
            (10, 90, 9),
            (9, 90, 9),
            (2, 50, 1),
            (1, 1, 1),
        ] {
            let admission = Admission::new(limit, share);
            let held = fill(&admission, ONE);
            assert_eq!(held.len(), expected, "{share} % of {limit}");
            if let Some(error) = admission.admit(ONE).err() {
                assert_eq!(error.reason(), Reason::Overloaded);
            }
            let others = fill(&admission, OTHER).len();
            assert_eq!(others > 0, expected < limit, "{share} % of {limit}");
        }
    }

    #[test]
    fn greedy_callers_get_equal_parts_and_a_newcomer_gets_a_place() {
        let admission = Admission::new(1024, 90);
        let mut held: HashMap<u64, Vec<Permit>> = HashMap::new();
        for round in 0..2000 {
            let caller = round % 10;
            held.entry(caller)
                .or_default()
                .extend(admission.admit(Caller(caller)).ok());
        }
        let counts: Vec<_> = held.values().map(Vec::len).collect();
        assert!(
            counts.iter().all(|count| (100..=102).contains(count)),
            "{counts:?}"
        );
        admission.admit(Caller(99)).unwrap();
    }

    /// A hostile caller requests ten times the capacity and never releases a permit; fifty others
    /// hold one permit each for a while. Simulated arrivals.
    #[test]
    fn other_callers_are_never_refused_beside_one_that_requests_ten_times_the_capacity() {
        let admission = Admission::new(1024, 90);
        let hostile = Caller(1000);
        let mut stuck = Vec::new();
        let mut others: Vec<Option<Permit>> = (0..50).map(|_| None).collect();
        let mut refused = 0;
        for step in 0..10_240u64 {
            stuck.extend(admission.admit(hostile).ok());
            let slot = usize::try_from(step % 50).unwrap();
            others[slot] = None;
            match admission.admit(Caller(step % 50)) {
                Ok(permit) => others[slot] = Some(permit),
                Err(_) => refused += 1,
            }
        }
        assert_eq!(refused, 0);
        assert!(stuck.len() > 800, "{}", stuck.len());
    }

    #[test]
    fn a_caller_beyond_its_share_gives_way_as_its_calls_end() {
        let admission = Admission::new(100, 90);
        let mut greedy = fill(&admission, ONE);
        let mut other = fill(&admission, OTHER);
        assert_eq!((greedy.len(), other.len()), (90, 9));
        // Each released permit goes to the first request; both callers request.
        for _ in 0..1000 {
            drop(greedy.swap_remove(0));
            greedy.extend(admission.admit(ONE).ok());
            other.extend(admission.admit(OTHER).ok());
        }
        let apart = greedy.len().abs_diff(other.len());
        assert!(apart <= 10, "{} and {}", greedy.len(), other.len());
    }

    #[test]
    fn requests_that_are_not_received_in_full_have_a_bound_of_their_own() {
        let entrance = Entrance::new(1000, 8, 90);
        let who = |number| {
            let mut identity = Identity::default();
            identity.share = Caller(number);
            identity
        };
        let mut held: Vec<_> = (0..4).map(|_| entrance.enter(&who(1)).unwrap()).collect();
        let error = entrance.enter(&who(1)).unwrap_err();
        assert_eq!(error.reason(), Reason::Overloaded);
        assert_eq!(
            entrance.all.in_flight(),
            4,
            "what is refused takes no place"
        );
        held.push(entrance.enter(&who(2)).unwrap());
        // Once received, a request counts only among all calls.
        let running: Vec<_> = held
            .iter()
            .map(|held| entrance.take(held, &who(1)).unwrap())
            .collect();
        held.extend((0..4).map(|_| entrance.enter(&who(1)).unwrap()));
        drop((held, running));
        assert_eq!(entrance.all.in_flight(), 0);
        assert_eq!(entrance.partial.in_flight(), 0);
    }
}
