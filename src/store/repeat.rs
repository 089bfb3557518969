//! Repetition of operations that met a conflict or a broken connection.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

use super::failure::{self, Failure};
use super::flushes::Flushes;
use super::observer::Observed;
use super::pool::Pool;

/// How often an operation is executed.
const MAX_ATTEMPTS: u32 = 3;

/// How long one execution may take. Longer than an overloaded disk needs for a transaction.
const MAX_DURATION: Duration = Duration::from_secs(2);

/// The pause before the first repetition; it doubles.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs an operation of a store, a block with `await` and `?` that uses a connection of this name,
/// and repeats it. It must have the same result if its first execution had succeeded unnoticed. If
/// it returns a value, it has ended its transactions. A macro, because a closure that
/// borrows would make the future of every caller unsendable.
macro_rules! repeat {
    ($store:ident, $name:literal, $connection:ident, $operation:block) => {{
        let of = (&$store.observed, &$store.flushes, &$store.pool);
        let mut repetition = $crate::store::repeat::Repetition::new(of, $name);
        loop {
            let attempt = async {
                let mut leased = $store.pool.acquire().await?;
                let $connection = leased.connection()?;
                let done: Result<_, sqlx::Error> = async { $operation }.await;
                if done.is_ok() {
                    leased.succeeded();
                }
                done
            };
            match repetition.within_limit(attempt).await {
                Ok(value) => {
                    repetition.succeeded();
                    break Ok(value);
                }
                Err(error) => {
                    if let Err(error) = repetition.after(&error).await {
                        break Err(error);
                    }
                }
            }
        }
    }};
}

pub(super) use repeat;

/// The repetitions of one operation.
#[derive(Debug)]
pub(super) struct Repetition<'a> {
    observed: &'a Observed,
    flushes: &'a Flushes,
    pool: &'a Pool,
    name: &'static str,
    begun: Instant,
    failures: u32,
}

impl<'a> Repetition<'a> {
    /// Of an operation with this name.
    pub(super) fn new(
        (observed, flushes, pool): (&'a Observed, &'a Flushes, &'a Pool),
        name: &'static str,
    ) -> Self {
        Self {
            observed,
            flushes,
            pool,
            name,
            begun: Instant::now(),
            failures: 0,
        }
    }

    /// Runs one execution, and gives it up if it takes too long: a server that was separated closes
    /// no connection, and a lock may be held for any time.
    pub(super) async fn within_limit<T>(
        &self,
        attempt: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        if self.flushes.have_failed() {
            return Err(sqlx::Error::PoolClosed);
        }
        let done = tokio::time::timeout(MAX_DURATION, attempt).await;
        done.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// The operation has succeeded.
    pub(super) fn succeeded(&self) {
        self.observed.ended(self.name, Ok(()), self.begun);
    }

    /// Waits before the next execution, or returns the error of the operation.
    pub(super) async fn after(&mut self, error: &sqlx::Error) -> Result<(), Error> {
        self.failures += 1;
        let kind = failure::kind(error);
        if kind == Failure::NotFlushed {
            self.flushes.fail();
        }
        if kind == Failure::Disconnected {
            self.pool.forget_idle();
        }
        match kind {
            Failure::Conflict | Failure::Disconnected if self.failures < MAX_ATTEMPTS => {
                tokio::time::sleep(PAUSE * (1 << (self.failures - 1))).await;
                Ok(())
            }
            Failure::Conflict
            | Failure::Disconnected
            | Failure::Down
            | Failure::Full
            | Failure::Damaged
            | Failure::Value
            | Failure::NotFlushed
            | Failure::Other => {
                let error = failure::of(error);
                self.observed.ended(self.name, Err(&error), self.begun);
                Err(error)
            }
        }
    }
}
