//! A rate that refills: so many a minute, and at most a minute's worth at once.

use std::time::Duration;

use tokio::time::Instant;

/// What is left of a rate. The rate itself is told at each use, because a file may change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    level: f64,
    at: Option<Instant>,
}

/// What sums of fractions may be wrong by.
const NOISE: f64 = 1e-6;

impl Bucket {
    /// A full one. It is one whatever the rate, and with no rate it stays one.
    pub(super) const FULL: Self = Self {
        level: 0.0,
        at: None,
    };

    /// How long until this much can be taken, in whole milliseconds; zero if it can be now.
    pub(super) fn wait(&self, amount: u64, per_minute: u64, now: Instant) -> Duration {
        let missing = share(amount, per_minute) - self.level(per_minute, now);
        if missing <= NOISE {
            return Duration::ZERO;
        }
        // Rounded up: who comes back when he was told to is not told to wait again.
        let milliseconds = ((missing - NOISE) * 60_000.0 / per_minute as f64).ceil();
        Duration::from_millis(milliseconds as u64)
    }

    /// Takes what [`Self::wait`] found to be there.
    pub(super) fn take(&mut self, amount: u64, per_minute: u64, now: Instant) {
        if per_minute == 0 {
            *self = Self::FULL;
            return;
        }
        self.level = self.level(per_minute, now) - share(amount, per_minute);
        self.at = Some(now);
    }

    /// Puts right what was taken, when the true amount is known. A debt is paid by time.
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

/// What is taken for an amount. One that never fits is let through when the bucket is full: it
/// could never be otherwise, and the settling makes it a debt.
fn share(amount: u64, per_minute: u64) -> f64 {
    amount.min(per_minute) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_is_full_at_first_and_refills_by_time() {
        let now = Instant::now();
        let mut bucket = Bucket::FULL;
        for _ in 0..60 {
            assert_eq!(bucket.wait(1, 60, now), Duration::ZERO);
            bucket.take(1, 60, now);
        }
        assert_eq!(bucket.wait(1, 60, now), SECOND);
        assert_eq!(bucket.wait(1, 60, now + SECOND / 2), SECOND / 2);
        assert_eq!(bucket.wait(1, 60, now + SECOND), Duration::ZERO);
        // Never more than a minute's worth.
        let later = now + SECOND * 3600;
        bucket.take(60, 60, later);
        assert_eq!(bucket.wait(1, 60, later), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_true_to_the_millisecond() {
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
    async fn settling_gives_back_or_makes_a_debt() {
        let now = Instant::now();
        let mut bucket = Bucket::FULL;
        bucket.take(600, 600, now);
        bucket.settle(600, 100, 600, now);
        assert_eq!(bucket.wait(500, 600, now), Duration::ZERO);
        assert_ne!(bucket.wait(501, 600, now), Duration::ZERO);
        bucket.take(500, 600, now);
        bucket.settle(500, 1100, 600, now);
        assert_eq!(bucket.wait(1, 600, now), SECOND * 60 + SECOND / 10);
        // More than ever fits is let through when all is there, and is owed afterwards.
        let later = now + SECOND * 120;
        assert_eq!(bucket.wait(5000, 600, later), Duration::ZERO);
        bucket.take(5000, 600, later);
        bucket.settle(5000, 5000, 600, later);
        assert_eq!(bucket.wait(600, 600, later), SECOND * 500);
    }

    #[tokio::test(start_paused = true)]
    async fn no_hour_lets_more_through_than_its_rate() {
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
