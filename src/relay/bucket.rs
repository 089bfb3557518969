//! A token bucket: a rate per minute, and a burst of at most one minute's worth.

use std::time::Duration;

use tokio::time::Instant;

const MINUTE: f64 = 60.0;

/// The tokens left. May be negative, because the cost of a call is known only at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    per_minute: f64,
    level: f64,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        let per_minute = f64::from(per_minute);
        Self {
            per_minute,
            level: per_minute,
            at: now,
        }
    }

    /// How long until this much is available; zero if it is now.
    pub(super) fn wait(&self, amount: u32, now: Instant) -> Duration {
        // A larger amount than the capacity is admitted when the bucket is full: it would never be
        // otherwise.
        let wanted = f64::from(amount).min(self.per_minute);
        let missing = wanted - self.level(now);
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(missing / self.per_minute * MINUTE)
    }

    /// Takes this much, available or not.
    pub(super) fn take(&mut self, amount: u32, now: Instant) {
        self.level = self.level(now) - f64::from(amount);
        self.at = now;
    }

    fn level(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + passed / MINUTE * self.per_minute).min(self.per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_refills_by_time_and_pays_debts_first() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(60, now);
        bucket.take(60, now);
        assert_eq!(bucket.wait(1, now), Duration::from_secs(1));
        assert_eq!(bucket.wait(1, now + Duration::from_secs(1)), Duration::ZERO);
        bucket.take(30, now);
        assert_eq!(bucket.wait(1, now), Duration::from_secs(31));
        let later = now + Duration::from_secs(3600);
        assert_eq!(bucket.wait(60, later), Duration::ZERO);
        bucket.take(61, later);
        assert_eq!(bucket.wait(1, later), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_ever_fits_waits_for_a_full_bucket_only() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(10, now);
        assert_eq!(bucket.wait(1000, now), Duration::ZERO);
        bucket.take(1000, now);
        assert_eq!(bucket.wait(1, now), Duration::from_secs(60 * 991 / 10));
    }
}
