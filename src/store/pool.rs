//! Connections to the database that are ready for use.
//!
//! A connection whose operation succeeded is used again as it is: to test it would cost as much as
//! an operation. Any other may be in the middle of something, and is brought to a known state or
//! closed before its place is free.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AnyPool, Connection as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::connect::{self, WAIT};
use super::engine::Engine;
use super::failure::{self, Failure};

/// An idle connection to a server is tested after this time. One that was broken before is found
/// by the operation that uses it, which is repeated.
const TEST_AFTER: Duration = Duration::from_secs(1);

/// How long a connection is kept idle.
const MAX_IDLE: Duration = Duration::from_secs(600);

/// How long a connection is used. A server process grows with what it has seen.
const MAX_AGE: Duration = Duration::from_secs(1800);

/// The pause between attempts to connect to a server that starts.
const PAUSE: Duration = Duration::from_millis(20);

/// Connections to one database. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: AnyConnectOptions,
    engine: Engine,
    places: Arc<Semaphore>,
    writer: Arc<Semaphore>,
    /// The one that was used last is the last.
    idle: Mutex<VecDeque<Open>>,
}

/// An open connection.
#[derive(Debug)]
struct Open {
    connection: AnyConnection,
    opened: Instant,
    used: Instant,
}

impl Pool {
    /// Of at most this many connections. The first is made when it is needed.
    pub(super) fn new(options: AnyConnectOptions, engine: Engine, most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            options,
            engine,
            places: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            writer: Arc::new(Semaphore::new(1)),
            idle: Mutex::default(),
        }))
    }

    /// A connection for one operation.
    pub(super) async fn acquire(&self) -> Result<Leased, sqlx::Error> {
        let leased = timeout(WAIT, self.lease()).await;
        leased.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn lease(&self) -> Result<Leased, sqlx::Error> {
        let place = Arc::clone(&self.0.places).acquire_owned().await;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let open = loop {
            let Some(mut open) = self.idle().pop_back() else {
                break self.open().await?;
            };
            if self.is_usable(&mut open).await {
                break open;
            }
            let _ = timeout(WAIT / 8, open.connection.close()).await;
        };
        Ok(Leased {
            open: Some(open),
            place: Some(place),
            pool: self.clone(),
        })
    }

    async fn open(&self) -> Result<Open, sqlx::Error> {
        loop {
            let error = match connect::open(&self.0.options, self.0.engine).await {
                Ok(connection) => {
                    let now = Instant::now();
                    return Ok(Open {
                        connection,
                        opened: now,
                        used: now,
                    });
                }
                Err(error) => error,
            };
            let starts =
                self.0.engine == Engine::Postgres && failure::kind(&error) == Failure::Down;
            if !starts {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }

    /// One connection, of its own, as the library that changes the schema needs it.
    pub(super) fn alone(&self) -> AnyPool {
        connect::alone(self.0.options.clone(), self.0.engine)
    }

    async fn is_usable(&self, open: &mut Open) -> bool {
        if open.opened.elapsed() > MAX_AGE || open.used.elapsed() > MAX_IDLE {
            return false;
        }
        if self.0.engine == Engine::Sqlite || open.used.elapsed() < TEST_AFTER {
            return true;
        }
        let answers = matches!(timeout(WAIT / 2, open.connection.ping()).await, Ok(Ok(())));
        if !answers {
            self.forget_idle();
        }
        answers
    }

    /// The turn to write to a file: writers that waited in the database would sleep, and not be
    /// woken. `None`: a server has as many writers as there are connections.
    pub(super) async fn writer(&self) -> Option<OwnedSemaphorePermit> {
        match self.0.engine {
            // It is never closed.
            Engine::Sqlite => Arc::clone(&self.0.writer).acquire_owned().await.ok(),
            Engine::Postgres => None,
        }
    }

    /// Closes what is idle: a connection broke, and the others probably did at the same time.
    pub(super) fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Open>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut open: Open) {
        open.used = Instant::now();
        let mut idle = self.idle();
        idle.push_back(open);
        let unused = idle.pop_front_if(|open| open.used.elapsed() > MAX_IDLE);
        drop(idle);
        drop(unused);
    }

    /// Ends what a connection was doing, or closes it.
    async fn restore(&self, mut open: Open) {
        // SQLite has ended a transaction whose commit failed, because the disk was full for
        // example, but its driver takes it for a running one.
        let restored = timeout(WAIT, self.end(&mut open.connection)).await;
        if matches!(restored, Ok(Ok(()))) && !open.connection.is_in_transaction() {
            self.put(open);
        } else {
            let _ = timeout(WAIT, open.connection.close_hard()).await;
        }
    }

    async fn end(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        if self.0.engine == Engine::Postgres {
            return connection.ping().await;
        }
        // The driver does not know of the transactions of batches. Usually there is none, and this
        // fails; if there is one still, what follows fails.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        sqlx::query("BEGIN").execute(&mut *connection).await?;
        sqlx::query("ROLLBACK").execute(connection).await.map(drop)
    }
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Leased {
    open: Option<Open>,
    place: Option<OwnedSemaphorePermit>,
    pool: Pool,
}

impl Leased {
    /// The connection.
    pub(super) fn connection(&mut self) -> Result<&mut AnyConnection, sqlx::Error> {
        let open = self.open.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        Ok(&mut open.connection)
    }

    /// Returns the connection after an operation that succeeded.
    pub(super) fn succeeded(mut self) {
        if let Some(open) = self.open.take() {
            self.pool.put(open);
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let (Some(open), Ok(runtime)) = (self.open.take(), Handle::try_current()) else {
            return;
        };
        let (place, pool) = (self.place.take(), self.pool.clone());
        runtime.spawn(async move {
            pool.restore(open).await;
            drop(place);
        });
    }
}
