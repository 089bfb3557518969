//! The circuit breaker of a model for all callers together.
//!
//! One caller can make an upstream fail by its requests, so one caller never opens it: failures of
//! several must be consecutive, and each caller counts for its share at most. While it is half-open
//! each caller may make one trial, so that no caller can use up all trials.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::circuit_breaker::CircuitBreakerPolicy;

/// How many callers must have failed: with two, one malicious caller and one coincidence would
/// suffice.
pub(super) const LEAST_CALLERS: usize = 3;

/// A caller as identified by the circuit breaker: by its configured name. Callers without a name
/// count as one, because anybody can pose as many of them.
pub(super) type Voter = Option<Arc<str>>;

/// The state of one model.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedCircuit {
    /// The number of failures counted.
    failures: u32,
    /// The failures by caller.
    votes: Vec<(Voter, u32)>,
    /// Until when the circuit is open. Afterwards it is half-open.
    open: Option<Instant>,
    /// The callers that made a trial while it is half-open, and until when each waits.
    trials: Vec<(Voter, Instant)>,
}

impl SharedCircuit {
    /// How long this caller has to wait; `None` if a request may be sent now.
    pub(super) fn wait(
        &self,
        now: Instant,
        voter: &Voter,
        policy: CircuitBreakerPolicy,
    ) -> Option<Duration> {
        let open = self.open?;
        if now < open {
            return Some(open.saturating_duration_since(now));
        }
        let mut pending = self.trials.iter().filter(|(_, until)| now < *until);
        let own = pending.clone().find(|(name, _)| name == voter);
        let taken = pending.clone().count() >= most_trials(policy);
        let first = own.or_else(|| if taken { pending.next() } else { None });
        first.map(|(_, until)| until.saturating_duration_since(now))
    }

    /// Records that a request is sent now. If the circuit is half-open, this is the caller's trial.
    pub(super) fn ask(&mut self, now: Instant, voter: &Voter, policy: CircuitBreakerPolicy) {
        if self.open.is_some() {
            self.trials.retain(|(_, until)| now < *until);
            self.trials.push((voter.clone(), now + policy.pause));
        }
    }

    /// Records a success.
    pub(super) fn answered(&mut self) {
        if self.failures > 0 || self.open.is_some() {
            *self = Self::default();
        }
    }

    /// Records a failed call of this caller.
    pub(super) fn failed(&mut self, now: Instant, voter: &Voter, policy: CircuitBreakerPolicy) {
        if policy.failures == 0 || self.open.is_some_and(|open| now < open) {
            return;
        }
        // A trial of each of several callers opens it again.
        let half_open = self.open.is_some();
        let share = match half_open {
            true => 1,
            false => policy
                .failures
                .div_ceil(u32::try_from(LEAST_CALLERS).unwrap_or(1)),
        };
        if !self.vote(voter, share) {
            return;
        }
        let enough = half_open || self.failures >= policy.failures;
        if enough && self.votes.len() >= LEAST_CALLERS {
            *self = Self {
                open: Some(now + policy.pause),
                ..Self::default()
            };
        }
    }

    /// Counts a failure, unless this caller has reached its share.
    fn vote(&mut self, voter: &Voter, share: u32) -> bool {
        match self.votes.iter_mut().find(|(name, _)| name == voter) {
            Some((_, count)) if *count >= share => return false,
            Some((_, count)) => *count += 1,
            None => self.votes.push((voter.clone(), 1)),
        }
        self.failures = self.failures.saturating_add(1);
        true
    }

    /// Whether there is no state.
    pub(super) fn is_clean(&self) -> bool {
        self.failures == 0 && self.open.is_none()
    }
}

/// The maximum number of concurrent trials: enough to detect recovery, without a thundering herd.
fn most_trials(policy: CircuitBreakerPolicy) -> usize {
    usize::try_from(policy.failures)
        .unwrap_or(usize::MAX)
        .max(LEAST_CALLERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CircuitBreakerPolicy = CircuitBreakerPolicy {
        failures: 10,
        pause: Duration::from_secs(2),
    };

    fn named(name: &str) -> Voter {
        Some(name.into())
    }

    fn is_open(circuit: &SharedCircuit, now: Instant, name: &str) -> bool {
        circuit.wait(now, &named(name), POLICY).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_or_two_never_open_it_however_often_they_fail() {
        let now = Instant::now();
        let mut circuit = SharedCircuit::default();
        for _ in 0..1000 {
            circuit.failed(now, &named("a"), POLICY);
            circuit.failed(now, &None, POLICY);
        }
        assert!(!is_open(&circuit, now, "b"));
        assert!(circuit.votes.len() <= 2, "one entry for each caller");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_several_open_it_and_an_answer_closes_it() {
        let now = Instant::now();
        let mut circuit = SharedCircuit::default();
        for (failure, name) in ["a", "b", "c"].repeat(4).into_iter().enumerate() {
            assert_eq!(is_open(&circuit, now, "d"), failure >= 10);
            circuit.failed(now, &named(name), POLICY);
        }
        assert!(is_open(&circuit, now, "d"));
        assert!(!is_open(&circuit, now + POLICY.pause, "d"));
        circuit.answered();
        assert!(circuit.is_clean() && !is_open(&circuit, now, "d"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_whose_trials_fail_keeps_nobody_else_away() {
        let mut now = Instant::now();
        let mut circuit = SharedCircuit::default();
        for name in ["a", "b", "c"].repeat(4) {
            circuit.failed(now, &named(name), POLICY);
        }
        for _ in 0..10 {
            now += POLICY.pause;
            assert!(!is_open(&circuit, now, "a"));
            circuit.ask(now, &named("a"), POLICY);
            assert!(is_open(&circuit, now, "a"), "one trial, not all");
            circuit.failed(now, &named("a"), POLICY);
            assert!(!is_open(&circuit, now, "d"), "the trial of another");
        }
        for name in ["b", "c"] {
            circuit.ask(now, &named(name), POLICY);
            circuit.failed(now, &named(name), POLICY);
        }
        assert!(is_open(&circuit, now, "d"), "trials of three failed");
    }
}
