//! Deletion of conversations and turns, with all that belongs to them.

use sqlx::{AnyConnection, Connection};

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

/// How many turns are deleted in one transaction, which has a time limit.
const TURNS_AT_ONCE: i64 = 1000;

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

/// The number of the turn before the latest ones, which one transaction deletes.
const FLOOR: Statement = statement!(
    "SELECT number FROM turns WHERE tenant = $1 AND conversation = $2
     ORDER BY number DESC LIMIT 1 OFFSET $3"
);

const EXPIRE: Statement =
    statement!("UPDATE conversations SET expires = 0, running = '' WHERE tenant = $1 AND id = $2");

const DELETE_TURNS: Statement = statement!(
    "DELETE FROM turns WHERE tenant = $1 AND conversation = $2 AND number BETWEEN $3 AND $4"
);

const DELETE: Statement = statement!("DELETE FROM conversations WHERE tenant = $1 AND id = $2");

const LOCK_EXPIRED: Statement = statement!(
    "SELECT 1 + 0 * numbered FROM conversations WHERE tenant = $1 AND id = $2 AND expires <= " now
    lock
);

/// Not one with a turn that runs: its lease is at most five minutes.
const EXPIRED: Statement = statement!(
    "SELECT tenant, id FROM conversations
     WHERE expires < " now " AND (running = '' OR updated < " now " - 86400000)
     ORDER BY expires LIMIT $1"
);

/// What one transaction has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    /// There is no such conversation.
    Nothing,
    /// Its latest turns, and others are left.
    Turns,
    /// The conversation, with all turns that were left.
    Conversation,
}

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

    async fn delete_locked(&self, of: (&Tenant, &str), lock: Statement) -> Result<bool, Error> {
        let first = self.delete_latest(of, lock).await?;
        let mut last = first;
        while last == Deleted::Turns {
            last = self.delete_latest(of, LOCK_EXPIRED).await?;
        }
        Ok(first != Deleted::Nothing)
    }

    /// Deletes the latest turns of a conversation, and with the first ones the conversation. Until
    /// then it has expired; if this replica does not continue, the next sweep does.
    async fn delete_latest(
        &self,
        (tenant, id): (&Tenant, &str),
        lock: Statement,
    ) -> Result<Deleted, Error> {
        repeat!(self, "delete_latest", {
            let mut connection = self.pool.acquire().await?;
            let mut transaction = connection.begin_with(self.begin_text()).await?;
            if !self.lock(&mut transaction, lock, (tenant, id)).await? {
                transaction.rollback().await?;
                return Ok(Deleted::Nothing);
            }
            let floor = sqlx::query_scalar::<_, i64>(FLOOR.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(TURNS_AT_ONCE)
                .fetch_optional(&mut *transaction)
                .await?;
            let turns = TurnRange {
                tenant,
                conversation: id,
                numbers: (floor.map_or(0, |floor| floor + 1), MAX_TURNS),
            };
            self.delete_turns(&mut transaction, turns).await?;
            let (statement, deleted) = match floor {
                Some(_) => (EXPIRE, Deleted::Turns),
                None => (DELETE, Deleted::Conversation),
            };
            sqlx::query(statement.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(deleted)
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
        let deleted = repeat!(self, "delete_turn", {
            let mut connection = self.pool.acquire().await?;
            let mut transaction = connection.begin_with(self.begin_text()).await?;
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
                return Ok(None);
            }
            self.delete_turns(&mut transaction, turns).await?;
            self.recount(&mut transaction, (tenant, id)).await?;
            transaction.commit().await?;
            Ok(Some(String::new()))
        })?;
        if deleted.as_ref().is_some_and(String::is_empty) {
            self.compact().await;
        }
        Ok(deleted)
    }

    /// Deletes expired conversations, a bounded number. Returns whether there may be more.
    pub(super) async fn sweep_conversations(&self) -> Result<bool, Error> {
        let expired = repeat!(self, "sweep_conversations", {
            sqlx::query_as::<_, (Vec<u8>, String)>(EXPIRED.text(self.engine))
                .bind(SWEEP)
                .fetch_all(&self.pool)
                .await
        })?;
        for (tenant, id) in &expired {
            let Ok(tenant) = <[u8; 32]>::try_from(tenant.as_slice()).map(Tenant) else {
                continue;
            };
            self.delete_expired((&tenant, id)).await?;
        }
        if !expired.is_empty() {
            self.compact().await;
        }
        Ok(i64::try_from(expired.len()).is_ok_and(|count| count == SWEEP))
    }

    /// Removes what was deleted from SQLite's log, which is written over only later. If a reader
    /// prevents it, the next sweep or deletion does it.
    async fn compact(&self) {
        if self.engine == Engine::Sqlite {
            let text = "PRAGMA wal_checkpoint(TRUNCATE)";
            if let Err(error) = sqlx::query(text).execute(&self.pool).await {
                tracing::debug!(%error, "the log of the store is not truncated yet");
            }
        }
    }
}
