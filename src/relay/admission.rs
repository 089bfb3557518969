//! How many calls are in flight. Beyond the bound a call is refused at once: nothing queues here,
//! so nothing queues without bound.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Reason};

/// The least and the most that a refused caller is asked to wait: long enough for another replica
/// to be tried first, spread so that refused callers do not return together.
const PUSHBACK_MS: std::ops::Range<u64> = 50..500;

/// The bound. It can be moved while calls are in flight: more than the new bound are never cut.
#[derive(Clone, Debug)]
pub struct Admission {
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    in_flight: AtomicUsize,
    limit: AtomicUsize,
}

/// A place in flight. Dropping it frees the place.
#[derive(Debug)]
pub struct Permit {
    counts: Arc<Counts>,
}

/// A place that is held for a call while it is read.
#[derive(Debug)]
pub struct Held(Mutex<Option<Permit>>);

impl Held {
    /// Holds this place.
    pub fn new(permit: Permit) -> Self {
        Self(Mutex::new(Some(permit)))
    }

    /// Gives it to the call, which was read. None if it was given away already.
    pub fn give(&self) -> Option<Permit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Admission {
    /// A bound of this many calls.
    pub fn new(limit: usize) -> Self {
        let counts = Counts {
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        };
        Self {
            counts: Arc::new(counts),
        }
    }

    /// Moves the bound.
    pub fn set_limit(&self, limit: usize) {
        self.counts.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes a place, or refuses at once.
    pub fn admit(&self) -> Result<Permit, Error> {
        let limit = self.counts.limit.load(Ordering::Relaxed);
        let add = |count: usize| (count < limit).then_some(count + 1);
        let in_flight = &self.counts.in_flight;
        match in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Permit {
                counts: Arc::clone(&self.counts),
            }),
            Err(_) => {
                let wait = Duration::from_millis(fastrand::u64(PUSHBACK_MS));
                let message = "the gateway has as many calls in flight as it takes";
                Err(Error::new(Reason::Overloaded, message).with_retry_after(wait))
            }
        }
    }

    /// How many calls are in flight now.
    pub fn in_flight(&self) -> usize {
        self.counts.in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_house_refuses_at_once_and_a_dropped_permit_frees_its_place() {
        let admission = Admission::new(1);
        let permit = admission.admit().unwrap();
        assert_eq!(admission.in_flight(), 1);
        let error = admission.admit().unwrap_err();
        assert_eq!(error.reason(), Reason::Overloaded);
        assert!(error.retry_after().unwrap() >= Duration::from_millis(50));
        drop(permit);
        admission.admit().unwrap();
    }

    #[test]
    fn a_bound_that_moves_cuts_nobody() {
        let admission = Admission::new(2);
        let permits = [admission.admit().unwrap(), admission.admit().unwrap()];
        admission.set_limit(1);
        assert_eq!(admission.in_flight(), 2);
        admission.admit().unwrap_err();
        let [first, second] = permits;
        drop(first);
        admission.admit().unwrap_err();
        drop(second);
        admission.admit().unwrap();
    }
}
