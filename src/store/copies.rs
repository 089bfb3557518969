//! Copies of conversations.

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::Store;
use super::conversations::LOCK;
use super::media::TurnRange;
use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::turns::MAX_TURNS;

const COPY: Statement = statement!(
    "INSERT INTO conversations (tenant, id, model, labels, ttl, created, updated, expires, numbered,
       last_turn, turns, system_turn, running, running_fence, running_turn)
     SELECT tenant, $3, model, labels, ttl, " now ", " now ", ttl + " now ", 0, 0, 0, 0, '', 0, 0
     FROM conversations WHERE tenant = $1 AND id = $2
     ON CONFLICT DO NOTHING"
);

const COPY_TURNS: Statement = statement!(
    "INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system, model,
       reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
     SELECT tenant, $3, number, '', 0, state, system, model, reason, tokens, bytes, media_bytes,
       created, ended, usage, messages, answer
     FROM turns WHERE tenant = $1 AND conversation = $2 AND state = 1 AND number <= $4"
);

/// A count for each, because PostgreSQL, which knows nothing of rows that were just inserted, may
/// execute a join by comparing each with each.
const COPY_MEDIA: Statement = statement!(
    "INSERT INTO turn_media (tenant, conversation, number, digest)
     SELECT m.tenant, $3, m.number, m.digest FROM turn_media m
     WHERE m.tenant = $1 AND m.conversation = $2 AND (
       SELECT count(*) FROM turns t
       WHERE t.tenant = $1 AND t.conversation = $3 AND t.number = m.number) > 0"
);

/// What follows from the turns that there are.
const RECOUNT: Statement = statement!(
    "UPDATE conversations SET
       turns = (SELECT count(*) FROM turns t
         WHERE t.tenant = $1 AND t.conversation = $2 AND t.state = 1),
       last_turn = (SELECT coalesce(max(number), 0) FROM turns t
         WHERE t.tenant = $1 AND t.conversation = $2 AND t.state = 1),
       system_turn = (SELECT coalesce(max(number), 0) FROM turns t
         WHERE t.tenant = $1 AND t.conversation = $2 AND t.state = 1 AND t.system = 1),
       numbered = (SELECT CASE WHEN coalesce(max(number), 0) > numbered
         THEN coalesce(max(number), 0) ELSE numbered END FROM turns t
         WHERE t.tenant = $1 AND t.conversation = $2)
     WHERE tenant = $1 AND id = $2"
);

/// The bytes of a history that are copied in one transaction, which other callers wait for with
/// SQLite, and which has a time limit.
const MAX_COPY: i64 = 16 << 20;

const SIZE: Statement = statement!(
    "SELECT CAST(coalesce(sum(length(messages) + length(answer)), 0) AS BIGINT) FROM turns
     WHERE tenant = $1 AND conversation = $2 AND state = 1 AND number <= $3"
);

/// What became of an attempt to copy a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// It was copied.
    Done,
    /// There is no such conversation.
    NotFound,
    /// There is one with the new id.
    Exists,
    /// Its history is larger than is copied.
    TooLong,
}

impl Store {
    /// Copies a conversation with its history up to this turn.
    pub async fn copy_conversation(
        &self,
        (tenant, id): (&Tenant, &str),
        new_id: &str,
        last_turn: i64,
    ) -> Result<Copied, Error> {
        self.delete_expired((tenant, new_id)).await?;
        let mut committing = false;
        repeat!(self, "copy_conversation", connection, {
            let mut transaction = self.write(connection).await?;
            if !self.lock(&mut transaction, LOCK, (tenant, id)).await? {
                transaction.rollback().await?;
                return Ok(Copied::NotFound);
            }
            let size = sqlx::query_scalar::<_, i64>(SIZE.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(last_turn)
                .fetch_one(&mut *transaction)
                .await?;
            if size > MAX_COPY {
                transaction.rollback().await?;
                return Ok(Copied::TooLong);
            }
            let copied = sqlx::query(COPY.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(new_id)
                .execute(&mut *transaction)
                .await?;
            if copied.rows_affected() == 0 {
                transaction.rollback().await?;
                // If the transaction was committed unnoticed, it is the copy.
                return Ok(if committing {
                    Copied::Done
                } else {
                    Copied::Exists
                });
            }
            sqlx::query(COPY_TURNS.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(new_id)
                .bind(last_turn)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(COPY_MEDIA.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(new_id)
                .execute(&mut *transaction)
                .await?;
            let copies = TurnRange {
                tenant,
                conversation: new_id,
                numbers: (0, MAX_TURNS),
            };
            self.copy_media_uses(&mut transaction, copies).await?;
            self.recount(&mut transaction, (tenant, new_id)).await?;
            committing = true;
            transaction.commit().await?;
            Ok(Copied::Done)
        })
    }

    /// Sets what follows from the turns that there are.
    pub(super) async fn recount(
        &self,
        connection: &mut AnyConnection,
        (tenant, id): (&Tenant, &str),
    ) -> Result<(), sqlx::Error> {
        let done = sqlx::query(RECOUNT.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .execute(connection)
            .await;
        done.map(drop)
    }
}
