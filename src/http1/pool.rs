//! A pool of idle connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::connection::Connection;

/// The maximum number of idle connections per runtime. That many calls can end at once without new
/// handshakes, which cost more than the rest of a small call.
const MAX_IDLE: usize = 1024;

/// How long a connection may be idle. DashScope's load balancers close theirs after a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Idle connections. A socket belongs to the runtime that opened it, so each runtime has its own.
#[derive(Default)]
pub(super) struct Pool {
    shards: Mutex<Vec<Shard>>,
}

struct Shard {
    runtime: Id,
    /// The most recent one is used first: it is the least likely to be closed.
    idle: Vec<(Instant, Connection)>,
    /// Whether a task closes expired connections.
    swept: bool,
}

impl Pool {
    /// Removes a connection that is open and not too old, if there is one.
    pub(super) fn take(&self) -> Option<Connection> {
        let runtime = Handle::try_current().ok()?.id();
        loop {
            // The lock is held for one of them at a time: a host may close a thousand at once.
            let (_, mut connection) = self.pop(runtime)?;
            if !connection.is_expired() && connection.is_open() {
                return Some(connection);
            }
        }
    }

    fn pop(&self, runtime: Id) -> Option<(Instant, Connection)> {
        let mut shards = self.lock();
        let shard = shards.iter_mut().find(|shard| shard.runtime == runtime)?;
        shard.idle.pop()
    }

    /// Adds a connection, unless it is too old.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        if connection.is_expired() {
            return;
        }
        let Ok(handle) = Handle::try_current() else {
            return;
        };
        let runtime = handle.id();
        let mut shards = self.lock();
        let at = shards.iter().position(|shard| shard.runtime == runtime);
        let at = at.unwrap_or_else(|| {
            // Those of runtimes that ended are empty by now.
            shards.retain(|shard| !shard.idle.is_empty());
            shards.push(Shard {
                runtime,
                idle: Vec::new(),
                swept: false,
            });
            shards.len() - 1
        });
        let Some(shard) = shards
            .get_mut(at)
            .filter(|shard| shard.idle.len() < MAX_IDLE)
        else {
            return;
        };
        shard.idle.push((Instant::now(), connection));
        if !std::mem::replace(&mut shard.swept, true) {
            handle.spawn(sweep(Arc::downgrade(self), runtime));
        }
    }

    /// Closes expired connections. Returns when the next one expires, or `None` if none is left.
    fn expire(&self, runtime: Id) -> Option<Instant> {
        let now = Instant::now();
        let mut shards = self.lock();
        let shard = shards.iter_mut().find(|shard| shard.runtime == runtime)?;
        let is_fresh = |since: &Instant| now < *since + IDLE_TIMEOUT;
        let stale = shard
            .idle
            .iter()
            .take_while(|(since, _)| !is_fresh(since))
            .count();
        shard.idle.drain(..stale);
        shard.swept = !shard.idle.is_empty();
        shard.idle.first().map(|(since, _)| *since + IDLE_TIMEOUT)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes expired connections until none is left.
async fn sweep(pool: Weak<Pool>, runtime: Id) {
    let mut next = Instant::now() + IDLE_TIMEOUT;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.expire(runtime) {
            Some(due) => next = due,
            None => return,
        }
    }
}
