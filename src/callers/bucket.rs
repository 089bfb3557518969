//! A token bucket: it refills at a rate per minute, and its capacity is one minute's amount.

use std::time::Duration;

use tokio::time::Instant;

/// The level of a bucket. The rate is an argument of each use, because it may change at run time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    level: f64,
    at: Option<Instant>,
}

/// Tolerance for the rounding of sums of fractions.
const NOISE: f64 = 1e-6;

impl Bucket {
    /// A full bucket at any rate. Without a limit it stays full.
    pub(super) const FULL: Self = Self {
        level: 0.0,
        at: None,
    };

    /// The time until this amount is available, in whole milliseconds; zero if it is available now.
    pub(super) fn wait(&self, amount: u64, per_minute: u64, now: Instant) -> Duration {
        let missing = share(amount, per_minute) - self.level(per_minute, now);
        if missing <= NOISE {
            return Duration::ZERO;
        }
        // Rounded up, so that a caller that waits this long is not refused again.
        let milliseconds = ((missing - NOISE) * 60_000.0 / per_minute as f64).ceil();
        Duration::from_millis(milliseconds as u64)
    }

    /// Takes an amount that [`Self::wait`] found available.
    pub(super) fn take(&mut self, amount: u64, per_minute: u64, now: Instant) {
        if per_minute == 0 {
            *self = Self::FULL;
            return;
        }
        self.level = self.level(per_minute, now) - share(amount, per_minute);
        self.at = Some(now);
    }

    /// Corrects an amount that was taken to the actual one. A negative level is refilled over time.
    pub(super) fn settle(&mut self, taken: u64, truth: u64, per_minute: u64, now: Instant) {
        if per_minute == 0 {
            *self = Self::FULL;
            return;
        }
        let level = self.level(per_minute, now);
        let back = share(taken, per_minute) - truth as f64;
        self.level = (level + back).min(per_minute as f64);
        self.at = Some(now);
    }

    fn level(&self, per_minute: u64, now: Instant) -> f64 {
        let most = per_minute as f64;
        match self.at {
            None => most,
            Some(at) => {
                let passed = now.saturating_duration_since(at).as_secs_f64();
                (self.level + passed * most / 60.0).min(most)
            }
        }
    }
}

/// The amount to take. More than the capacity is admitted when the bucket is full, because it could
/// never be otherwise; settling makes the level negative.
fn share(amount: u64, per_minute: u64) -> f64 {
    amount.min(per_minute) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_bucket_starts_full_and_refills_over_time() {
        let now = Instant::now();
        let mut bucket = Bucket::FULL;
        for _ in 0..60 {
            assert_eq!(bucket.wait(1, 60, now), Duration::ZERO);
            bucket.take(1, 60, now);
        }
        assert_eq!(bucket.wait(1, 60, now), SECOND);
        assert_eq!(bucket.wait(1, 60, now + SECOND / 2), SECOND / 2);
        assert_eq!(bucket.wait(1, 60, now + SECOND), Duration::ZERO);
        // Never more than one minute's amount.
        let later = now + SECOND * 3600;
        bucket.take(60, 60, later);
        assert_eq!(bucket.wait(1, 60, later), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_exact_to_the_millisecond() {
        let start = Instant::now();
        for rate in [1, 7, 59, 61, 999, 100_003] {
            let mut bucket = Bucket::FULL;
            bucket.take(rate, rate, start);
            for amount in [1, rate / 2 + 1, rate] {
                let wait = bucket.wait(amount, rate, start);
                let before = start + wait - Duration::from_millis(1);
                assert_ne!(bucket.wait(amount, rate, before), Duration::ZERO, "{rate}");
                assert_eq!(bucket.wait(amount, rate, start + wait), Duration::ZERO);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn settling_refunds_or_makes_the_level_negative() {
        let now = Instant::now();
        let mut bucket = Bucket::FULL;
        bucket.take(600, 600, now);
        bucket.settle(600, 100, 600, now);
        assert_eq!(bucket.wait(500, 600, now), Duration::ZERO);
        assert_ne!(bucket.wait(501, 600, now), Duration::ZERO);
        bucket.take(500, 600, now);
        bucket.settle(500, 1100, 600, now);
        assert_eq!(bucket.wait(1, 600, now), SECOND * 60 + SECOND / 10);
        // More than the capacity is admitted when the bucket is full, and leaves a negative level.
        let later = now + SECOND * 120;
        assert_eq!(bucket.wait(5000, 600, later), Duration::ZERO);
        bucket.take(5000, 600, later);
        bucket.settle(5000, 5000, 600, later);
        assert_eq!(bucket.wait(600, 600, later), SECOND * 500);
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_admits_no_more_than_the_rate() {
        let start = Instant::now();
        let (mut bucket, mut taken) = (Bucket::FULL, 0);
        for step in 0..1_000_000 {
            let now = start + Duration::from_micros(3600 * step);
            if bucket.wait(3, 100, now).is_zero() {
                bucket.take(3, 100, now);
                taken += 3;
            }
        }
        let right = 100 + 60 * 100;
        assert!((right - 60..=right).contains(&taken), "{taken}");
    }
}
