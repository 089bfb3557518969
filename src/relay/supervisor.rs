//! Watches over calls that nobody polls.
//!
//! HTTP/2 stops to poll an answer while its reader does not read, so the clocks inside that answer
//! stand still, and the model would go on to cost tokens. Once a second this room looks at every
//! call from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::error::{Error, Reason};
use crate::telemetry::calls::Calls as View;

use super::passage::Passage;
use super::reply::{self, Core, Reply};
use super::watch::Watch;

/// How often to look. A call that is read keeps its own, exact clocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All calls in flight.
#[derive(Default)]
pub(super) struct Supervisor {
    calls: Watch<Mutex<Core>>,
    uploads: Mutex<Vec<Weak<Passage>>>,
    shut_down: AtomicBool,
}

impl Supervisor {
    /// Watches over a reply as long as there is somebody to read it.
    pub(super) fn watch(&self, reply: &mut Reply) {
        reply.watched(self.calls.add(reply.core()));
        // Asked after it is on the list: whoever sets this ends those that are on it.
        if self.shut_down.load(Ordering::SeqCst) {
            reply::lock(reply.core()).end(going_down());
        }
    }

    /// Knows of an upload as long as that lives.
    pub(super) fn add_upload(&self, upload: &Arc<Passage>) {
        let mut uploads = self.uploads();
        // As many as may be in flight at the most, because each holds a place.
        uploads.retain(|upload| upload.strong_count() > 0);
        uploads.push(Arc::downgrade(upload));
    }

    /// All that is in flight now, the oldest first.
    pub(super) fn view(&self) -> View {
        let live = self.calls.live();
        let calls = live.iter().filter_map(|core| reply::lock(core).view());
        let mut calls: Vec<_> = calls.collect();
        let uploads: Vec<_> = self.uploads().iter().filter_map(Weak::upgrade).collect();
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
            for core in self.calls.live() {
                let mut core = reply::lock(&core);
                if let Some(error) = core.overdue(now, slow_consumer) {
                    core.end(error);
                }
            }
        }
    }

    /// Ends every call, and every one that still comes.
    pub(super) fn shut_down(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
        for core in self.calls.live() {
            reply::lock(&core).end(going_down());
        }
    }

    fn uploads(&self) -> MutexGuard<'_, Vec<Weak<Passage>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn going_down() -> Error {
    Error::new(Reason::ShuttingDown, "the gateway is going down")
}
