//! Deletion of conversations and turns, with all that belongs to them.

use std::time::Duration;

use sqlx::AnyConnection;
use tokio::time::Instant;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::conversations::LOCK;
use super::media::TurnRange;
use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::turns::{HEAD_UNEXPIRED, MAX_TURNS};
use super::{Engine, Store};

/// How many expired conversations are deleted at once.
const SWEEP: i64 = 50;

/// How much is deleted in one transaction: SQLite has one writer at a time, for which all other
/// callers wait, and overwrites what it deletes.
const STEP_TURNS: i64 = 500;
const STEP_BYTES: i64 = 8 << 20;

/// The longest pause between two such transactions.
const STEP_PAUSE: Duration = Duration::from_millis(200);

/// What is left after a transaction of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// There was no such conversation.
    NotFound,
    /// Turns of a conversation that is not found any more.
    Turns,
    /// Nothing.
    Nothing,
}

/// With their fences: a request id may have been used again, after a turn that failed.
const DELETE_EVENTS: Statement = statement!(
    "DELETE FROM call_events WHERE tenant = $1 AND (request_id, fence) IN (
       SELECT request_id, fence FROM turns WHERE tenant = $1 AND conversation = $2
         AND number BETWEEN $3 AND $4 AND request_id <> '')"
);

const DELETE_CALLS: Statement = statement!(
    "DELETE FROM calls WHERE tenant = $1 AND (request_id, fence) IN (
       SELECT request_id, fence FROM turns WHERE tenant = $1 AND conversation = $2
         AND number BETWEEN $3 AND $4 AND request_id <> '')"
);

const DELETE_TURNS: Statement = statement!(
    "DELETE FROM turns WHERE tenant = $1 AND conversation = $2 AND number BETWEEN $3 AND $4"
);

/// The latest turns with the bytes that are deleted with each.
const SIZES: Statement = statement!(
    "SELECT number, length(messages) + length(answer) + media_bytes FROM turns
     WHERE tenant = $1 AND conversation = $2 ORDER BY number DESC LIMIT $3"
);

const HIDE: Statement =
    statement!("UPDATE conversations SET expires = 0, running = '' WHERE tenant = $1 AND id = $2");

const DELETE: Statement = statement!("DELETE FROM conversations WHERE tenant = $1 AND id = $2");

const LOCK_EXPIRED: Statement = statement!(
    "SELECT 1 + 0 * numbered FROM conversations WHERE tenant = $1 AND id = $2 AND expires <= " now
    lock
);

/// Not one with a turn that runs.
const EXPIRED: Statement = statement!(
    "SELECT tenant, id FROM conversations
     WHERE expires < " now " AND (running = '' OR NOT EXISTS (
       SELECT 1 FROM calls c WHERE c.tenant = conversations.tenant AND c.request_id = running
         AND c.fence = running_fence AND c.state = 0 AND c.lease_until >= " now "))
     ORDER BY expires LIMIT $1"
);

impl Store {
    /// Deletes a conversation with its turns, media and stored answers. A turn that runs loses its
    /// call. Returns false if there is no such conversation.
    pub async fn delete_conversation(&self, of: (&Tenant, &str)) -> Result<bool, Error> {
        let deleted = self.delete_locked(of, LOCK).await?;
        if deleted {
            self.compact().await;
        }
        Ok(deleted)
    }

    /// Deletes a conversation that has expired.
    pub(super) async fn delete_expired(&self, of: (&Tenant, &str)) -> Result<bool, Error> {
        self.delete_locked(of, LOCK_EXPIRED).await
    }

    /// Deletes in steps. After the first one, the conversation is not found, and has expired: if
    /// this replica stops, the next sweep deletes what is left.
    async fn delete_locked(&self, of: (&Tenant, &str), lock: Statement) -> Result<bool, Error> {
        let mut left = self.delete_step(of, lock).await?;
        let deleted = left != Left::NotFound;
        while left == Left::Turns {
            left = self.delete_step(of, LOCK_EXPIRED).await?;
        }
        Ok(deleted)
    }

    /// A step of a deletion. If turns are left, it ends with a pause as long as the step, so that
    /// other callers can write.
    async fn delete_step(&self, of: (&Tenant, &str), lock: Statement) -> Result<Left, Error> {
        let begun = Instant::now();
        let left = self.delete_latest(of, lock).await?;
        if left == Left::Turns {
            tokio::time::sleep(begun.elapsed().min(STEP_PAUSE)).await;
        }
        Ok(left)
    }

    /// Deletes the latest turns, as many as fit into a transaction. So the turn that runs, which is
    /// the latest, is deleted first.
    async fn delete_latest(
        &self,
        (tenant, id): (&Tenant, &str),
        lock: Statement,
    ) -> Result<Left, Error> {
        let mut committing = false;
        repeat!(self, "delete_latest", connection, {
            let mut transaction = self.write(connection).await?;
            if !self.lock(&mut transaction, lock, (tenant, id)).await? {
                transaction.rollback().await?;
                // If the transaction was committed unnoticed, the next step finds what is left.
                return Ok(if committing {
                    Left::Turns
                } else {
                    Left::NotFound
                });
            }
            let sizes = sqlx::query_as::<_, (i64, i64)>(SIZES.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(STEP_TURNS)
                .fetch_all(&mut *transaction)
                .await?;
            let first = first_of_step(&sizes);
            let turns = TurnRange {
                tenant,
                conversation: id,
                numbers: (first, MAX_TURNS),
            };
            self.delete_turns(&mut transaction, turns).await?;
            let (then, left) = match first {
                0 => (DELETE, Left::Nothing),
                _ => (HIDE, Left::Turns),
            };
            sqlx::query(then.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            committing = true;
            transaction.commit().await?;
            Ok(left)
        })
    }

    /// Deletes turns with their media, and with the records and stored answers of their calls.
    pub(super) async fn delete_turns(
        &self,
        connection: &mut AnyConnection,
        turns: TurnRange<'_>,
    ) -> Result<(), sqlx::Error> {
        for statement in [DELETE_EVENTS, DELETE_CALLS] {
            self.for_turns(connection, statement, turns).await?;
        }
        self.release_media(connection, turns).await?;
        self.for_turns(connection, DELETE_TURNS, turns).await
    }

    /// Deletes one turn. Returns the request id of the turn if it runs, and then nothing is
    /// deleted; `None` if there is no such turn.
    pub async fn delete_turn(
        &self,
        (tenant, id): (&Tenant, &str),
        number: i64,
    ) -> Result<Option<String>, Error> {
        let turns = TurnRange {
            tenant,
            conversation: id,
            numbers: (number, number),
        };
        let mut committing = false;
        let deleted = repeat!(self, "delete_turn", connection, {
            let mut transaction = self.write(connection).await?;
            let head = self
                .head(&mut transaction, HEAD_UNEXPIRED, (tenant, id))
                .await?;
            let Some((.., running, fence, running_turn)) = head else {
                transaction.rollback().await?;
                return Ok(None);
            };
            if running_turn == number && !running.is_empty() {
                let call = (tenant, running.as_str(), fence);
                if self.is_running(&mut transaction, call).await? {
                    transaction.rollback().await?;
                    return Ok(Some(running));
                }
            }
            if !self.has_turn(&mut transaction, turns).await? {
                transaction.rollback().await?;
                // The transaction may have been committed unnoticed.
                return Ok(committing.then(String::new));
            }
            self.delete_turns(&mut transaction, turns).await?;
            self.recount(&mut transaction, (tenant, id)).await?;
            committing = true;
            transaction.commit().await?;
            Ok(Some(String::new()))
        })?;
        if deleted.as_ref().is_some_and(String::is_empty) {
            self.compact().await;
        }
        Ok(deleted)
    }

    /// Deletes expired conversations, a bounded number, and of each one step. Returns whether there
    /// may be more.
    pub(super) async fn sweep_conversations(&self) -> Result<bool, Error> {
        let expired = repeat!(self, "sweep_conversations", connection, {
            sqlx::query_as::<_, (Vec<u8>, String)>(EXPIRED.text(self.engine))
                .bind(SWEEP)
                .fetch_all(&mut *connection)
                .await
        })?;
        let mut more = i64::try_from(expired.len()).is_ok_and(|count| count == SWEEP);
        for (tenant, id) in &expired {
            let Ok(tenant) = <[u8; 32]>::try_from(tenant.as_slice()).map(Tenant) else {
                continue;
            };
            more |= self.delete_step((&tenant, id), LOCK_EXPIRED).await? == Left::Turns;
        }
        if !expired.is_empty() {
            self.compact().await;
        }
        Ok(more)
    }

    /// Removes what was deleted from SQLite's log, which is written over only later. If a reader
    /// prevents it, the next sweep or deletion does it.
    async fn compact(&self) {
        if self.engine == Engine::Sqlite {
            let truncated = repeat!(self, "compact", connection, {
                let text = "PRAGMA wal_checkpoint(TRUNCATE)";
                sqlx::query(text).execute(connection).await
            });
            if let Err(error) = truncated {
                tracing::debug!(%error, "the log of the store is not truncated yet");
            }
        }
    }
}

/// The number of the first turn to delete, of these latest ones with their sizes; 0: all turns.
fn first_of_step(sizes: &[(i64, i64)]) -> i64 {
    let (mut first, mut bytes) = (0, 0_i64);
    for (number, size) in sizes {
        if first > 0 && bytes.saturating_add(*size) > STEP_BYTES {
            return first;
        }
        (first, bytes) = (*number, bytes.saturating_add(*size));
    }
    match i64::try_from(sizes.len()).is_ok_and(|count| count < STEP_TURNS) {
        true => 0,
        false => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_a_bounded_number_of_bytes_and_turns() {
        let mib = 1 << 20;
        assert_eq!(first_of_step(&[]), 0);
        assert_eq!(first_of_step(&[(3, mib), (2, mib)]), 0);
        assert_eq!(first_of_step(&[(3, 5 * mib), (2, 4 * mib), (1, 1)]), 3);
        // A turn that is larger than a step is deleted alone.
        assert_eq!(first_of_step(&[(3, 40 * mib), (2, 1)]), 3);
        assert_eq!(first_of_step(&[(1, 40 * mib)]), 0);
        let many: Vec<_> = (1..=STEP_TURNS).rev().map(|n| (n + 7, 1)).collect();
        assert_eq!(first_of_step(&many), 8);
    }
}
