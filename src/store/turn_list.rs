//! Turns as they are read: pages of them, and the history of a call.

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::Store;
use super::media::TurnRange;
use super::repeat::repeat;
use super::statement::{Statement, statement};

/// A turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRow {
    /// Its number.
    pub number: i64,
    /// The request id of its call, or empty.
    pub request_id: String,
    /// Its state.
    pub state: TurnState,
    /// Its model.
    pub model: String,
    /// When it began, in milliseconds since 1970.
    pub created: i64,
    /// When it ended; 0: not yet.
    pub ended: i64,
    /// Its usage, or empty.
    pub usage: Vec<u8>,
    /// Its new messages.
    pub messages: Vec<u8>,
    /// Its answer, or empty.
    pub answer: Vec<u8>,
}

/// The state of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnState {
    /// It runs, or its replica is gone.
    Running,
    /// It has an answer.
    Complete,
    /// It failed, for the reason of this name.
    Failed(String),
    /// It was cancelled.
    Cancelled,
}

/// The size of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnSize {
    /// Its number.
    pub number: i64,
    /// Its estimated tokens.
    pub tokens: i64,
    /// The bytes of its messages.
    pub bytes: i64,
    /// The bytes of its media.
    pub media_bytes: i64,
}

/// A turn of the history as it is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatestTurn {
    /// Its size.
    pub size: TurnSize,
    /// Its messages, if they are small.
    pub content: Option<TurnContent>,
}

/// The messages of a turn of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnContent {
    /// Its number.
    pub number: i64,
    /// Its new messages.
    pub messages: Vec<u8>,
    /// Its answer.
    pub answer: Vec<u8>,
}

type Row = (
    i64,
    String,
    i64,
    String,
    String,
    i64,
    i64,
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
);

type SizeRow = (i64, i64, i64, i64);

type LatestRow = (i64, i64, i64, i64, Vec<u8>, Vec<u8>);

const PAGE: Statement = statement!(
    "SELECT number, tokens, bytes + length(model), media_bytes FROM turns
     WHERE tenant = $1 AND conversation = $2 AND number > $3 ORDER BY number LIMIT $4"
);

const PAGE_BACK: Statement = statement!(
    "SELECT number, tokens, bytes + length(model), media_bytes FROM turns
     WHERE tenant = $1 AND conversation = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
);

const TURNS: Statement = statement!(
    "SELECT number, request_id, state, model, reason, created, ended, usage, messages, answer
     FROM turns WHERE tenant = $1 AND conversation = $2 AND number BETWEEN $3 AND $4
     ORDER BY number"
);

const LATEST: Statement = statement!(
    "SELECT number, tokens, bytes, media_bytes,
       CASE WHEN bytes <= $4 THEN messages ELSE $5 END,
       CASE WHEN bytes <= $4 THEN answer ELSE $5 END
     FROM turns WHERE tenant = $1 AND conversation = $2 AND state = 1 AND number < $6
     ORDER BY number DESC LIMIT $3"
);

const CONTENTS: Statement = statement!(
    "SELECT number, messages, answer FROM turns
     WHERE tenant = $1 AND conversation = $2 AND state = 1 AND number BETWEEN $3 AND $4
     ORDER BY number"
);

const HAS_TURN: Statement = statement!(
    "SELECT count(*) FROM turns
     WHERE tenant = $1 AND conversation = $2 AND number BETWEEN $3 AND $4"
);

impl Store {
    /// The turns with numbers in this range.
    pub async fn turns(
        &self,
        (tenant, id): (&Tenant, &str),
        (first, last): (i64, i64),
    ) -> Result<Vec<TurnRow>, Error> {
        let rows = repeat!(self, "turns", connection, {
            sqlx::query_as::<_, Row>(TURNS.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(first)
                .bind(last)
                .fetch_all(&mut *connection)
                .await
        })?;
        Ok(rows.into_iter().map(turn_row).collect())
    }

    /// The sizes of the turns after this number, or before it with `newest_first`.
    pub async fn page_sizes(
        &self,
        (tenant, id): (&Tenant, &str),
        (from, newest_first): (i64, bool),
        limit: i64,
    ) -> Result<Vec<TurnSize>, Error> {
        let statement = if newest_first { PAGE_BACK } else { PAGE };
        let rows = repeat!(self, "page_sizes", connection, {
            sqlx::query_as::<_, SizeRow>(statement.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(from)
                .bind(limit)
                .fetch_all(&mut *connection)
                .await
        })?;
        Ok(rows.into_iter().map(turn_size).collect())
    }

    /// The latest turns of the history before this number, the latest first; with their messages,
    /// if those have at most this many bytes.
    pub async fn latest_turns(
        &self,
        (tenant, id): (&Tenant, &str),
        (before, limit, small): (i64, i64, i64),
    ) -> Result<Vec<LatestTurn>, Error> {
        let rows = repeat!(self, "latest_turns", connection, {
            sqlx::query_as::<_, LatestRow>(LATEST.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(limit)
                .bind(small)
                .bind([].as_slice())
                .bind(before)
                .fetch_all(connection)
                .await
        })?;
        let turn = |(number, tokens, bytes, media_bytes, messages, answer): LatestRow| LatestTurn {
            size: turn_size((number, tokens, bytes, media_bytes)),
            content: (bytes <= small).then_some(TurnContent {
                number,
                messages,
                answer,
            }),
        };
        Ok(rows.into_iter().map(turn).collect())
    }

    /// The messages of turns of the history with numbers in this range.
    pub async fn turn_contents(
        &self,
        (tenant, id): (&Tenant, &str),
        (first, last): (i64, i64),
    ) -> Result<Vec<TurnContent>, Error> {
        let rows = repeat!(self, "turn_contents", connection, {
            sqlx::query_as::<_, (i64, Vec<u8>, Vec<u8>)>(CONTENTS.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(first)
                .bind(last)
                .fetch_all(&mut *connection)
                .await
        })?;
        let content = |(number, messages, answer)| TurnContent {
            number,
            messages,
            answer,
        };
        Ok(rows.into_iter().map(content).collect())
    }

    /// Whether there is a turn in this range.
    pub(super) async fn has_turn(
        &self,
        connection: &mut AnyConnection,
        turns: TurnRange<'_>,
    ) -> Result<bool, sqlx::Error> {
        let count = sqlx::query_scalar::<_, i64>(HAS_TURN.text(self.engine))
            .bind(turns.tenant.as_bytes())
            .bind(turns.conversation)
            .bind(turns.numbers.0)
            .bind(turns.numbers.1)
            .fetch_one(connection)
            .await?;
        Ok(count > 0)
    }
}

fn turn_size((number, tokens, bytes, media_bytes): SizeRow) -> TurnSize {
    TurnSize {
        number,
        tokens,
        bytes,
        media_bytes,
    }
}

fn turn_row(row: Row) -> TurnRow {
    let (number, request_id, state, model, reason, created, ended, usage, messages, answer) = row;
    TurnRow {
        number,
        request_id,
        state: match state {
            0 => TurnState::Running,
            1 => TurnState::Complete,
            3 => TurnState::Cancelled,
            _ => TurnState::Failed(reason),
        },
        model,
        created,
        ended,
        usage,
        messages,
        answer,
    }
}
