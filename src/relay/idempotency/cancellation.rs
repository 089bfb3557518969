//! Cancellation of calls by their request id, on whichever replica they run.

use std::sync::Arc;
use std::time::Duration;

use crate::callers::Identity;
use crate::error::{Error, Reason};
use crate::store::calls::CallKey;

use crate::relay::Relay;

use super::table::Idempotency;

/// How often a replica that runs calls of the store looks for those that are to end.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Relay {
    /// Cancels a running call of this caller by its request id.
    pub async fn cancel(&self, who: &Identity, request_id: &Arc<str>) -> Result<(), Error> {
        self.inner.once.cancel(who, request_id).await
    }

    /// Ends calls that were cancelled at another replica, until it is dropped.
    pub async fn watch_cancellations(&self) {
        self.inner.once.watch_cancellations().await;
    }
}

impl Idempotency {
    /// Cancels a running call of this caller.
    async fn cancel(&self, who: &Identity, request_id: &Arc<str>) -> Result<(), Error> {
        let key = CallKey {
            tenant: who.tenant,
            request_id: Arc::clone(request_id),
        };
        if self.owned.cancel(&key) {
            return Ok(());
        }
        let here = {
            let table = self.lock();
            let entry = table.entries.get(&(who.caller, Arc::clone(request_id)));
            let running = entry.filter(|entry| entry.expires.is_none());
            running.map(|entry| (Arc::clone(&entry.cancel), entry.log.is_replayed()))
        };
        // It runs without a store, or it is not known yet whether it runs here or elsewhere.
        let mut is_running = false;
        if let Some((cancel, false)) = here {
            cancel.notify_one();
            is_running = true;
        }
        if let Some(store) = self.store() {
            is_running |= store.cancel(&key).await?;
        }
        match is_running {
            true => Ok(()),
            false => {
                let message = "no call with this request_id is running";
                Err(Error::new(Reason::CallNotFound, message))
            }
        }
    }

    /// Ends the calls of this replica that were cancelled elsewhere, until it is dropped.
    async fn watch_cancellations(&self) {
        let Some(store) = self.store() else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            if self.owned.is_empty() {
                continue;
            }
            // An error is found by the calls themselves.
            for key in store.cancelled().await.unwrap_or_default() {
                self.owned.cancel(&key);
            }
        }
    }
}
