//! The stored conversations of a relay.

use crate::callers::Identity;
use crate::conversations::Conversations;
use crate::conversations::errors::not_found;
use crate::error::Error;
use crate::relay::Relay;
use crate::store::calls::CallKey;

use super::{refusals, stored_error};

impl Relay {
    /// The stored conversations, if there is a store.
    pub fn conversations(&self) -> Option<&Conversations> {
        self.inner.once.conversations()
    }

    /// Cancels the turn of a stored conversation that runs, or only the one with this request id.
    /// Returns its request id; empty if none runs.
    pub async fn cancel_turn(
        &self,
        who: &Identity,
        conversation: &str,
        request_id: &str,
    ) -> Result<String, Error> {
        let once = &self.inner.once;
        let Some(store) = once.store() else {
            return Err(not_found());
        };
        let error = stored_error::encode(&refusals::cancelled());
        let of = (&who.tenant, conversation);
        let cancelled = store.cancel_turn(of, request_id, &error).await?;
        let cancelled = cancelled.ok_or_else(not_found)?;
        // Its replica notices soon; if it is this one, at once.
        once.owned.cancel(&CallKey {
            tenant: who.tenant,
            request_id: cancelled.as_str().into(),
        });
        Ok(cancelled)
    }
}
