//! The exchange with other replicas of what rate limits accounts have.

use std::sync::Arc;

use super::Relay;

impl Relay {
    /// Shares with other replicas what rate limits accounts have, until it is dropped.
    pub async fn share_rates(&self) {
        let accounts = Arc::clone(&self.plan().asker.accounts);
        accounts.share().await;
    }
}
