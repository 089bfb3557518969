//! The statements about calls.

use super::statement::{Statement, statement};

/// Begins a call, unless another one of this key runs or is kept: `$from` is what must exist for
/// it. The values are the tenant, the request id, the fingerprint, the owner, the lease, how long
/// the call is kept, and what is less than every owner of this replica.
macro_rules! begin_call {
    ([$($before:tt)*] [$($from:tt)*] [$($after:tt)+]) => {
        $crate::store::statement::statement!(
            $($before)*
            "INSERT INTO calls
               (tenant, request_id, fingerprint, state, owner, fence, lease_until, expires)
             SELECT $1, $2, $3, 0, $4, " now ", $5 + " now ", $6 + " now $($from)* " WHERE true
             ON CONFLICT (tenant, request_id) DO UPDATE SET
               fingerprint = excluded.fingerprint, state = 0, owner = excluded.owner,
               fence = CASE WHEN calls.fence < excluded.fence THEN excluded.fence
                 ELSE calls.fence + 1 END,
               lease_until = excluded.lease_until, expires = excluded.expires,
               cancelled = 0, error = NULL
             WHERE (calls.state = 0 AND (calls.lease_until < " now " OR
                  (calls.owner > $7 AND calls.owner <= excluded.owner)))
                OR calls.state = 3 OR (calls.state <> 0 AND calls.expires < " now ")"
            $($after)+
        )
    };
}

pub(super) use begin_call;

/// Begins a call.
pub(super) const BEGIN: Statement = begin_call!([] [] [" RETURNING fence"]);

/// The state of a call, and how long it stays so.
pub(super) const FIND: Statement = statement!(
    "SELECT state, fence, fingerprint, error,
       CASE WHEN state = 0 THEN lease_until ELSE expires END - " now "
     FROM calls WHERE tenant = $1 AND request_id = $2"
);

/// Renews a lease.
pub(super) const RENEW: Statement = statement!(
    "UPDATE calls SET lease_until = $5 + " now "
     WHERE tenant = $1 AND request_id = $2 AND owner = $3 AND fence = $4 AND state = 0"
);

/// Adds events.
pub(super) const ADD: Statement = statement!(
    "INSERT INTO call_events (tenant, request_id, fence, first, events)
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
);

/// Ends a call that has succeeded.
pub(super) const FINISH: Statement = statement!(
    "UPDATE calls SET state = $5, expires = $6 + " now "
     WHERE tenant = $1 AND request_id = $2 AND owner = $3 AND fence = $4 AND state IN (0, $5)"
);

/// Ends a call that has failed.
pub(super) const FAIL: Statement = statement!(
    "UPDATE calls SET state = 3, expires = $5 + " now ", error = $6
     WHERE tenant = $1 AND request_id = $2 AND owner = $3 AND fence = $4 AND state = 0"
);

/// The events from a number on.
pub(super) const READ: Statement = statement!(
    "SELECT first, events FROM call_events
     WHERE tenant = $1 AND request_id = $2 AND fence = $3 AND first >= $4 ORDER BY first LIMIT $5"
);

/// Removes a running call.
pub(super) const FORGET: Statement = statement!(
    "DELETE FROM calls
     WHERE tenant = $1 AND request_id = $2 AND owner = $3 AND fence = $4 AND state = 0"
);

/// Removes the events of an owner and of earlier ones.
pub(super) const FORGET_EVENTS: Statement =
    statement!("DELETE FROM call_events WHERE tenant = $1 AND request_id = $2 AND fence <= $3");

/// Marks a running call.
pub(super) const CANCEL: Statement = statement!(
    "UPDATE calls SET cancelled = 1
     WHERE tenant = $1 AND request_id = $2 AND state = 0 AND lease_until >= " now
);

/// Records that a running call is read at another replica than its owner.
pub(super) const FOLLOW: Statement = statement!(
    "UPDATE calls SET followed = " now " WHERE tenant = $1 AND request_id = $2 AND state = 0"
);

/// How long ago a running call was read at another replica, if it was.
pub(super) const FOLLOWED: Statement = statement!(
    "SELECT " now " - followed FROM calls
     WHERE tenant = $1 AND request_id = $2 AND state = 0 AND followed > 0"
);

/// The marked calls of a replica.
pub(super) const CANCELLED: Statement = statement!(
    "SELECT tenant, request_id FROM calls
     WHERE owner > $1 AND owner < $2 AND cancelled = 1 AND state = 0"
);

/// Calls that have expired.
pub(super) const EXPIRED: Statement = statement!(
    "SELECT tenant, request_id, fence FROM calls
     WHERE expires < " now " AND (state <> 0 OR lease_until < " now ") ORDER BY expires LIMIT $1"
);

/// Removes a call that has expired.
pub(super) const DELETE_EXPIRED: Statement =
    statement!("DELETE FROM calls WHERE tenant = $1 AND request_id = $2 AND fence = $3");
