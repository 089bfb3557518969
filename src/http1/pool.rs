//! Connections that may be used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::connection::Connection;

/// The most that wait, for each runtime. So many calls can end at once without the next ones having
/// to greet the host again, which costs more than all the rest of a small call.
const MAX_IDLE: usize = 1024;

/// How long one may wait. DashScope's load balancers close theirs after a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Connections that wait for their next request. A socket belongs to the runtime that it was opened
/// in, so that each runtime has its own.
#[derive(Default)]
pub(super) struct Pool {
    shards: Mutex<Vec<Shard>>,
}

struct Shard {
    runtime: Id,
    /// The one that came last goes first: it is the least likely to have been closed.
    idle: Vec<(Instant, Connection)>,
    /// Whether somebody closes those that wait too long.
    swept: bool,
}

impl Pool {
    /// One that is still open and not too old, if there is one.
    pub(super) fn take(&self) -> Option<Connection> {
        let runtime = Handle::try_current().ok()?.id();
        loop {
            // The others wait no longer than for one of them: a host may close a thousand at once.
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

    /// Keeps one for the next request, unless it is too old for one.
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
            // Those of runtimes that are gone have nothing left in them by now.
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

    /// Closes those that wait too long; when the next one will. None: there is no other.
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

/// Closes connections that wait too long, as long as there are any.
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
