//! The end of calls: with an answer, with an error, or because they were given up.

use std::time::Duration;

use sqlx::{AnyConnection, Connection};

use crate::error::Error;

use super::call_statements::{FAIL, FINISH, FORGET, FORGET_EVENTS};
use super::calls::{Batch, COMPLETE, Owned, TOO_LONG};
use super::repeat::repeat;
use super::turn::Answered;
use super::{Store, millis};

/// How long the error of a failed call is kept, for replicas that follow it.
const KEEP_ERROR: Duration = Duration::from_secs(30);

impl Store {
    /// Ends a call that has succeeded, with its last events; without any, its answer was too long.
    /// The turn of a stored conversation ends with it. Returns whether this replica still owned it;
    /// otherwise nothing was written.
    pub async fn complete(
        &self,
        owned: &Owned,
        last: &[Batch],
        keep: Duration,
        answered: Option<&Answered>,
    ) -> Result<bool, Error> {
        repeat!(self, "complete", {
            let mut connection = self.pool.acquire().await?;
            let mut transaction = connection.begin_with(self.begin_text()).await?;
            let complete = self.try_complete(&mut transaction, owned, (last, keep, answered));
            if !complete.await? {
                transaction.rollback().await?;
                return Ok(false);
            }
            transaction.commit().await?;
            Ok(true)
        })
    }

    async fn try_complete(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
        (last, keep, answered): (&[Batch], Duration, Option<&Answered>),
    ) -> Result<bool, sqlx::Error> {
        if let Some(answered) = answered
            && !self.complete_turn(connection, owned, answered).await?
        {
            return Ok(false);
        }
        let state = if last.is_empty() { TOO_LONG } else { COMPLETE };
        let done = sqlx::query(FINISH.text(self.engine))
            .bind(owned.key.tenant.as_bytes())
            .bind(&*owned.key.request_id)
            .bind(&*owned.owner)
            .bind(owned.fence)
            .bind(state)
            .bind(millis(keep))
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for batch in last {
            self.try_append(&mut *connection, owned, batch).await?;
        }
        if last.is_empty() {
            self.delete_events(connection, owned).await?;
        }
        Ok(true)
    }

    /// Ends a call that has failed. It can be made again at once; replicas that follow it find the
    /// error.
    pub async fn fail(&self, owned: &Owned, error: &[u8]) -> Result<(), Error> {
        repeat!(self, "fail", {
            let mut connection = self.pool.acquire().await?;
            self.try_fail(&mut connection, owned, error).await
        })
    }

    /// The same, in a transaction.
    pub(super) async fn try_fail(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
        error: &[u8],
    ) -> Result<(), sqlx::Error> {
        let done = sqlx::query(FAIL.text(self.engine))
            .bind(owned.key.tenant.as_bytes())
            .bind(&*owned.key.request_id)
            .bind(&*owned.owner)
            .bind(owned.fence)
            .bind(millis(KEEP_ERROR))
            .bind(error)
            .execute(connection)
            .await;
        done.map(drop)
    }

    /// Removes a call that was given up, so that it can be made again.
    pub async fn forget(&self, owned: &Owned) -> Result<(), Error> {
        repeat!(self, "forget", {
            let mut connection = self.pool.acquire().await?;
            let mut transaction = connection.begin_with(self.begin_text()).await?;
            self.try_forget(&mut transaction, owned).await?;
            transaction.commit().await
        })
    }

    /// The same, in a transaction: the events of the next owner come after it.
    pub(super) async fn try_forget(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
    ) -> Result<(), sqlx::Error> {
        let done = sqlx::query(FORGET.text(self.engine))
            .bind(owned.key.tenant.as_bytes())
            .bind(&*owned.key.request_id)
            .bind(&*owned.owner)
            .bind(owned.fence)
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() == 1 {
            self.delete_events(connection, owned).await?;
        }
        Ok(())
    }

    /// Deletes the events of this owner, and of earlier ones.
    async fn delete_events(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
    ) -> Result<(), sqlx::Error> {
        let done = sqlx::query(FORGET_EVENTS.text(self.engine))
            .bind(owned.key.tenant.as_bytes())
            .bind(&*owned.key.request_id)
            .bind(owned.fence)
            .execute(connection)
            .await;
        done.map(drop)
    }
}
