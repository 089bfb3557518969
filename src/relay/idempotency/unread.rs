//! Detached calls, which go on without a reader for a while.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;
use crate::store::calls::CallKey;

use super::replay_log::ReplayLog;
use super::table::Running;

/// How many times within the grace it is checked whether a call has a reader.
const CHECKS: u32 = 20;

/// The longest pause between two checks.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The call in the store, where readers at other replicas are known.
pub(super) type Shared = Option<(Store, CallKey)>;

/// Holds a call as a reader does: until its end, or until it had no other reader for this long, at
/// any replica.
pub(super) fn hold(running: Arc<Running>, log: Arc<ReplayLog>, shared: Shared, grace: Duration) {
    tokio::spawn(async move {
        let pause = pause(grace);
        let mut alone = Duration::ZERO;
        while !log.has_ended() {
            tokio::time::sleep(pause).await;
            alone = match Arc::strong_count(&running) {
                1 => alone + pause,
                _ => Duration::ZERO,
            };
            if alone < grace {
                continue;
            }
            let Some((store, key)) = &shared else {
                return;
            };
            match store.is_followed(key, grace).await {
                Ok(true) => alone = Duration::ZERO,
                Ok(false) => return,
                // Not known. The store is asked again; without it the call cannot end well anyway.
                Err(_) => {}
            }
        }
    });
}

/// The pause between two checks, and between two records of a reader at another replica.
pub(super) fn pause(grace: Duration) -> Duration {
    (grace / CHECKS).min(MAX_PAUSE)
}
