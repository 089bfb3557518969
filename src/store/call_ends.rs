//! The end of calls: with an answer, with an error, or because they were given up.

use std::time::Duration;

use sqlx::AnyConnection;

use crate::error::Error;

use super::batches::COMPLETE as COMPLETE_CALL;
use super::call_statements::{ADD, FAIL, FINISH, FORGET, FORGET_EVENTS};
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
        repeat!(self, "complete", connection, {
            let at_once = (owned, (last, keep, answered));
            if let Some(complete) = self.complete_at_once(connection, at_once).await? {
                return Ok(complete);
            }
            let mut transaction = self.write(connection).await?;
            let complete = self.try_complete(&mut transaction, owned, (last, keep, answered));
            if !complete.await? {
                transaction.rollback().await?;
                return Ok(false);
            }
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// The same with one statement. `None`: it takes more of them.
    async fn complete_at_once(
        &self,
        connection: &mut AnyConnection,
        (owned, (last, keep, answered)): (&Owned, (&[Batch], Duration, Option<&Answered>)),
    ) -> Result<Option<bool>, sqlx::Error> {
        let [last] = last else {
            return Ok(None);
        };
        match answered {
            Some(answered) if answered.message.media.is_empty() => {
                let end = (last, keep, answered);
                let complete = self.complete_turn_at_once(connection, owned, end).await?;
                Ok(complete.then_some(true))
            }
            Some(_) => Ok(None),
            None => {
                let _writer = self.pool.writer().await;
                let fences = sqlx::query_scalar::<_, i64>(COMPLETE_CALL.text(self.engine))
                    .bind(owned.key.tenant.as_bytes())
                    .bind(&*owned.key.request_id)
                    .bind(&*owned.owner)
                    .bind(owned.fence)
                    .bind(COMPLETE)
                    .bind(millis(keep))
                    .bind(last.first)
                    .bind(last.events.as_slice())
                    .fetch_all(connection)
                    .await?;
                Ok(Some(!fences.is_empty()))
            }
        }
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
            self.add_events(&mut *connection, owned, batch).await?;
        }
        if last.is_empty() {
            self.delete_events(connection, owned).await?;
        }
        Ok(true)
    }

    async fn add_events(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
        batch: &Batch,
    ) -> Result<(), sqlx::Error> {
        let done = sqlx::query(ADD.text(self.engine))
            .bind(owned.key.tenant.as_bytes())
            .bind(&*owned.key.request_id)
            .bind(owned.fence)
            .bind(batch.first)
            .bind(&*batch.events)
            .execute(connection)
            .await;
        done.map(drop)
    }

    /// Ends a call that has failed. It can be made again at once; replicas that follow it find the
    /// error.
    pub async fn fail(&self, owned: &Owned, error: &[u8]) -> Result<(), Error> {
        repeat!(self, "fail", connection, {
            self.try_fail(connection, owned, error).await
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
        repeat!(self, "forget", connection, {
            let mut transaction = self.write(connection).await?;
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
