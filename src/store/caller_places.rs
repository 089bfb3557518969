//! How many connections of the pool one caller uses at the same time to manage conversations, so
//! that a caller who lists or copies all day leaves connections to the calls of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::chat::call::Tenant;

/// The part of the connections that one caller uses.
const PART: u32 = 4;

/// How many callers are remembered before those without a place are forgotten.
const FORGET_ABOVE: usize = 64;

/// The places of all callers. Each entry lives as long as its caller has a place or waits for one.
#[derive(Debug)]
pub(super) struct CallerPlaces {
    most: usize,
    callers: Mutex<HashMap<Tenant, Weak<Semaphore>>>,
}

impl CallerPlaces {
    /// For a pool with this many connections.
    pub(super) fn new(max_connections: u32) -> Self {
        let most = (max_connections / PART).max(1);
        Self {
            most: usize::try_from(most).unwrap_or(1),
            callers: Mutex::default(),
        }
    }

    /// Waits for a place of this caller. It is free again when it is dropped.
    pub(super) async fn take(&self, tenant: &Tenant) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.of(tenant).acquire_owned().await.ok()
    }

    fn of(&self, tenant: &Tenant) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = callers.get(tenant).and_then(Weak::upgrade) {
            return places;
        }
        if callers.len() >= FORGET_ABOVE {
            callers.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(self.most));
        callers.insert(*tenant, Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_quarter_of_the_connections() {
        for (connections, most) in [(1, 1), (4, 1), (10, 2), (1000, 250)] {
            let places = CallerPlaces::new(connections);
            assert_eq!(places.of(&Tenant([1; 32])).available_permits(), most);
        }
    }

    #[test]
    fn callers_without_a_place_are_forgotten() {
        let places = CallerPlaces::new(10);
        let kept = places.of(&Tenant([255; 32]));
        let permit = kept.try_acquire().unwrap();
        for number in 0..200 {
            places.of(&Tenant([number; 32]));
        }
        assert_eq!(places.of(&Tenant([255; 32])).available_permits(), 1);
        assert!(places.callers.lock().unwrap().len() <= FORGET_ABOVE);
        drop(permit);
    }
}
