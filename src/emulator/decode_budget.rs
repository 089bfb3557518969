//! The limits of decoding for one request: samples, time, and the presence of its client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Samples of all channels that are decoded for one request: eleven minutes at 48 kHz in stereo,
/// more than any model accepts.
const SAMPLES: u64 = 64_000_000;
/// Time for decoding the media of one request: enough for eleven minutes of audio on a slow
/// machine.
const TIME: Duration = Duration::from_secs(5);

/// What is left of the limits of one request.
#[derive(Debug)]
pub(super) struct Budget {
    samples: u64,
    until: Instant,
    gone: Arc<AtomicBool>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            samples: SAMPLES,
            until: Instant::now() + TIME,
            gone: Arc::default(),
        }
    }
}

impl Budget {
    /// The whole budget, and a guard that cancels the work when it is dropped.
    pub(super) fn guarded() -> (Self, Guard) {
        let budget = Self::default();
        let guard = Guard(Arc::clone(&budget.gone));
        (budget, guard)
    }

    /// Counts decoded samples.
    pub(super) fn spend(&mut self, samples: usize) {
        let samples = u64::try_from(samples).unwrap_or(u64::MAX);
        self.samples = self.samples.saturating_sub(samples);
    }

    /// Whether a limit is reached.
    pub(super) fn is_spent(&self) -> bool {
        self.samples == 0 || Instant::now() >= self.until || self.is_abandoned()
    }

    /// Whether the client is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// Held by the request. Dropping it cancels the decoding.
#[derive(Debug)]
pub(super) struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_ends_with_its_samples_its_time_or_its_client() {
        let mut budget = Budget::default();
        budget.spend(63_999_999);
        assert!(!budget.is_spent());
        budget.spend(usize::MAX);
        assert!(budget.is_spent() && !budget.is_abandoned());
        let budget = Budget::default();
        tokio::time::advance(TIME).await;
        assert!(budget.is_spent());
        let (budget, guard) = Budget::guarded();
        assert!(!budget.is_spent());
        drop(guard);
        assert!(budget.is_spent() && budget.is_abandoned());
    }
}
