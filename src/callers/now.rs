//! The time by both clocks.

use std::time::Duration;

use tokio::time::Instant;

use super::date;

/// The time by the monotonic and by the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The monotonic time.
    pub(super) instant: Instant,
    /// Seconds since 1970.
    pub(super) unix: u64,
}

impl Now {
    /// The time now.
    pub(super) fn read() -> Self {
        Self {
            instant: Instant::now(),
            unix: date::now(),
        }
    }

    /// The time until midnight in UTC.
    pub(super) fn rest_of_day(self) -> Duration {
        Duration::from_secs(date::DAY - self.unix % date::DAY)
    }
}
