//! Readers of running calls at other replicas than their owners.

use std::time::Duration;

use crate::error::Error;

use super::Store;
use super::call_statements::{FOLLOW, FOLLOWED};
use super::calls::CallKey;
use super::repeat::repeat;

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

    /// How long ago a running call was read at another replica; `None` if it never was.
    pub async fn followed(&self, key: &CallKey) -> Result<Option<Duration>, Error> {
        repeat!(self, "followed", connection, {
            let ago = sqlx::query_scalar::<_, i64>(FOLLOWED.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&*key.request_id)
                .fetch_optional(connection)
                .await?;
            Ok(ago.map(|ago| Duration::from_millis(ago.try_into().unwrap_or_default())))
        })
    }
}
