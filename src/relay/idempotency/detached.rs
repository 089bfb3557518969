//! Detached calls, which go on without a reader for a while.

use std::sync::Arc;
use std::time::Duration;

use super::replay_log::ReplayLog;
use super::table::Running;

/// How many times within the grace it is checked whether a call has a reader.
const CHECKS: u32 = 20;

/// The longest pause between two checks.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Holds a call as a reader does: until its end, or until it had no other reader for this long.
pub(super) fn hold(running: Arc<Running>, log: Arc<ReplayLog>, grace: Duration) {
    tokio::spawn(async move {
        let pause = (grace / CHECKS).min(MAX_PAUSE);
        let mut alone = Duration::ZERO;
        while !log.has_ended() && alone < grace {
            tokio::time::sleep(pause).await;
            alone = match Arc::strong_count(&running) {
                1 => alone + pause,
                _ => Duration::ZERO,
            };
        }
    });
}
