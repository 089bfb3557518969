//! How many calls are in flight. Beyond the bound a call is refused at once: nothing queues here,
//! so nothing queues without bound.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Reason};

/// The least and the most that a refused caller is asked to wait: long enough for another replica
/// to be tried first, spread so that refused callers do not return together.
const PUSHBACK_MS: std::ops::Range<u64> = 50..500;

/// The bound.
#[derive(Clone, Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
}

/// A place in flight. Dropping it frees the place.
#[derive(Debug)]
pub struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Admission {
    /// A bound of this many calls.
    pub fn new(limit: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    /// Takes a place, or refuses at once.
    pub fn admit(&self) -> Result<Permit, Error> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(Permit { _place: place }),
            Err(_) => {
                let wait = Duration::from_millis(fastrand::u64(PUSHBACK_MS));
                let message = "the gateway has as many calls in flight as it takes";
                Err(Error::new(Reason::Overloaded, message).with_retry_after(wait))
            }
        }
    }

    /// How many calls are in flight now.
    pub fn in_flight(&self) -> usize {
        self.limit.saturating_sub(self.places.available_permits())
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
}
