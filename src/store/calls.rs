//! Calls with a request id: who runs each, and its events.
//!
//! A call is owned by the replica that runs it, for as long as that renews its lease. Each owner
//! has a fence, a number greater than that of every earlier owner; what an owner writes under an
//! old fence is refused, or ignored by readers. A fence is the time at which the call was begun, so
//! that a call that was removed and made again does not have the fence of the removed one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::batches::APPEND;
use super::call_statements::{
    BEGIN, CANCEL, CANCELLED, DELETE_EXPIRED, EXPIRED, FIND, FORGET_EVENTS, READ, RENEW,
};
use super::repeat::repeat;
use super::turn::{NewTurn, OwnedTurn, Refusal};
use super::{Store, millis};

/// A running call.
const RUNNING: i64 = 0;

/// A call that has succeeded, with all events.
pub(super) const COMPLETE: i64 = 1;

/// A call that has succeeded, and whose answer was too long to be kept.
pub(super) const TOO_LONG: i64 = 2;

/// A call that has failed, with its error. It may be begun again at once.
const FAILED: i64 = 3;

/// How many batches of events are read at once. A batch has about 256 KiB.
const READ_BATCHES: i64 = 8;

/// How many expired calls are deleted at once.
const SWEEP: i64 = 500;

/// The key of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its request id.
    pub request_id: Arc<str>,
}

/// The right to run a call.
#[derive(Clone, Debug)]
pub struct Owned {
    /// The call.
    pub key: CallKey,
    pub(super) owner: Arc<str>,
    pub(super) fence: i64,
    /// The turn that it is, of a stored conversation.
    pub turn: Option<OwnedTurn>,
}

/// The state of a call that is not this replica's to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Another replica runs it, under this fence.
    Running(i64),
    /// It has succeeded under this fence.
    Complete(i64),
    /// It has succeeded, and its answer was not kept.
    TooLong,
    /// It has failed under this fence, with this error.
    Failed(i64, Vec<u8>),
    /// There is no such call, or its owner is gone.
    Gone,
}

/// What became of an attempt to begin a call.
#[derive(Clone, Debug)]
pub enum Begun {
    /// This replica runs it.
    Owned(Owned),
    /// The call was made before, with this fingerprint.
    Found(Found, Vec<u8>),
    /// It cannot be the next turn of its conversation.
    Refused(Refusal),
}

/// A batch of events: the number of the first one, and all of them as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The number of the first event, from 0.
    pub first: i64,
    /// The events.
    pub events: Vec<u8>,
}

impl Store {
    /// Begins a call: durably, before anything is sent upstream. A call whose owner is gone, or
    /// which has expired, is begun again, and so is one that this replica has begun earlier. A turn
    /// of a stored conversation is begun with it.
    ///
    /// An earlier owner of this replica takes nothing from a later one, whenever it begins.
    pub async fn begin(
        &self,
        (key, owner): (&CallKey, &Arc<str>),
        fingerprint: &[u8],
        keep: Duration,
        turn: Option<&NewTurn>,
    ) -> Result<Begun, Error> {
        let begun = match turn {
            Some(turn) => match self
                .begin_turn(key, owner, (fingerprint, keep), turn)
                .await?
            {
                Ok(begun) => begun.map(|(fence, turn)| (fence, Some(turn))),
                Err(refusal) => return Ok(Begun::Refused(refusal)),
            },
            None => repeat!(self, "begin", connection, {
                self.try_begin(connection, key, owner, (fingerprint, keep))
                    .await
            })?
            .map(|fence| (fence, None)),
        };
        let Some((fence, turn)) = begun else {
            let (found, fingerprint) = self.find(key).await?;
            return Ok(Begun::Found(found, fingerprint));
        };
        let key = key.clone();
        let owned = Owned {
            key,
            owner: Arc::clone(owner),
            fence,
            turn,
        };
        Ok(Begun::Owned(owned))
    }

    /// Becomes the owner of a call, and returns the fence; `None` if another one is.
    pub(super) async fn try_begin(
        &self,
        connection: &mut AnyConnection,
        key: &CallKey,
        owner: &str,
        (fingerprint, keep): (&[u8], Duration),
    ) -> Result<Option<i64>, sqlx::Error> {
        sqlx::query_scalar::<_, i64>(BEGIN.text(self.engine))
            .bind(key.tenant.as_bytes())
            .bind(&*key.request_id)
            .bind(fingerprint)
            .bind(owner)
            .bind(millis(self.lease))
            .bind(millis(keep))
            .bind(self.owners().0)
            // All rows, although there is at most one: a statement of SQLite is committed, or fails
            // to be, only after its last row was read.
            .fetch_all(connection)
            .await
            .map(|fences| fences.first().copied())
    }

    /// The name of an owner: this replica with a number. A later one is greater in the order of
    /// text, so that a call that was given up, if its statement is executed late, takes nothing
    /// from its successor. So names must be taken in the order of the calls.
    pub fn next_owner(&self) -> Arc<str> {
        let number = self.owners.fetch_add(1, Ordering::Relaxed);
        format!("{}.{number:016x}", self.replica).into()
    }

    /// All owners of this replica are between these two.
    pub(super) fn owners(&self) -> (String, String) {
        (format!("{}.", self.replica), format!("{}.g", self.replica))
    }

    /// The state of a call, and its fingerprint.
    pub async fn find(&self, key: &CallKey) -> Result<(Found, Vec<u8>), Error> {
        let row = repeat!(self, "find", connection, {
            sqlx::query_as::<_, (i64, i64, Vec<u8>, Option<Vec<u8>>, i64)>(FIND.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&*key.request_id)
                .fetch_optional(&mut *connection)
                .await
        })?;
        let Some((state, fence, fingerprint, error, left)) = row else {
            return Ok((Found::Gone, Vec::new()));
        };
        let found = match state {
            _ if left < 0 => Found::Gone,
            RUNNING => Found::Running(fence),
            COMPLETE => Found::Complete(fence),
            FAILED => Found::Failed(fence, error.unwrap_or_default()),
            _ => Found::TooLong,
        };
        Ok((found, fingerprint))
    }

    /// Renews the lease of a call. Returns whether this replica still owns it.
    pub async fn renew(&self, owned: &Owned) -> Result<bool, Error> {
        repeat!(self, "renew", connection, {
            let done = sqlx::query(RENEW.text(self.engine))
                .bind(owned.key.tenant.as_bytes())
                .bind(&*owned.key.request_id)
                .bind(&*owned.owner)
                .bind(owned.fence)
                .bind(millis(self.lease))
                .execute(connection)
                .await?;
            Ok(done.rows_affected() == 1)
        })
    }

    /// Adds events of a running call, and renews its lease. Returns whether this replica still owns
    /// it; otherwise the next batch was not written. A batch that may have been written before is
    /// ignored, so it must be the same.
    pub async fn append(&self, owned: &Owned, batches: &[Batch]) -> Result<bool, Error> {
        for batch in batches {
            let is_owner = repeat!(self, "append", connection, {
                let _writer = self.pool.writer().await;
                let fences = sqlx::query_scalar::<_, i64>(APPEND.text(self.engine))
                    .bind(owned.key.tenant.as_bytes())
                    .bind(&*owned.key.request_id)
                    .bind(&*owned.owner)
                    .bind(owned.fence)
                    .bind(millis(self.lease))
                    .bind(batch.first)
                    .bind(&*batch.events)
                    .fetch_all(connection)
                    .await?;
                Ok(!fences.is_empty())
            })?;
            if !is_owner {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next events of a call from this number on, a bounded number of batches, as far as they
    /// were written under this fence.
    pub async fn events(&self, key: &CallKey, fence: i64, from: i64) -> Result<Vec<Batch>, Error> {
        let rows = repeat!(self, "events", connection, {
            sqlx::query_as::<_, (i64, Vec<u8>)>(READ.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&*key.request_id)
                .bind(fence)
                .bind(from)
                .bind(READ_BATCHES)
                .fetch_all(&mut *connection)
                .await
        })?;
        let batch = |(first, events)| Batch { first, events };
        Ok(rows.into_iter().map(batch).collect())
    }

    /// Marks a running call, so that its owner ends it. Returns whether there is one.
    pub async fn cancel(&self, key: &CallKey) -> Result<bool, Error> {
        let done = repeat!(self, "cancel", connection, {
            sqlx::query(CANCEL.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&*key.request_id)
                .execute(&mut *connection)
                .await
        })?;
        Ok(done.rows_affected() > 0)
    }

    /// The calls of this replica that are to end.
    pub async fn cancelled(&self) -> Result<Vec<CallKey>, Error> {
        let rows = repeat!(self, "cancelled", connection, {
            sqlx::query_as::<_, (Vec<u8>, String)>(CANCELLED.text(self.engine))
                .bind(self.owners().0)
                .bind(self.owners().1)
                .fetch_all(&mut *connection)
                .await
        })?;
        let key = |(tenant, request_id): (Vec<u8>, String)| {
            Some(CallKey {
                tenant: Tenant(tenant.try_into().ok()?),
                request_id: request_id.into(),
            })
        };
        Ok(rows.into_iter().filter_map(key).collect())
    }

    /// Deletes expired calls, a bounded number. Returns whether there may be more.
    pub(super) async fn sweep_calls(&self) -> Result<bool, Error> {
        let expired = repeat!(self, "expired", connection, {
            sqlx::query_as::<_, (Vec<u8>, String, i64)>(EXPIRED.text(self.engine))
                .bind(SWEEP)
                .fetch_all(&mut *connection)
                .await
        })?;
        for (tenant, request_id, fence) in &expired {
            repeat!(self, "delete_expired", connection, {
                for text in [FORGET_EVENTS, DELETE_EXPIRED] {
                    sqlx::query(text.text(self.engine))
                        .bind(&**tenant)
                        .bind(&**request_id)
                        .bind(*fence)
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(())
            })?;
        }
        Ok(i64::try_from(expired.len()).is_ok_and(|count| count == SWEEP))
    }
}
