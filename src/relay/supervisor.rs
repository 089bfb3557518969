//! Watches over calls that nobody polls.
//!
//! HTTP/2 stops to poll an answer while its reader does not read, so the clocks inside that answer
//! stand still, and the model would go on to cost tokens. Once a second this room looks at every
//! call from outside.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

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
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    list: Vec<Weak<Mutex<Core>>>,
    uploads: Vec<Weak<Passage>>,
    /// The list is swept when it has grown to this length, so that finished calls never pile up
    /// between two looks.
    sweep_at: usize,
    shut_down: bool,
}

/// The least length at which the list is swept.
const SWEEP_AT_LEAST: usize = 64;

impl Supervisor {
    /// Watches over a reply from now on.
    pub(super) fn add(&self, reply: &Reply) {
        let mut calls = self.lock();
        if calls.list.len() >= calls.sweep_at.max(SWEEP_AT_LEAST) {
            calls.list.retain(|core| core.strong_count() > 0);
            calls.sweep_at = calls.list.len() * 2;
        }
        calls.list.push(Arc::downgrade(reply.core()));
        if calls.shut_down {
            reply::lock(reply.core()).end(going_down());
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
        let mut calls = self.lock();
        calls.list.retain(|core| core.strong_count() > 0);
        calls.list.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn going_down() -> Error {
    Error::new(Reason::ShuttingDown, "the gateway is going down")
}
