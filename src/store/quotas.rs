//! Limits that replicas share: what has been used of each, and which replica has which share.
//!
//! A share belongs to a replica for as long as that renews its lease. Reports of use are numbered,
//! so that one whose answer was lost is not counted twice.

use std::time::Duration;

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::allowance::{self, Ask, Grant, QuotaKind, Used};
use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::{Store, millis};

/// How long the use of a limit, and the number of a replica's last report, are kept.
const KEEP: Duration = Duration::from_secs(3 * 24 * 3600);

/// How many rows are deleted at once.
const SWEEP: i64 = 500;

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuotaKey {
    /// Whose limit it is.
    pub tenant: Tenant,
    /// Its name.
    pub name: std::sync::Arc<str>,
}

/// What a replica reports and asks for.
#[derive(Clone, Debug)]
pub struct ShareRequest {
    /// The limit.
    pub key: QuotaKey,
    /// The number of the report of use, which is greater than that of the one before.
    pub report: i64,
    /// What it asks for.
    pub ask: Ask,
}

const FIND: Statement = statement!(
    "SELECT day, used, at, " now " FROM quotas WHERE tenant = $1 AND name = $2" lock
);

const ADD: Statement = statement!(
    "INSERT INTO quotas (tenant, name, day, used, at) VALUES ($1, $2, $3, 0, " now ")
     ON CONFLICT DO NOTHING"
);

const SHARES: Statement = statement!(
    "SELECT CAST(coalesce(sum(CASE WHEN replica <> $3 AND lease_until > " now " AND day = $4
                              THEN amount ELSE 0 END), 0) AS BIGINT),
            CAST(coalesce(max(CASE WHEN replica = $3 THEN report ELSE 0 END), 0) AS BIGINT)
     FROM quota_shares WHERE tenant = $1 AND name = $2"
);

const USE: Statement =
    statement!("UPDATE quotas SET day = $3, used = $4, at = $5 WHERE tenant = $1 AND name = $2");

const SHARE: Statement = statement!(
    "INSERT INTO quota_shares (tenant, name, replica, day, amount, report, lease_until)
     VALUES ($1, $2, $3, $4, $5, $6, $7 + " now ")
     ON CONFLICT (tenant, name, replica) DO UPDATE SET
       day = excluded.day, amount = excluded.amount, report = excluded.report,
       lease_until = excluded.lease_until"
);

const BEAT: Statement = statement!(
    "INSERT INTO replicas (replica, lease_until) VALUES ($1, $2 + " now ")
     ON CONFLICT (replica) DO UPDATE SET lease_until = excluded.lease_until"
);

const REPLICAS: Statement = statement!("SELECT count(*) FROM replicas WHERE lease_until > " now);

const LEAVE: Statement = statement!("DELETE FROM replicas WHERE replica = $1");

const OLD_REPLICAS: Statement = statement!("DELETE FROM replicas WHERE lease_until < " now " - $1");

const OLD_SHARES: Statement = statement!(
    "DELETE FROM quota_shares WHERE (tenant, name, replica) IN
       (SELECT tenant, name, replica FROM quota_shares WHERE lease_until < " now " - $1 LIMIT $2)"
);

const OLD_QUOTAS: Statement = statement!(
    "DELETE FROM quotas WHERE (tenant, name) IN
       (SELECT tenant, name FROM quotas WHERE at < " now " - $1 LIMIT $2)"
);

impl Store {
    /// Reports the use of limits and gets shares of them, in one transaction. The limits must be
    /// different, and in ascending order, so that two replicas do not wait for each other.
    pub async fn share(&self, requests: &[ShareRequest]) -> Result<Vec<Grant>, Error> {
        repeat!(self, "share", connection, {
            let mut transaction = self.write(connection).await?;
            let mut grants = Vec::with_capacity(requests.len());
            for request in requests {
                grants.push(self.try_share(&mut transaction, request).await?);
            }
            transaction.commit().await?;
            Ok(grants)
        })
    }

    async fn try_share(
        &self,
        connection: &mut AnyConnection,
        request: &ShareRequest,
    ) -> Result<Grant, sqlx::Error> {
        let ShareRequest { key, report, ask } = request;
        let (mut used, now) = self.used(connection, key, ask.kind).await?;
        let day = allowance::day_of(ask.kind, now);
        let (others, last) = sqlx::query_as::<_, (i64, i64)>(SHARES.text(self.engine))
            .bind(key.tenant.as_bytes())
            .bind(&*key.name)
            .bind(&*self.replica)
            .bind(day)
            .fetch_one(&mut *connection)
            .await?;
        let grant = allowance::grant(&mut used, others, ask, *report > last, now);
        sqlx::query(USE.text(self.engine))
            .bind(key.tenant.as_bytes())
            .bind(&*key.name)
            .bind(used.day)
            .bind(used.scaled)
            .bind(used.at)
            .execute(&mut *connection)
            .await?;
        sqlx::query(SHARE.text(self.engine))
            .bind(key.tenant.as_bytes())
            .bind(&*key.name)
            .bind(&*self.replica)
            .bind(grant.day)
            .bind(grant.amount)
            .bind(*report)
            .bind(millis(self.lease))
            .execute(&mut *connection)
            .await?;
        Ok(grant)
    }

    /// The use of a limit, whose row is locked until the end of the transaction, and the time.
    async fn used(
        &self,
        connection: &mut AnyConnection,
        key: &QuotaKey,
        kind: QuotaKind,
    ) -> Result<(Used, i64), sqlx::Error> {
        let find = || {
            sqlx::query_as::<_, (i64, i64, i64, i64)>(FIND.text(self.engine))
                .bind(key.tenant.as_bytes())
                .bind(&*key.name)
        };
        let row = match find().fetch_optional(&mut *connection).await? {
            Some(row) => row,
            None => {
                sqlx::query(ADD.text(self.engine))
                    .bind(key.tenant.as_bytes())
                    .bind(&*key.name)
                    .bind(match kind {
                        QuotaKind::Day => -1,
                        QuotaKind::Rate | QuotaKind::Held => 0,
                    })
                    .execute(&mut *connection)
                    .await?;
                find().fetch_one(&mut *connection).await?
            }
        };
        let (day, scaled, at, now) = row;
        Ok((Used { day, scaled, at }, now))
    }

    /// Says that this replica runs. Returns how many do.
    pub async fn beat(&self) -> Result<i64, Error> {
        repeat!(self, "beat", connection, {
            sqlx::query(BEAT.text(self.engine))
                .bind(&*self.replica)
                .bind(millis(self.lease))
                .execute(&mut *connection)
                .await?;
            let count = sqlx::query_scalar::<_, i64>(REPLICAS.text(self.engine));
            count.fetch_one(&mut *connection).await
        })
    }

    /// Says that this replica ends.
    pub async fn leave(&self) -> Result<(), Error> {
        let done = repeat!(self, "leave", connection, {
            let leave = sqlx::query(LEAVE.text(self.engine)).bind(&*self.replica);
            leave.execute(&mut *connection).await
        });
        done.map(drop)
    }

    /// Deletes unused limits, and shares of replicas that are gone.
    pub(super) async fn sweep_quotas(&self) -> Result<bool, Error> {
        let replicas = repeat!(self, "sweep_quotas", connection, {
            let old = sqlx::query(OLD_REPLICAS.text(self.engine)).bind(millis(KEEP));
            old.execute(&mut *connection).await
        });
        replicas?;
        let mut more = false;
        for statement in [OLD_SHARES, OLD_QUOTAS] {
            let deleted = repeat!(self, "sweep_quotas", connection, {
                sqlx::query(statement.text(self.engine))
                    .bind(millis(KEEP))
                    .bind(SWEEP)
                    .execute(&mut *connection)
                    .await
            })?;
            more |= deleted.rows_affected() >= SWEEP.unsigned_abs();
        }
        Ok(more)
    }
}
