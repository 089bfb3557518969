//! Readers of running calls at other replicas than their owners.

use std::time::Duration;

use crate::error::Error;

use super::call_statements::{FOLLOW, FOLLOWED};
use super::calls::CallKey;
use super::repeat::repeat;
use super::{Store, millis};

impl Store {
    /// Records that a running call is read at this replica, which does not own it.
    pub async fn follow(&self, key: &CallKey) -> Result<(), Error> {
        repeat!(self, "follow", connection, {
            let done = sqlx::query(FOLLOW.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&*key.request_id)
                .execute(connection)
                .await;
            done.map(drop)
        })
    }

    /// Whether a running call was read at another replica within this time.
    pub async fn is_followed(&self, key: &CallKey, within: Duration) -> Result<bool, Error> {
        repeat!(self, "is_followed", connection, {
            let count = sqlx::query_scalar::<_, i64>(FOLLOWED.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&*key.request_id)
                .bind(millis(within))
                .fetch_one(connection)
                .await?;
            Ok(count > 0)
        })
    }
}
