//! State that outlives the process and is shared by replicas: SQLite in a file, or PostgreSQL.
//!
//! One code path serves both: the statements differ only in what `statement.rs` lists. Values are
//! bytes, whose content the store does not know. Every row belongs to a tenant, which is part of
//! every key. Times are those of the store's own clock.

pub mod allowance;
mod batches;
mod call_ends;
mod call_statements;
mod caller_places;
pub mod calls;
mod connect;
pub mod conversations;
pub mod copies;
mod deletion;
mod engine;
mod failure;
mod flushes;
mod followers;
pub mod inspection;
pub mod live_turns;
mod media;
pub mod migrations;
mod observer;
mod pool;
pub mod quotas;
mod repeat;
mod statement;
pub mod throttles;
pub mod turn;
mod turn_end;
pub mod turn_list;
mod turns;
pub mod uploads;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::chat::call::Tenant;
use crate::error::{Error, Reason};

use caller_places::CallerPlaces;
pub use engine::{Absent, Engine, StoreConfig};
use flushes::Flushes;
use observer::Observed;
pub use observer::Observer;
use pool::Pool;
use repeat::repeat;

/// A store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    engine: Engine,
    /// The random name of this process, which owns calls.
    replica: Arc<str>,
    /// How many owners of calls it has named.
    owners: Arc<AtomicU64>,
    lease: Duration,
    places: Arc<CallerPlaces>,
    flushes: Flushes,
    observed: Observed,
}

impl Store {
    /// Connects, and checks or updates the schema.
    pub async fn open(config: &StoreConfig) -> Result<Self, Error> {
        let store = Self::connect(config, Absent::Wait).await?;
        if store.first_version().await? < migrations::LATEST && config.migrate {
            store.migrate(migrations::LATEST).await?;
        }
        migrations::check(store.version().await?)?;
        Ok(store)
    }

    /// The version of the schema. The database has answered before, but may be slow, as on a
    /// machine on which all replicas start.
    async fn first_version(&self) -> Result<i64, Error> {
        let until = Instant::now() + connect::FIRST_CONNECTION;
        loop {
            match self.version().await {
                Err(error)
                    if error.reason() == Reason::StoreDown
                        && !self.has_failed_flush()
                        && Instant::now() < until =>
                {
                    tokio::time::sleep(connect::WAIT).await;
                }
                version => return version,
            }
        }
    }

    /// Connects, whatever the schema.
    pub async fn connect(config: &StoreConfig, absent: Absent) -> Result<Self, Error> {
        let (options, engine) = connect::options(config, absent).await?;
        Ok(Self {
            flushes: Flushes::default(),
            owners: Arc::default(),
            observed: Observed::default(),
            pool: Pool::new(options, engine, config.max_connections),
            engine,
            replica: uuid::Uuid::new_v4().simple().to_string().into(),
            lease: config.lease,
            places: Arc::new(CallerPlaces::new(config.max_connections)),
        })
    }

    /// Reports every operation to this observer from now on.
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observed = Observed(Some(observer));
        self
    }

    /// The kind of the database.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// How long this replica owns a call without renewing its lease.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The version of the schema, 0 if there is none.
    pub async fn version(&self) -> Result<i64, Error> {
        migrations::version(&self.pool).await
    }

    /// Brings the schema to this version, forward or back.
    pub async fn migrate(&self, to: i64) -> Result<(), Error> {
        migrations::migrate(&self.pool, self.engine, to).await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        let done = repeat!(self, "ping", connection, {
            sqlx::query("SELECT 1").execute(&mut *connection).await
        });
        done.map(drop)
    }

    /// Waits until this caller may manage conversations: each uses a part of the connections at
    /// most. The place is free again when it is dropped; who has one waits for no other.
    pub async fn place(&self, tenant: &Tenant) -> Option<OwnedSemaphorePermit> {
        self.places.take(tenant).await
    }

    /// Returns when the disk has refused to take what was written. The store is not used any more,
    /// and its operations fail.
    pub async fn flush_failed(&self) {
        self.flushes.failed().await;
    }

    /// Whether the disk has refused to take what was written.
    pub fn has_failed_flush(&self) -> bool {
        self.flushes.have_failed()
    }

    /// Deletes what has expired, a bounded number of rows. Returns whether there may be more.
    pub async fn sweep(&self) -> Result<bool, Error> {
        self.sweep_throttles().await?;
        let more = self.sweep_quotas().await? | self.sweep_uploads().await?;
        let more = self.sweep_calls().await? | more;
        Ok(self.sweep_conversations().await? || more)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
