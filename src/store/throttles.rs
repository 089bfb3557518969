//! Rate limits that DashScope has applied to an account, as one replica learned them.

use std::time::Duration;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::{Store, millis};

/// How many are read at once. An account has some hundreds of models, of which few are throttled.
const MOST: i64 = 1000;

/// A model of an account that is throttled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The account: the hash of its address and its key.
    pub account: Tenant,
    /// The model.
    pub model: String,
    /// The name of the reason.
    pub reason: String,
    /// How much longer.
    pub left: Duration,
    /// When it ends, by the store's clock. Distinguishes it from an earlier one.
    pub until: i64,
}

const ADD: Statement = statement!(
    "INSERT INTO throttles (account, model, reason, until) VALUES ($1, $2, $3, $4 + " now ")
     ON CONFLICT (account, model) DO UPDATE SET reason = excluded.reason, until = excluded.until
     WHERE throttles.until < excluded.until"
);

const READ: Statement = statement!(
    "SELECT account, model, reason, until, until - " now " FROM throttles
     WHERE until > " now " ORDER BY until DESC LIMIT $1"
);

const EXPIRED: Statement = statement!("DELETE FROM throttles WHERE until < " now);

impl Store {
    /// Records that a model of an account is throttled for this long.
    pub async fn throttle(
        &self,
        account: &Tenant,
        (model, reason): (&str, &str),
        pause: Duration,
    ) -> Result<(), Error> {
        let done = repeat!(self, "throttle", connection, {
            sqlx::query(ADD.text(self.engine))
                .bind(account.as_bytes())
                .bind(model)
                .bind(reason)
                .bind(millis(pause))
                .execute(&mut *connection)
                .await
        });
        done.map(drop)
    }

    /// All models that are throttled now, with the longest first.
    pub async fn throttles(&self) -> Result<Vec<Throttle>, Error> {
        type Row = (Vec<u8>, String, String, i64, i64);
        let rows = repeat!(self, "throttles", connection, {
            let read = sqlx::query_as::<_, Row>(READ.text(self.engine)).bind(MOST);
            read.fetch_all(&mut *connection).await
        })?;
        let throttles = rows.into_iter().filter_map(|row| {
            let (account, model, reason, until, left) = row;
            Some(Throttle {
                account: Tenant(account.try_into().ok()?),
                model,
                reason,
                left: Duration::from_millis(left.try_into().ok()?),
                until,
            })
        });
        Ok(throttles.collect())
    }

    /// Deletes what has ended.
    pub(super) async fn sweep_throttles(&self) -> Result<(), Error> {
        let done = repeat!(self, "sweep_throttles", connection, {
            let expired = sqlx::query(EXPIRED.text(self.engine));
            expired.execute(&mut *connection).await
        });
        done.map(drop)
    }
}
