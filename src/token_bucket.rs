//! A token bucket: it refills at a rate per minute, and its capacity is one minute's amount.

use std::time::Duration;

use tokio::time::Instant;

/// The level of a bucket. The rate per minute is an argument of each use, because it may change at
/// run time. A rate of 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    level: f64,
    at: Option<Instant>,
}

/// Tolerance for the rounding of sums of fractions.
const NOISE: f64 = 1e-6;

impl TokenBucket {
    /// A full bucket at any rate. Without a limit it stays full.
    pub const FULL: Self = Self {
        level: 0.0,
        at: None,
    };

    /// The time until this amount is available, in whole milliseconds; zero if it is available now.
    pub fn wait(&self, amount: u64, per_minute: u64, now: Instant) -> Duration {
        let missing = share(amount, per_minute) - self.level(per_minute, now);
        if missing <= NOISE {
            return Duration::ZERO;
        }
        // Rounded up, so that a caller that waits this long is not refused again.
        let milliseconds = ((missing - NOISE) * 60_000.0 / per_minute as f64).ceil();
        Duration::from_millis(milliseconds as u64)
    }

    /// Takes an amount that [`Self::wait`] found available.
    pub fn take(&mut self, amount: u64, per_minute: u64, now: Instant) {
        if per_minute == 0 {
            *self = Self::FULL;
            return;
        }
        self.level = self.level(per_minute, now) - share(amount, per_minute);
        self.at = Some(now);
    }

    /// Corrects an amount that was taken to the actual one. A negative level is refilled over time.
    pub fn settle(&mut self, taken: u64, truth: u64, per_minute: u64, now: Instant) {
        if per_minute == 0 {
            *self = Self::FULL;
            return;
        }
        let level = self.level(per_minute, now);
        let back = share(taken, per_minute) - truth as f64;
        self.level = (level + back).min(per_minute as f64);
        self.at = Some(now);
    }

    /// Takes an amount that is known only afterwards, whether it is available or not. The level may
    /// become negative, and is then refilled over time.
    pub fn charge(&mut self, amount: u64, per_minute: u64, now: Instant) {
        self.settle(0, amount, per_minute, now);
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
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_bucket_starts_full_and_refills_over_time() {
        let now = Instant::now();
        let mut bucket = TokenBucket::FULL;
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
            let mut bucket = TokenBucket::FULL;
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
        let mut bucket = TokenBucket::FULL;
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
        let (mut bucket, mut taken) = (TokenBucket::FULL, 0);
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

    #[tokio::test(start_paused = true)]
    async fn a_charge_is_taken_whole_and_refilled_over_time() {
        let now = Instant::now();
        let mut bucket = TokenBucket::FULL;
        bucket.charge(60, 60, now);
        bucket.charge(30, 60, now);
        assert_eq!(bucket.wait(1, 60, now), SECOND * 31);
        let later = now + SECOND * 3600;
        assert_eq!(bucket.wait(60, 60, later), Duration::ZERO);
        bucket.charge(1000, 60, later);
        assert_eq!(bucket.wait(1, 60, later), SECOND * 941);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_zero_is_no_limit() {
        let now = Instant::now();
        let mut bucket = TokenBucket::FULL;
        bucket.take(u64::MAX, 0, now);
        bucket.charge(u64::MAX, 0, now);
        bucket.settle(0, u64::MAX, 0, now);
        assert_eq!(bucket.wait(u64::MAX, 0, now), Duration::ZERO);
        // A limit that is set later begins with a full bucket.
        assert_eq!(bucket.wait(60, 60, now), Duration::ZERO);
    }

    /// One use of a bucket in the property test, after a pause.
    #[derive(Clone, Debug)]
    enum Use {
        /// Takes an amount if it is available.
        Take(u64),
        /// Corrects the oldest amount that is not settled to this many tenths of it.
        Settle(u64),
        Charge(u64),
    }

    fn uses() -> impl Strategy<Value = Vec<(u64, Use)>> {
        let one = prop_oneof![
            4 => (0_u64..300).prop_map(Use::Take),
            2 => (0_u64..30).prop_map(Use::Settle),
            1 => (0_u64..300).prop_map(Use::Charge),
        ];
        // Often none or a short pause, so that the limit is reached; sometimes minutes.
        let pause = prop_oneof![2 => Just(0), 4 => 0_u64..5_000, 1 => 0_u64..200_000];
        prop::collection::vec((pause, one), 0..60)
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_the_capacity_and_the_rate(
            per_minute in 1_u64..200,
            uses in uses(),
        ) {
            let mut now = Instant::now();
            let mut bucket = TokenBucket::FULL;
            // By time: what was taken, and whether a take was admitted then.
            let mut history: Vec<(Instant, f64, bool)> = Vec::new();
            let mut open = std::collections::VecDeque::new();
            for (pause, one) in uses {
                now += Duration::from_millis(pause);
                match one {
                    Use::Take(amount) => {
                        let wait = bucket.wait(amount, per_minute, now);
                        if !wait.is_zero() {
                            prop_assert!(bucket.wait(amount, per_minute, now + wait).is_zero());
                            continue;
                        }
                        bucket.take(amount, per_minute, now);
                        open.push_back(amount);
                        history.push((now, share(amount, per_minute), true));
                    }
                    Use::Settle(tenths) => if let Some(taken) = open.pop_front() {
                        let truth = taken * tenths / 10;
                        bucket.settle(taken, truth, per_minute, now);
                        let more = truth as f64 - share(taken, per_minute);
                        history.push((now, more, false));
                    },
                    Use::Charge(amount) => {
                        bucket.charge(amount, per_minute, now);
                        history.push((now, amount as f64, false));
                    }
                }
            }
            // A window ends with an admission: what is charged later was admitted before.
            for first in 0..history.len() {
                let (start, mut sum) = (history[first].0, 0.0);
                for &(end, taken, admitted) in &history[first..] {
                    sum += taken;
                    let minutes = (end - start).as_secs_f64() / 60.0;
                    let most = per_minute as f64 * (1.0 + minutes);
                    prop_assert!(!admitted || sum <= most + 1e-3, "{sum} of {most}");
                }
            }
        }
    }
}
