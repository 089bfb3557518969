//! Watches over calls that nobody polls.
//!
//! HTTP/2 stops to poll an answer while its reader does not read, so the clocks inside that answer
//! stand still, and the model would go on to cost tokens. Once a second this room looks at every
//! call from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use slab::Slab;
use tokio::time::{Instant, MissedTickBehavior};

use crate::error::{Error, Reason};
use crate::telemetry::calls::Calls as View;

use super::passage::Passage;
use super::reply::{self, Core, Reply};

/// How often to look. A call that is read keeps its own, exact clocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All calls in flight.
#[derive(Default)]
pub(super) struct Supervisor {
    calls: Arc<Mutex<Calls>>,
}

#[derive(Default)]
struct Calls {
    list: Slab<Weak<Mutex<Core>>>,
    uploads: Vec<Weak<Passage>>,
    shut_down: bool,
}

/// A call that is watched over until this is dropped.
pub(super) struct Watched {
    calls: Arc<Mutex<Calls>>,
    key: usize,
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.calls).list.try_remove(self.key);
    }
}

impl Supervisor {
    /// Watches over a reply as long as there is somebody to read it.
    pub(super) fn watch(&self, reply: &mut Reply) {
        let core = Arc::downgrade(reply.core());
        let mut calls = self.lock();
        let key = calls.list.insert(core);
        let going_down = calls.shut_down.then(going_down);
        drop(calls);
        let calls = Arc::clone(&self.calls);
        reply.watched(Watched { calls, key });
        if let Some(error) = going_down {
            reply::lock(reply.core()).end(error);
        }
    }

    /// Knows of an upload as long as that lives.
    pub(super) fn add_upload(&self, upload: &Arc<Passage>) {
        let mut calls = self.lock();
        // As many as may be in flight at the most, because each holds a place.
        calls.uploads.retain(|upload| upload.strong_count() > 0);
        calls.uploads.push(Arc::downgrade(upload));
    }

    /// All that is in flight now, the oldest first.
    pub(super) fn view(&self) -> View {
        let live = self.live();
        let calls = live.iter().filter_map(|core| reply::lock(core).view());
        let mut calls: Vec<_> = calls.collect();
        let uploads: Vec<_> = {
            let locked = self.lock();
            locked.uploads.iter().filter_map(Weak::upgrade).collect()
        };
        calls.extend(uploads.iter().map(|upload| upload.view()));
        calls.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
        View { calls }
    }

    /// Looks again and again.
    pub(super) async fn run(&self, slow_consumer: impl Fn() -> Duration) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let slow_consumer = slow_consumer();
            for core in self.live() {
                let mut core = reply::lock(&core);
                if let Some(error) = core.overdue(now, slow_consumer) {
                    core.end(error);
                }
            }
        }
    }

    /// Ends every call, and every one that still comes.
    pub(super) fn shut_down(&self) {
        self.lock().shut_down = true;
        for core in self.live() {
            reply::lock(&core).end(going_down());
        }
    }

    /// The calls that are not over. A copy, so that no call is locked under the list's lock.
    fn live(&self) -> Vec<Arc<Mutex<Core>>> {
        let calls = self.lock();
        let live = calls.list.iter();
        live.filter_map(|(_, core)| core.upgrade()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        lock(&self.calls)
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

fn going_down() -> Error {
    Error::new(Reason::ShuttingDown, "the gateway is going down")
}
