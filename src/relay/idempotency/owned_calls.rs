//! The calls of the store that this replica runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::calls::CallKey;

/// The calls of the store that this replica runs, and what ends each.
#[derive(Default)]
pub(super) struct OwnedCalls(Mutex<HashMap<CallKey, Arc<Notify>>>);

impl OwnedCalls {
    fn lock(&self) -> MutexGuard<'_, HashMap<CallKey, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call, which this ends.
    pub(super) fn add(&self, key: CallKey, cancel: Arc<Notify>) {
        self.lock().insert(key, cancel);
    }

    /// Removes a call, unless a later one has the same key.
    pub(super) fn remove(&self, key: &CallKey, cancel: &Arc<Notify>) {
        let mut calls = self.lock();
        if calls.get(key).is_some_and(|held| Arc::ptr_eq(held, cancel)) {
            calls.remove(key);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends a call, if it is there. Returns whether it is.
    pub(super) fn cancel(&self, key: &CallKey) -> bool {
        let calls = self.lock();
        let cancel = calls.get(key);
        cancel.inspect(|cancel| cancel.notify_one()).is_some()
    }
}
