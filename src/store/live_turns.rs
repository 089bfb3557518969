//! Turns of live sessions: they are stored when they have ended, and have no record of a call.

use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::turn::{Answered, Refusal, StoredContent, TurnEnd};
use super::turns::{COMPLETE, MAX_TURNS, state_of, unexpected};
use super::{Store, millis};

/// A conversation that a session continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// When it was created: another one may have its id later.
    pub created: i64,
    /// The number of its latest turn.
    pub last_turn: i64,
    /// The number of turns of its history.
    pub turns: i64,
    /// The latest turn of the history with instructions; 0: none.
    pub system_turn: i64,
}

/// A turn that has ended.
#[derive(Clone, Debug)]
pub struct EndedTurn {
    /// The conversation.
    pub conversation: Arc<str>,
    /// When the conversation was created.
    pub created: i64,
    /// A number before that of the turn, if the turn is stored already.
    pub after: i64,
    /// The id of the turn in place of a request id. Calls have a fence and this turn has none, so a
    /// call may have the same id.
    pub id: String,
    /// The model.
    pub model: Arc<str>,
    /// The new messages.
    pub messages: StoredContent,
    /// Whether some of them are instructions.
    pub has_system: bool,
    /// The answer, empty if there is none.
    pub answered: Answered,
    /// How it ended without an answer.
    pub failed: Option<TurnEnd>,
    /// How long it took.
    pub took: Duration,
}

const OPEN: Statement = statement!(
    "SELECT created, last_turn, turns, system_turn, numbered FROM conversations
     WHERE tenant = $1 AND id = $2 AND expires > " now
);

const LOCK: Statement = statement!(
    "SELECT numbered, last_turn FROM conversations
     WHERE tenant = $1 AND id = $2 AND created = $3 AND expires > " now lock
);

const FIND: Statement = statement!(
    "SELECT number FROM turns WHERE tenant = $1 AND conversation = $2 AND number > $3
       AND fence = 0 AND request_id = $4"
);

const INSERT: Statement = statement!(
    "INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system, model,
       reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
     VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8, $9, $10, $11, " now " - $12, " now ", $13, $14,
       $15)"
);

/// The turn is the latest, also if one that began before it runs.
const ADVANCE: Statement = statement!(
    "UPDATE conversations SET numbered = $3, last_turn = $3, turns = turns + 1,
       system_turn = CASE WHEN (SELECT system FROM turns
         WHERE tenant = $1 AND conversation = $2 AND number = $3) = 1 THEN $3 ELSE system_turn END,
       updated = " now ", expires = ttl + " now "
     WHERE tenant = $1 AND id = $2"
);

const ADVANCE_FAILED: Statement = statement!(
    "UPDATE conversations SET numbered = $3, updated = " now ", expires = ttl + " now "
     WHERE tenant = $1 AND id = $2"
);

impl Store {
    /// The conversation that a session continues, whose latest turn is to be the expected one.
    pub async fn open_conversation(
        &self,
        (tenant, id): (&Tenant, &str),
        expected: Option<i64>,
    ) -> Result<Result<Opened, Refusal>, Error> {
        let row = repeat!(self, "open_conversation", connection, {
            sqlx::query_as::<_, (i64, i64, i64, i64, i64)>(OPEN.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .fetch_optional(&mut *connection)
                .await
        })?;
        let Some((created, last_turn, turns, system_turn, numbered)) = row else {
            return Ok(Err(Refusal::NotFound));
        };
        if let Some(refusal) = unexpected(expected, last_turn, numbered) {
            return Ok(Err(refusal));
        }
        Ok(Ok(Opened {
            created,
            last_turn,
            turns,
            system_turn,
        }))
    }

    /// Appends a turn that has ended, once. Returns its number.
    pub async fn append_turn(
        &self,
        tenant: &Tenant,
        turn: &EndedTurn,
    ) -> Result<Result<i64, Refusal>, Error> {
        repeat!(self, "append_turn", connection, {
            let mut transaction = self.write(connection).await?;
            let row = sqlx::query_as::<_, (i64, i64)>(LOCK.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(&*turn.conversation)
                .bind(turn.created)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some((numbered, last_turn)) = row else {
                transaction.rollback().await?;
                return Ok(Err(Refusal::NotFound));
            };
            // The transaction may have been committed unnoticed.
            if let Some(number) = self.find_turn(&mut transaction, tenant, turn).await? {
                transaction.rollback().await?;
                return Ok(Ok(number));
            }
            let refusal = match numbered {
                // The session knows a turn that was acknowledged by a store that had more.
                _ if numbered < turn.after => Some(Refusal::Regressed(last_turn)),
                MAX_TURNS.. => Some(Refusal::TooLong),
                _ => None,
            };
            if let Some(refusal) = refusal {
                transaction.rollback().await?;
                return Ok(Err(refusal));
            }
            let number = numbered + 1;
            self.insert_ended(&mut transaction, tenant, (number, turn))
                .await?;
            transaction.commit().await?;
            Ok(Ok(number))
        })
    }

    async fn find_turn(
        &self,
        connection: &mut AnyConnection,
        tenant: &Tenant,
        turn: &EndedTurn,
    ) -> Result<Option<i64>, sqlx::Error> {
        sqlx::query_scalar::<_, i64>(FIND.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(&*turn.conversation)
            .bind(turn.after)
            .bind(turn.id.as_str())
            .fetch_optional(connection)
            .await
    }

    async fn insert_ended(
        &self,
        connection: &mut AnyConnection,
        tenant: &Tenant,
        (number, turn): (i64, &EndedTurn),
    ) -> Result<(), sqlx::Error> {
        let (messages, answer) = (&turn.messages, &turn.answered.message);
        let (state, reason) = turn.failed.map_or((COMPLETE, ""), state_of);
        sqlx::query(INSERT.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(&*turn.conversation)
            .bind(number)
            .bind(turn.id.as_str())
            .bind(state)
            .bind(i64::from(turn.has_system))
            .bind(&*turn.model)
            .bind(reason)
            .bind(messages.tokens + answer.tokens)
            .bind(messages.byte_count() + answer.byte_count())
            .bind(messages.media_byte_count() + answer.media_byte_count())
            .bind(millis(turn.took))
            .bind(turn.answered.usage.as_slice())
            .bind(messages.bytes.as_slice())
            .bind(answer.bytes.as_slice())
            .execute(&mut *connection)
            .await?;
        let advance = match turn.failed {
            None => ADVANCE,
            Some(_) => ADVANCE_FAILED,
        };
        let done = sqlx::query(advance.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(&*turn.conversation)
            .bind(number)
            .execute(connection)
            .await;
        done.map(drop)
    }
}
