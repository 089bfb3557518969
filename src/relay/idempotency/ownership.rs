//! The ownership of a call in the store by this replica.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use crate::store::Store;
use crate::store::calls::{CallKey, Owned};

use super::table::Idempotency;

/// The ownership of a call. Dropped before its end, it removes the call, so that it can be made
/// again at once.
pub(super) struct Ownership {
    store: Store,
    owned: Option<Owned>,
    once: Weak<Idempotency>,
    key: CallKey,
    /// Ends the call.
    cancel: Arc<Notify>,
}

impl Ownership {
    /// The ownership of a call that was begun, which `cancel` ends.
    pub(super) fn new(
        store: &Store,
        once: &Weak<Idempotency>,
        owned: Owned,
        cancel: &Arc<Notify>,
    ) -> Self {
        if let Some(once) = once.upgrade() {
            once.owned.add(owned.key.clone(), Arc::clone(cancel));
        }
        Self {
            store: store.clone(),
            key: owned.key.clone(),
            owned: Some(owned),
            once: once.clone(),
            cancel: Arc::clone(cancel),
        }
    }

    /// What the call is written under, until it is lost or has ended.
    pub(super) fn owned(&self) -> Option<&Owned> {
        self.owned.as_ref()
    }

    /// Leaves the call in the store as it is.
    pub(super) fn leave(&mut self) {
        self.owned = None;
    }

    /// Waits until the call is cancelled.
    pub(super) async fn cancelled(&self) {
        self.cancel.notified().await;
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if let Some(once) = self.once.upgrade() {
            once.owned.remove(&self.key, &self.cancel);
        }
        if let Some(owned) = self.owned.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let store = self.store.clone();
            // If it fails, the call ends with its lease.
            runtime.spawn(async move { store.forget(&owned).await });
        }
    }
}
