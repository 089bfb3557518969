//! Turns of conversations: they begin and end with their calls, in the same transactions.
//!
//! A transaction that changes turns locks the row of their conversation first. Not more than one
//! turn of a conversation runs; that it runs is true as long as its call does.

use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::batches::BEGIN_TURN;
use super::calls::CallKey;
use super::media::TurnRange;
use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::turn::{NewTurn, OwnedTurn, Refusal, TurnEnd};
use super::{Store, millis};

/// The maximum number of turns of a conversation, those that failed included.
pub(super) const MAX_TURNS: i64 = 100_000;

/// The states of a turn.
pub(super) const COMPLETE: i64 = 1;
const FAILED: i64 = 2;
pub(super) const CANCELLED: i64 = 3;

/// The columns of a conversation that decide about its turns.
pub(super) type Head = (i64, i64, i64, i64, String, i64, i64);

pub(super) const HEAD: Statement = statement!(
    "SELECT numbered, last_turn, turns, system_turn, running, running_fence, running_turn
     FROM conversations WHERE tenant = $1 AND id = $2" lock
);

pub(super) const HEAD_UNEXPIRED: Statement = statement!(
    "SELECT numbered, last_turn, turns, system_turn, running, running_fence, running_turn
     FROM conversations WHERE tenant = $1 AND id = $2 AND expires > " now lock
);

const IS_RUNNING: Statement = statement!(
    "SELECT count(*) FROM calls WHERE tenant = $1 AND request_id = $2 AND fence = $3 AND state = 0
     AND lease_until >= " now
);

const INSERT: Statement = statement!(
    "INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system, model,
       reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
     VALUES ($1, $2, $3, $4, $5, 0, $6, $7, '', $8, $9, $10, " now ", 0, $11, $12, $11)"
);

const RUN: Statement = statement!(
    "UPDATE conversations SET running = $3, running_fence = $4, running_turn = $5,
       numbered = CASE WHEN numbered < $5 THEN $5 ELSE numbered END,
       updated = " now ", expires = ttl + " now "
     WHERE tenant = $1 AND id = $2"
);

const END: Statement = statement!(
    "UPDATE turns SET state = $4, reason = $5, ended = " now ", usage = $6
     WHERE tenant = $1 AND conversation = $2 AND number = $3 AND state = 0"
);

/// Why the turn after `expected` cannot begin, if it cannot.
pub(super) fn unexpected(expected: Option<i64>, last: i64, numbered: i64) -> Option<Refusal> {
    match expected {
        // Numbers are never given twice: the turn was acknowledged by a store that had more.
        Some(expected) if expected > numbered => Some(Refusal::Regressed(last)),
        Some(expected) if expected != last => Some(Refusal::Stale(last)),
        Some(_) | None => None,
    }
}

impl Store {
    /// Begins a call and its turn. `Ok(None)`: the call was made before.
    pub(super) async fn begin_turn(
        &self,
        key: &CallKey,
        owner: &str,
        call: (&[u8], Duration),
        turn: &NewTurn,
    ) -> Result<Result<Option<(i64, OwnedTurn)>, Refusal>, Error> {
        repeat!(self, "begin_turn", connection, {
            let at_once = (key, owner, call);
            if let Some(begun) = self.begin_at_once(connection, at_once, turn).await? {
                return Ok(Ok(Some(begun)));
            }
            let mut transaction = self.write(connection).await?;
            let begun = self
                .try_begin_turn(&mut transaction, key, (owner, call), turn)
                .await?;
            match begun {
                Ok(Some(_)) => transaction.commit().await?,
                Ok(None) | Err(_) => transaction.rollback().await?,
            }
            Ok(begun)
        })
    }

    /// The same with one statement, if no turn runs. `None`: nothing has changed.
    async fn begin_at_once(
        &self,
        connection: &mut AnyConnection,
        (key, owner, (fingerprint, keep)): (&CallKey, &str, (&[u8], Duration)),
        turn: &NewTurn,
    ) -> Result<Option<(i64, OwnedTurn)>, sqlx::Error> {
        let messages = &turn.messages;
        if !messages.media.is_empty() {
            return Ok(None);
        }
        let _writer = self.pool.writer().await;
        let begun = sqlx::query_as::<_, (i64, i64, i64, i64)>(BEGIN_TURN.text(self.engine))
            .bind(key.tenant.as_bytes())
            .bind(&*key.request_id)
            .bind(fingerprint)
            .bind(owner)
            .bind(millis(self.lease))
            .bind(millis(keep))
            .bind(self.owners().0)
            .bind(&*turn.conversation)
            .bind(turn.expected.unwrap_or(-1))
            .bind(MAX_TURNS)
            .bind(i64::from(turn.has_system))
            .bind(&*turn.model)
            .bind(messages.tokens)
            .bind(messages.byte_count())
            .bind(messages.media_byte_count())
            .bind(messages.bytes.as_slice())
            .bind([].as_slice())
            .fetch_all(connection)
            .await?;
        let begun = begun.first();
        Ok(begun.map(|&(fence, number, turns_before, system_turn)| {
            let conversation = Arc::clone(&turn.conversation);
            let owned = OwnedTurn {
                conversation,
                number,
                turns_before,
                system_turn,
            };
            (fence, owned)
        }))
    }

    async fn try_begin_turn(
        &self,
        connection: &mut AnyConnection,
        key: &CallKey,
        (owner, call): (&str, (&[u8], Duration)),
        turn: &NewTurn,
    ) -> Result<Result<Option<(i64, OwnedTurn)>, Refusal>, sqlx::Error> {
        let (tenant, id) = (&key.tenant, &*turn.conversation);
        let head = self.head(connection, HEAD_UNEXPIRED, (tenant, id)).await?;
        let Some(head) = head else {
            return Ok(Err(Refusal::NotFound));
        };
        let (numbered, last, turns_before, system_turn, running, running_fence, running_turn) =
            head;
        let begun = self.try_begin(connection, key, owner, call).await?;
        let Some(fence) = begun else {
            return Ok(Ok(None));
        };
        let is_again = *running == *key.request_id;
        if !running.is_empty() && !is_again {
            let running_call = (tenant, running.as_str(), running_fence);
            if self.is_running(connection, running_call).await? {
                return Ok(Err(Refusal::Busy(running)));
            }
            let end = TurnEnd::Failed("OWNER_LOST");
            self.end_row(connection, (tenant, id, running_turn), end, &[])
                .await?;
        }
        if let Some(refusal) = unexpected(turn.expected, last, numbered) {
            return Ok(Err(refusal));
        }
        let number = if is_again { running_turn } else { numbered + 1 };
        if number > MAX_TURNS {
            return Ok(Err(Refusal::TooLong));
        }
        if is_again {
            // Its replica is gone. The call may have other content now.
            let numbers = (number, number);
            let conversation = id;
            let again = TurnRange {
                tenant,
                conversation,
                numbers,
            };
            self.delete_turns(connection, again).await?;
        }
        self.insert_turn(connection, (key, fence), (number, turn))
            .await?;
        sqlx::query(RUN.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .bind(&*key.request_id)
            .bind(fence)
            .bind(number)
            .execute(&mut *connection)
            .await?;
        let conversation = Arc::clone(&turn.conversation);
        let owned = OwnedTurn {
            conversation,
            number,
            turns_before,
            system_turn,
        };
        Ok(Ok(Some((fence, owned))))
    }

    async fn insert_turn(
        &self,
        connection: &mut AnyConnection,
        (key, fence): (&CallKey, i64),
        (number, turn): (i64, &NewTurn),
    ) -> Result<(), sqlx::Error> {
        let messages = &turn.messages;
        sqlx::query(INSERT.text(self.engine))
            .bind(key.tenant.as_bytes())
            .bind(&*turn.conversation)
            .bind(number)
            .bind(&*key.request_id)
            .bind(fence)
            .bind(i64::from(turn.has_system))
            .bind(&*turn.model)
            .bind(messages.tokens)
            .bind(messages.byte_count())
            .bind(messages.media_byte_count())
            .bind([].as_slice())
            .bind(messages.bytes.as_slice())
            .execute(&mut *connection)
            .await?;
        let of = (&key.tenant, &*turn.conversation, number);
        self.add_media(connection, of, &messages.media).await
    }

    /// The state of a conversation, whose row is locked.
    pub(super) async fn head(
        &self,
        connection: &mut AnyConnection,
        statement: Statement,
        (tenant, id): (&Tenant, &str),
    ) -> Result<Option<Head>, sqlx::Error> {
        sqlx::query_as::<_, Head>(statement.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .fetch_optional(connection)
            .await
    }

    /// Whether a call runs. A statement of its own, because the row of the conversation may have
    /// changed while its lock was awaited.
    pub(super) async fn is_running(
        &self,
        connection: &mut AnyConnection,
        (tenant, request_id, fence): (&Tenant, &str, i64),
    ) -> Result<bool, sqlx::Error> {
        let count = sqlx::query_scalar::<_, i64>(IS_RUNNING.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(request_id)
            .bind(fence)
            .fetch_one(connection)
            .await?;
        Ok(count > 0)
    }

    /// Sets the end of a turn that runs.
    pub(super) async fn end_row(
        &self,
        connection: &mut AnyConnection,
        (tenant, id, number): (&Tenant, &str, i64),
        end: TurnEnd,
        usage: &[u8],
    ) -> Result<(), sqlx::Error> {
        let (state, reason) = state_of(end);
        let done = sqlx::query(END.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .bind(number)
            .bind(state)
            .bind(reason)
            .bind(usage)
            .execute(connection)
            .await;
        done.map(drop)
    }
}

/// The state and the reason of a turn that ended without an answer.
pub(super) fn state_of(end: TurnEnd) -> (i64, &'static str) {
    match end {
        TurnEnd::Failed(reason) => (FAILED, reason),
        TurnEnd::Cancelled => (CANCELLED, ""),
    }
}
