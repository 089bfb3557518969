//! Statements that are a whole transaction: what every call and every turn costs.
//!
//! Each is one round trip, to a server or to the thread of a file. It changes all that it is to
//! change, or nothing if what it depends on is not as it is expected; then the caller finds out why
//! in a transaction of several statements.
//!
//! For PostgreSQL each is one statement, whose parts see the same snapshot of the database: what
//! may have changed while a lock was awaited is read from the locked row alone, and what a part
//! depends on is the result of another part. For SQLite each is several statements, of which each
//! depends on the number of rows that the one before has changed.

use super::call_statements::begin_call;
use super::statement::{Statement, statement};

/// Begins a call and its turn, if no turn runs. The values are those of a call; then the
/// conversation, the number of the latest turn or -1, the maximum number of turns, whether there
/// are instructions, the model, the tokens, the bytes, the bytes of media, the messages and no
/// bytes.
pub(super) const BEGIN_TURN: Statement = begin_call!(
    [("BEGIN IMMEDIATE; " | "")
     "WITH head AS (
        SELECT numbered, turns, system_turn FROM conversations
        WHERE tenant = $1 AND id = $8 AND running = '' AND numbered < $10
          AND ($9 < 0 OR last_turn = $9) AND expires > " now lock ")" (" " | ", call AS (")]
    [" FROM head"]
    [("; " | " RETURNING fence), turn AS (")
     "INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system, model,
        reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
      SELECT $1, $8, head.numbered + 1, $2, call.fence, 0, $11, $12, '', $13, $14, $15, " now ", 0,
        $17, $16, $17 FROM "
     ("conversations AS head, calls AS call WHERE head.tenant = $1 AND head.id = $8
         AND call.tenant = $1 AND call.request_id = $2 AND changes() = 1; "
      | "head, call), run AS (")
     "UPDATE conversations SET running = $2, running_fence = call.fence,
        running_turn = conversations.numbered + 1, numbered = conversations.numbered + 1,
        updated = " now ", expires = conversations.ttl + " now
     (" FROM calls AS call WHERE call.tenant = $1 AND call.request_id = $2 AND changes() = 1 AND "
      | " FROM call WHERE ")
     "conversations.tenant = $1 AND conversations.id = $8"
     (" RETURNING running_fence, running_turn, turns, system_turn; COMMIT"
      | ") SELECT call.fence, head.numbered + 1, head.turns, head.system_turn FROM head, call")]
);

/// Adds events of a call that runs, and renews its lease. The values are the tenant, the request
/// id, the owner, the fence, the lease, the number of the first event, and the events.
pub(super) const APPEND: Statement = statement!(
    ("BEGIN IMMEDIATE; " | "WITH call AS (")
    "UPDATE calls SET lease_until = $5 + " now "
     WHERE tenant = $1 AND request_id = $2 AND owner = $3 AND fence = $4 AND state = 0
     RETURNING fence"
    ("; " | "), event AS (")
    "INSERT INTO call_events (tenant, request_id, fence, first, events)
     SELECT $1, $2, $4, $6, $7 " ("WHERE changes() = 1" | "FROM call WHERE true")
    " ON CONFLICT DO NOTHING" ("; COMMIT" | ") SELECT fence FROM call")
);

/// Ends a call that has succeeded, with its last events. The values are the tenant, the request id,
/// the owner, the fence, the state, how long the call is kept, the number of the first event, and
/// the events.
pub(super) const COMPLETE: Statement = statement!(
    ("BEGIN IMMEDIATE; " | "WITH call AS (")
    "UPDATE calls SET state = $5, expires = $6 + " now "
     WHERE tenant = $1 AND request_id = $2 AND owner = $3 AND fence = $4 AND state IN (0, $5)
     RETURNING fence"
    ("; " | "), event AS (")
    "INSERT INTO call_events (tenant, request_id, fence, first, events)
     SELECT $1, $2, $4, $7, $8 " ("WHERE changes() = 1" | "FROM call WHERE true")
    " ON CONFLICT DO NOTHING" ("; COMMIT" | ") SELECT fence FROM call")
);

/// The same for a call that is a turn. The other values are the conversation, the number of the
/// turn, the usage, the answer, its tokens, its bytes, and its bytes of media. A live session may
/// have appended later turns.
pub(super) const COMPLETE_TURN: Statement = statement!(
    ("BEGIN IMMEDIATE; " | "")
    "WITH head AS (
       SELECT numbered FROM conversations WHERE tenant = $1 AND id = $9 AND running = $2
         AND running_fence = $4 AND running_turn = $10" lock ")" (" " | ", call AS (")
    "UPDATE calls SET state = $5, expires = $6 + " now "
     WHERE tenant = $1 AND request_id = $2 AND owner = $3 AND fence = $4 AND state = 0
       AND EXISTS (SELECT 1 FROM head)"
    ("; " | " RETURNING fence), turn AS (")
    "UPDATE turns SET state = 1, ended = " now ", usage = $11, answer = $12,
       tokens = tokens + $13, bytes = bytes + $14, media_bytes = media_bytes + $15
     WHERE tenant = $1 AND conversation = $9 AND number = $10 AND "
    ("changes() = 1; " | "EXISTS (SELECT 1 FROM call)), conversation AS (")
    "UPDATE conversations SET running = '', turns = turns + 1,
       last_turn = CASE WHEN last_turn < $10 THEN $10 ELSE last_turn END,
       system_turn = CASE WHEN system_turn < $10 AND (SELECT system FROM turns
         WHERE tenant = $1 AND conversation = $9 AND number = $10) = 1
         THEN $10 ELSE system_turn END,
       updated = " now ", expires = ttl + " now "
     WHERE tenant = $1 AND id = $9 AND "
    ("changes() = 1 RETURNING running_turn; " | "EXISTS (SELECT 1 FROM call)), event AS (")
    "INSERT INTO call_events (tenant, request_id, fence, first, events)
     SELECT $1, $2, $4, $7, $8 " ("WHERE changes() = 1" | "FROM call WHERE true")
    " ON CONFLICT DO NOTHING" ("; COMMIT" | ") SELECT fence FROM call")
);
