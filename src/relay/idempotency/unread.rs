//! Calls without a reader: how long they go on.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;
use crate::store::calls::CallKey;

use super::replay_log::ReplayLog;
use super::table::Running;

/// The longest pause between two checks.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How long a record of a reader at another replica counts at least. Longer than the longest pause
/// between two of them.
const FOLLOWED: Duration = Duration::from_secs(3);

/// The call in the store, where readers at other replicas are known.
pub(super) type Shared = Option<(Store, CallKey)>;

/// Holds a call as a reader does: until its end, or until it had no other reader for the grace of
/// its log, at any replica. Its first reader exists already.
pub(super) fn hold(running: Arc<Running>, log: Arc<ReplayLog>, shared: Shared) {
    tokio::spawn(async move {
        loop {
            log.left().await;
            while !log.is_read() {
                if log.has_ended() {
                    return;
                }
                let over = match time_left(&log, &shared).await {
                    Some(time) => {
                        tokio::time::sleep(time).await;
                        false
                    }
                    None => true,
                };
                // Dropped after it: no call can join this one any more.
                if over && running.give_up(&log) {
                    return;
                }
            }
        }
    });
}

/// The time until the next check of a call that was left at this replica; `None` if it is to end.
async fn time_left(log: &ReplayLog, shared: &Shared) -> Option<Duration> {
    let grace = log.grace();
    let within = |limit: Duration, alone: Duration| {
        let time = limit.checked_sub(alone).filter(|time| !time.is_zero());
        time.map(|time| time.min(MAX_PAUSE))
    };
    if let Some(time) = within(grace, log.left_for()) {
        return Some(time);
    }
    // Readers elsewhere read what this replica writes.
    let (store, key) = shared.as_ref().filter(|_| log.is_written_here())?;
    let limit = grace.max(FOLLOWED);
    match store.followed(key).await {
        Ok(followed) => within(limit, followed?),
        // Not known. If the store does not answer, readers at other replicas have failed.
        Err(_) => within(grace + FOLLOWED, log.left_for()),
    }
}
