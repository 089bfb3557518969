//! The ownership of a call in the store by this replica.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use crate::conversations::errors;
use crate::conversations::turn::encode_usage;
use crate::error::{Error, Reason};
use crate::store::Store;
use crate::store::calls::{CallKey, Owned};
use crate::store::turn::TurnEnd;

use super::replay_log::UsageSoFar;
use super::stored_error;
use super::table::Idempotency;

/// The ownership of a call. Dropped before its end, it removes the call, so that it can be made
/// again at once; a turn of a stored conversation is cancelled then.
pub(super) struct Ownership {
    store: Store,
    owned: Option<Owned>,
    usage: Option<UsageSoFar>,
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
            usage: None,
            once: once.clone(),
            cancel: Arc::clone(cancel),
        }
    }

    /// What the call is written under, until it is lost or has ended.
    pub(super) fn owned(&self) -> Option<&Owned> {
        self.owned.as_ref()
    }

    /// Sets the source of the usage so far.
    pub(super) fn counted_by(&mut self, usage: UsageSoFar) {
        self.usage = Some(usage);
    }

    /// Stores the error of the call. If that fails, the call is removed, or ends with its lease.
    pub(super) async fn failed(&mut self, error: &Error) {
        let Some(owned) = &self.owned else {
            return;
        };
        let end = match error.reason() == Reason::CallCancelled {
            true => TurnEnd::Cancelled,
            false => TurnEnd::Failed(error.reason().name()),
        };
        let usage = encode_usage(error.usage().map(|usage| &**usage)).unwrap_or_default();
        let stored = stored_error::encode(error);
        let ended = self.store.end(owned, Some(&stored), (end, &usage)).await;
        if ended.is_err() {
            return;
        }
        if let Some(owned) = self.owned.take()
            && end == TurnEnd::Cancelled
        {
            // CancelTurn ended it before without knowing its usage.
            let _ = self.store.loss(&owned, &usage).await;
        }
    }

    /// Leaves the call, because this replica does not own it any more. Returns the error if it is a
    /// turn that was deleted or cancelled.
    pub(super) async fn lost(&mut self) -> Option<Error> {
        let owned = self.owned.take()?;
        let loss = self.store.loss(&owned, &self.usage_so_far()).await;
        loss.ok().and_then(errors::lost)
    }

    fn usage_so_far(&self) -> Vec<u8> {
        let usage = self.usage.as_ref().and_then(|usage| usage());
        encode_usage(usage.as_deref()).unwrap_or_default()
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
            let usage = self.usage_so_far();
            let store = self.store.clone();
            // If it fails, the call ends with its lease.
            runtime.spawn(async move {
                let end = (TurnEnd::Cancelled, usage.as_slice());
                store.end(&owned, None, end).await
            });
        }
    }
}
