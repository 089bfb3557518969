//! The end of turns: with an answer, with an error, or from outside.

use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::batches::COMPLETE_TURN;
use super::calls::{Batch, CallKey, Owned};
use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::turn::{Answered, Loss, OwnedTurn, TurnEnd};
use super::turns::{CANCELLED, COMPLETE, HEAD, HEAD_UNEXPIRED, Head};
use super::{Store, millis};

const STATE: Statement = statement!(
    "SELECT state FROM turns
     WHERE tenant = $1 AND conversation = $2 AND number = $3 AND request_id = $4"
);

const BEGUN: Statement = statement!(
    "SELECT conversations.running_fence, conversations.running_turn FROM conversations, calls
     WHERE conversations.tenant = $1 AND conversations.id = $2 AND conversations.running = $3
       AND calls.tenant = $1 AND calls.request_id = $3 AND calls.owner = $4 AND calls.state = 0
       AND calls.fence = conversations.running_fence"
);

const ANSWER: Statement = statement!(
    "UPDATE turns SET state = 1, ended = " now ", usage = $4, answer = $5, tokens = tokens + $6,
       bytes = bytes + $7, media_bytes = media_bytes + $8
     WHERE tenant = $1 AND conversation = $2 AND number = $3"
);

/// A live session may have appended later turns meanwhile.
const ADVANCE: Statement = statement!(
    "UPDATE conversations SET running = '', turns = turns + 1,
       last_turn = CASE WHEN last_turn < $3 THEN $3 ELSE last_turn END,
       system_turn = CASE WHEN system_turn < $3 AND (SELECT system FROM turns
         WHERE tenant = $1 AND conversation = $2 AND number = $3) = 1 THEN $3 ELSE system_turn END,
       updated = " now ", expires = ttl + " now "
     WHERE tenant = $1 AND id = $2"
);

const RELEASE: Statement = statement!(
    "UPDATE conversations SET running = '', updated = " now ", expires = ttl + " now "
     WHERE tenant = $1 AND id = $2"
);

const CANCEL_CALL: Statement = statement!(
    "UPDATE calls SET state = 3, expires = 30000 + " now ", error = $4
     WHERE tenant = $1 AND request_id = $2 AND fence = $3 AND state = 0"
);

const SET_USAGE: Statement = statement!(
    "UPDATE turns SET usage = $5
     WHERE tenant = $1 AND conversation = $2 AND number = $3 AND request_id = $4
       AND state = 3 AND length(usage) = 0"
);

impl Store {
    /// Ends a turn with its answer. Returns false if this replica does not run it.
    pub(super) async fn complete_turn(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
        answered: &Answered,
    ) -> Result<bool, sqlx::Error> {
        let (tenant, Some(turn)) = (&owned.key.tenant, &owned.turn) else {
            return Ok(false);
        };
        let id = &*turn.conversation;
        let Some(head) = self.head(connection, HEAD, (tenant, id)).await? else {
            return Ok(false);
        };
        if !is_head_of(&head, owned) {
            // The transaction may have been committed unnoticed.
            return Ok(self.turn_state(connection, owned).await? == Some(COMPLETE));
        }
        let message = &answered.message;
        sqlx::query(ANSWER.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .bind(turn.number)
            .bind(answered.usage.as_slice())
            .bind(message.bytes.as_slice())
            .bind(message.tokens)
            .bind(message.byte_count())
            .bind(message.media_byte_count())
            .execute(&mut *connection)
            .await?;
        let of = (tenant, id, turn.number);
        self.add_media(connection, of, &message.media).await?;
        sqlx::query(ADVANCE.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .bind(turn.number)
            .execute(connection)
            .await?;
        Ok(true)
    }

    /// Ends a call with its last events and its turn with this answer, which has no media. Returns
    /// whether both ran; otherwise nothing has changed.
    pub(super) async fn complete_turn_at_once(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
        (last, keep, answered): (&Batch, Duration, &Answered),
    ) -> Result<bool, sqlx::Error> {
        let Some(turn) = &owned.turn else {
            return Ok(false);
        };
        let message = &answered.message;
        let _writer = self.pool.writer().await;
        let done = sqlx::query_scalar::<_, i64>(COMPLETE_TURN.text(self.engine))
            .bind(owned.key.tenant.as_bytes())
            .bind(&*owned.key.request_id)
            .bind(&*owned.owner)
            .bind(owned.fence)
            .bind(COMPLETE)
            .bind(millis(keep))
            .bind(last.first)
            .bind(last.events.as_slice())
            .bind(&*turn.conversation)
            .bind(turn.number)
            .bind(answered.usage.as_slice())
            .bind(message.bytes.as_slice())
            .bind(message.tokens)
            .bind(message.byte_count())
            .bind(message.media_byte_count())
            .fetch_all(connection)
            .await?;
        Ok(!done.is_empty())
    }

    /// The turn that this owner has begun, if it runs.
    pub async fn begun_turn(
        &self,
        (key, owner): (&CallKey, &Arc<str>),
        conversation: &Arc<str>,
    ) -> Result<Option<Owned>, Error> {
        let row = repeat!(self, "begun_turn", connection, {
            sqlx::query_as::<_, (i64, i64)>(BEGUN.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&**conversation)
                .bind(&*key.request_id)
                .bind(&**owner)
                .fetch_optional(&mut *connection)
                .await
        })?;
        Ok(row.map(|(fence, number)| Owned {
            key: key.clone(),
            owner: Arc::clone(owner),
            fence,
            turn: Some(OwnedTurn {
                conversation: Arc::clone(conversation),
                number,
                turns_before: 0,
                system_turn: 0,
            }),
        }))
    }

    /// The state of the turn of a call, if it exists.
    async fn turn_state(
        &self,
        connection: &mut AnyConnection,
        owned: &Owned,
    ) -> Result<Option<i64>, sqlx::Error> {
        let Some(turn) = &owned.turn else {
            return Ok(None);
        };
        sqlx::query_scalar::<_, i64>(STATE.text(self.engine))
            .bind(owned.key.tenant.as_bytes())
            .bind(&*turn.conversation)
            .bind(turn.number)
            .bind(&*owned.key.request_id)
            .fetch_optional(connection)
            .await
    }

    /// Ends a call without an answer. A turn is no part of the history then, and the call can be
    /// made again. With an error, replicas that follow the call find it.
    pub async fn end(
        &self,
        owned: &Owned,
        error: Option<&[u8]>,
        (end, usage): (TurnEnd, &[u8]),
    ) -> Result<(), Error> {
        let Some(turn) = &owned.turn else {
            return match error {
                Some(error) => self.fail(owned, error).await,
                None => self.forget(owned).await,
            };
        };
        let (tenant, id) = (&owned.key.tenant, &*turn.conversation);
        repeat!(self, "end", connection, {
            let mut transaction = self.write(connection).await?;
            let head = self.head(&mut transaction, HEAD, (tenant, id)).await?;
            match error {
                Some(error) => self.try_fail(&mut transaction, owned, error).await?,
                None => self.try_forget(&mut transaction, owned).await?,
            }
            if head.is_some_and(|head| is_head_of(&head, owned)) {
                let row = (tenant, id, turn.number);
                self.end_row(&mut transaction, row, end, usage).await?;
                self.release(&mut transaction, (tenant, id)).await?;
            }
            transaction.commit().await
        })
    }

    async fn release(
        &self,
        connection: &mut AnyConnection,
        (tenant, id): (&Tenant, &str),
    ) -> Result<(), sqlx::Error> {
        let done = sqlx::query(RELEASE.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .execute(connection)
            .await;
        done.map(drop)
    }

    /// Cancels the turn that runs, or only the one with this request id; replicas that follow its
    /// call find this error. Returns its request id; empty if none runs, `None` if there is no such
    /// conversation.
    pub async fn cancel_turn(
        &self,
        (tenant, id): (&Tenant, &str),
        request_id: &str,
        error: &[u8],
    ) -> Result<Option<String>, Error> {
        let mut committing = String::new();
        repeat!(self, "cancel_turn", connection, {
            let mut transaction = self.write(connection).await?;
            let head = self.head(&mut transaction, HEAD_UNEXPIRED, (tenant, id));
            let Some((.., running, fence, number)) = head.await? else {
                transaction.rollback().await?;
                return Ok(None);
            };
            let is_other = !request_id.is_empty() && request_id != running;
            if running.is_empty() || is_other {
                transaction.rollback().await?;
                // The transaction may have been committed unnoticed.
                return Ok(Some(committing.clone()));
            }
            sqlx::query(CANCEL_CALL.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(running.as_str())
                .bind(fence)
                .bind(error)
                .execute(&mut *transaction)
                .await?;
            let row = (tenant, id, number);
            self.end_row(&mut transaction, row, TurnEnd::Cancelled, &[])
                .await?;
            self.release(&mut transaction, (tenant, id)).await?;
            committing.clone_from(&running);
            transaction.commit().await?;
            Ok(Some(running))
        })
    }

    /// Why this replica has lost a turn. The usage so far of one that was cancelled is stored.
    pub async fn loss(&self, owned: &Owned, usage: &[u8]) -> Result<Loss, Error> {
        let Some(turn) = &owned.turn else {
            return Ok(Loss::Lease);
        };
        repeat!(self, "loss", connection, {
            sqlx::query(SET_USAGE.text(self.engine))
                .bind(owned.key.tenant.as_bytes())
                .bind(&*turn.conversation)
                .bind(turn.number)
                .bind(&*owned.key.request_id)
                .bind(usage)
                .execute(&mut *connection)
                .await?;
            Ok(match self.turn_state(connection, owned).await? {
                None => Loss::Deleted,
                Some(CANCELLED) => Loss::Cancelled,
                Some(_) => Loss::Lease,
            })
        })
    }
}

/// Whether the turn that runs is this one.
fn is_head_of((.., running, fence, number): &Head, owned: &Owned) -> bool {
    let turn = owned.turn.as_ref().map(|turn| turn.number);
    **running == *owned.key.request_id && *fence == owned.fence && turn == Some(*number)
}
