//! The effect of an upstream's errors on later calls.
//!
//! The error of one call usually affects no other. A throttled model, a refused key and an unpaid
//! bill do: further requests cost time without effect. The scope is determined by code and status,
//! and never wider than what is configured: if the caller chose the cause (its workspace, a model
//! that the account may not use, a request that makes the upstream fail), only the same choice of
//! the same caller has to wait. The time is a parameter, so that this file is pure computation.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind, Reason, Scope};

/// How long an account is paused after a refused key or an unpaid bill. Someone has to fix it
/// first, and one request per minute detects that soon enough.
const KEY_PAUSE: Duration = Duration::from_secs(60);

/// How long a throttled model is paused without `Retry-After`. Its limits count per second and per
/// minute; most throttling ends within a second.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// The maximum pause, whatever `Retry-After` requests. DashScope's limits count per minute.
const LONGEST_THROTTLE: Duration = Duration::from_secs(60);

/// The policy for failing upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakerPolicy {
    /// The number of consecutive failures that opens the circuit; 0 disables it.
    pub failures: u32,
    /// How long the circuit stays open before one call may try.
    pub pause: Duration,
}

/// Which calls an error affects, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// None: the error was specific to the call.
    None,
    /// The upstream was not reached, which callers cannot cause.
    Unreached,
    /// The upstream failed, which a caller may have caused.
    Failure,
    /// This caller's calls of this model, in this workspace, are paused.
    Choice(Duration),
    /// All calls of this model at this account are paused.
    Model(Duration),
    /// All calls at this account are paused.
    Account(Duration),
}

/// The effect of an error on later calls. `chosen` is whether the caller chose the workspace of the
/// call.
pub(super) fn consequence(error: &Error, chosen: bool) -> Consequence {
    let reason = error.reason();
    let throttled = matches!(
        reason,
        Reason::UpstreamRate | Reason::UpstreamBurst | Reason::UpstreamTokens
    );
    let unreached = matches!(
        reason,
        Reason::UpstreamDns | Reason::UpstreamConnect | Reason::UpstreamTls
    );
    let failed = matches!(
        reason,
        Reason::UpstreamInternal
            | Reason::UpstreamOverloaded
            | Reason::UpstreamUnknown
            | Reason::UpstreamReset
            | Reason::FirstEventTimeout
    );
    if unreached {
        return Consequence::Unreached;
    }
    if failed {
        return Consequence::Failure;
    }
    let pause = match throttled {
        true => error.retry_after().unwrap_or(THROTTLED_PAUSE),
        false => KEY_PAUSE,
    };
    let pause = pause.min(LONGEST_THROTTLE);
    match error.upstream().map(|upstream| upstream.scope) {
        Some(Scope::Account) if !chosen => Consequence::Account(pause),
        // Rates are limits of the account. Other errors of a model may be specific to this caller,
        // which chose the model.
        Some(Scope::Model) if !chosen && throttled => Consequence::Model(pause),
        Some(Scope::Account | Scope::Model) => Consequence::Choice(pause),
        Some(Scope::Call) | None => Consequence::None,
    }
}

/// Whether requests may be sent, and if not, until when and why.
#[derive(Clone, Debug, Default)]
pub(super) struct CircuitBreaker {
    out: Option<(Instant, Error)>,
    failures: u32,
    /// Until when the circuit is open.
    open: Option<Instant>,
}

/// Why requests may not be sent.
#[derive(Clone, Debug)]
pub(in crate::relay) struct Away {
    /// The remaining time.
    pub(in crate::relay) wait: Duration,
    /// The error for the caller.
    pub(in crate::relay) error: Error,
}

impl CircuitBreaker {
    /// Whether a request may be sent now.
    pub(super) fn check(&self, now: Instant) -> Result<(), Away> {
        let left =
            |until: Instant| Some(until.saturating_duration_since(now)).filter(|d| !d.is_zero());
        if let Some((until, error)) = &self.out
            && let Some(wait) = left(*until)
        {
            let error = match error.kind() == Kind::Exhausted {
                true => error.clone().with_retry_after(wait),
                false => error.clone(),
            };
            return Err(Away { wait, error });
        }
        match self.open.and_then(left) {
            Some(wait) => Err(Away {
                wait,
                error: circuit_open(wait),
            }),
            None => Ok(()),
        }
    }

    /// Records that a request is sent now. If the circuit is open, this is the single trial:
    /// another is allowed after a further pause, in case the outcome of this one is never reported.
    pub(super) fn ask(&mut self, now: Instant, policy: CircuitBreakerPolicy) {
        if let Some(until) = &mut self.open {
            *until = now + policy.pause;
        }
    }

    /// Records a success.
    pub(super) fn answered(&mut self) {
        self.out = None;
        self.failures = 0;
        self.open = None;
    }

    /// Records a failure.
    pub(super) fn failed(&mut self, now: Instant, policy: CircuitBreakerPolicy) {
        self.failures = self.failures.saturating_add(1);
        if policy.failures > 0 && self.failures >= policy.failures {
            self.open = Some(now + policy.pause);
        }
    }

    /// Pauses requests. Calls in the meantime fail with the reason of this error.
    pub(super) fn leave(&mut self, now: Instant, pause: Duration, error: &Error) {
        self.out = Some((now + pause, error.clone().for_other_calls()));
    }

    /// Whether there is no state.
    pub(super) fn is_clean(&self, now: Instant) -> bool {
        let out = self.out.as_ref().is_some_and(|(until, _)| now < *until);
        !out && self.failures == 0 && self.open.is_none()
    }
}

/// The error of a call that is rejected because earlier ones failed.
pub(super) fn circuit_open(wait: Duration) -> Error {
    let message = "the circuit breaker is open: DashScope failed repeatedly";
    Error::new(Reason::CircuitOpen, message).with_retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Sent, Upstream};

    const POLICY: CircuitBreakerPolicy = CircuitBreakerPolicy {
        failures: 3,
        pause: Duration::from_secs(2),
    };

    fn refused(reason: Reason, scope: Scope) -> Error {
        Error::new(reason, "refused").with_upstream(Upstream {
            scope,
            ..Upstream::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn enough_failures_in_a_row_open_the_circuit_and_one_call_may_try() {
        let mut standing = CircuitBreaker::default();
        let now = Instant::now();
        for _ in 0..2 {
            standing.failed(now, POLICY);
            standing.failed(now, POLICY);
            assert!(standing.check(now).is_ok());
            standing.answered();
        }
        for _ in 0..3 {
            standing.failed(now, POLICY);
        }
        let away = standing.check(now).unwrap_err();
        assert_eq!(away.error.reason(), Reason::CircuitOpen);
        assert_eq!(away.error.retry_after(), Some(POLICY.pause));
        let later = now + POLICY.pause;
        assert!(standing.check(later).is_ok());
        standing.ask(later, POLICY);
        assert!(standing.check(later).is_err(), "one may try, not all");
        standing.failed(later, POLICY);
        assert!(standing.check(later + Duration::from_secs(1)).is_err());
        let again = later + POLICY.pause;
        standing.ask(again, POLICY);
        standing.answered();
        assert!(standing.check(again).is_ok() && standing.is_clean(again));
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_get_the_same_error() {
        let mut standing = CircuitBreaker::default();
        let now = Instant::now();
        let error = refused(Reason::UpstreamBilling, Scope::Account).with_sent(Sent::Refused);
        standing.leave(now, KEY_PAUSE, &error);
        let away = standing.check(now + Duration::from_secs(59)).unwrap_err();
        assert_eq!(away.error.reason(), Reason::UpstreamBilling);
        assert_eq!(away.error.sent(), Sent::No);
        assert!(standing.check(now + KEY_PAUSE).is_ok());
    }

    #[test]
    fn each_error_keeps_the_right_calls_away() {
        use Consequence::{Account, Choice, Model, None, Unreached};
        let wish =
            refused(Reason::UpstreamRate, Scope::Model).with_retry_after(Duration::from_secs(3600));
        let refused = |reason, scope| refused(reason, scope);
        for (error, own, chosen) in [
            (
                refused(Reason::UpstreamCredential, Scope::Account),
                Account(KEY_PAUSE),
                Choice(KEY_PAUSE),
            ),
            (
                refused(Reason::UpstreamBilling, Scope::Account),
                Account(KEY_PAUSE),
                Choice(KEY_PAUSE),
            ),
            (
                refused(Reason::UpstreamBilling, Scope::Model),
                Choice(KEY_PAUSE),
                Choice(KEY_PAUSE),
            ),
            (
                refused(Reason::UpstreamPermission, Scope::Model),
                Choice(KEY_PAUSE),
                Choice(KEY_PAUSE),
            ),
            (
                refused(Reason::UpstreamBurst, Scope::Model),
                Model(THROTTLED_PAUSE),
                Choice(THROTTLED_PAUSE),
            ),
            (wish, Model(LONGEST_THROTTLE), Choice(LONGEST_THROTTLE)),
            // By the message alone.
            (refused(Reason::UpstreamRate, Scope::Call), None, None),
            (refused(Reason::UpstreamCredential, Scope::Call), None, None),
            (
                refused(Reason::UpstreamInternal, Scope::Call),
                Consequence::Failure,
                Consequence::Failure,
            ),
            (
                Error::new(Reason::UpstreamConnect, "no"),
                Unreached,
                Unreached,
            ),
            (refused(Reason::InvalidRequest, Scope::Call), None, None),
            (Error::new(Reason::MediaUrl, "no"), None, None),
        ] {
            assert_eq!(consequence(&error, false), own, "{error:?}");
            assert_eq!(consequence(&error, true), chosen, "{error:?}");
        }
    }
}
