//! Decides whether a failed attempt is retried: a pure function, under a budget.
//!
//! Only before the first event, only if the model certainly did not run, only for transient errors,
//! only within the caller's deadline, and only while retries are a small share of all calls.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::chat::call::{Caller, Passing};
use crate::error::{Error, Reason, Sent};

/// The first pause. Doubled for each further attempt, with jitter below the doubled value.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The maximum pause without `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a throttled attempt waits without `Retry-After`: DashScope's limits count per second
/// and per minute, and only the former reset within a call.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// The maximum number of attempts of one call for errors that are often transient.
const PASSING_ATTEMPTS: u32 = 3;

/// The retry policy.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The maximum number of attempts of one call, the first included.
    pub max_attempts: u32,
    /// Whether a call is retried if its connection broke before a response. The model may have run,
    /// and may run twice.
    pub after_reset: bool,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No retry.
    No,
    /// Retry after this pause.
    After(Duration),
}

/// The class of an error for retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Permanent.
    Lasting,
    /// Often transient: at most two more attempts.
    Passing,
    /// Transient after a delay: one more attempt, if the delay fits.
    Throttled,
    /// The outcome of the call is unknown.
    Unclear,
}

impl RetryPolicy {
    /// Whether the next attempt is the last for an error that is often transient.
    pub fn is_last_but_one(self, attempt: u32) -> bool {
        attempt + 1 >= PASSING_ATTEMPTS.min(self.max_attempts)
    }
}

/// Whether the model failed for no reason that lies in the request. Its code may be unknown to the
/// table, or missing.
pub fn is_internal(error: &Error) -> bool {
    let has_status = || error.upstream().is_some_and(|said| said.http_status == 500);
    let reason = error.reason();
    reason == Reason::UpstreamInternal || reason == Reason::UpstreamUnknown && has_status()
}

/// Decides about a failed attempt. `attempt` counts from 1, `remaining` is the time to the caller's
/// deadline, `random` is in 0..1.
pub fn decide(
    policy: RetryPolicy,
    error: &Error,
    attempt: u32,
    remaining: Duration,
    random: f64,
) -> Verdict {
    let allowed = match class(error.reason()) {
        Class::Lasting => 1,
        Class::Passing => PASSING_ATTEMPTS,
        Class::Throttled => 2,
        Class::Unclear => 1 + u32::from(policy.after_reset),
    };
    let may_have_run = match error.sent() {
        Sent::No | Sent::Refused => false,
        Sent::Maybe => !(policy.after_reset && class(error.reason()) == Class::Unclear),
        Sent::Begun => true,
    };
    if may_have_run || attempt >= allowed.min(policy.max_attempts) {
        return Verdict::No;
    }
    let pause = pause(error, attempt, random);
    if pause < remaining {
        Verdict::After(pause)
    } else {
        Verdict::No
    }
}

fn pause(error: &Error, attempt: u32, random: f64) -> Duration {
    let doubled = FIRST_PAUSE * 2u32.saturating_pow(attempt.min(16));
    let jittered = doubled.min(LONGEST_PAUSE).mul_f64(random.clamp(0.0, 1.0));
    match (error.retry_after(), class(error.reason())) {
        (Some(wish), _) => wish + jittered,
        (None, Class::Throttled) => THROTTLED_PAUSE + jittered,
        (None, Class::Lasting | Class::Passing | Class::Unclear) => jittered,
    }
}

fn class(reason: Reason) -> Class {
    let passing = matches!(
        reason,
        Reason::UpstreamDns
            | Reason::UpstreamConnect
            | Reason::UpstreamInternal
            | Reason::UpstreamOverloaded
            | Reason::UpstreamStorage
            | Reason::UpstreamUnknown
            | Reason::MediaNotReady
    );
    let throttled = matches!(
        reason,
        Reason::UpstreamRate | Reason::UpstreamBurst | Reason::UpstreamTokens
    );
    if passing {
        Class::Passing
    } else if throttled {
        Class::Throttled
    } else if reason == Reason::UpstreamReset {
        Class::Unclear
    } else {
        Class::Lasting
    }
}

/// The number of groups of callers, for the retry budget.
const GROUPS: usize = 64;

/// Keeps retries a small share of all calls, so that a failing DashScope gets no retry storm.
/// Callers are in groups, each with its own budget: a caller whose calls always fail spends what it
/// earned, and not what others did.
#[derive(Debug)]
pub struct RetryBudget {
    /// In hundredths of a retry.
    balances: [AtomicI64; GROUPS],
    percent: i64,
}

impl RetryBudget {
    /// The initial budget of a group, and its maximum, in retries.
    const RESERVE: i64 = 10;
    const RETRY: i64 = 100;

    /// Each call earns this percentage of a retry.
    pub fn new(percent: u32) -> Self {
        let reserve = Self::RESERVE * Self::RETRY;
        let begin = if percent == 0 { 0 } else { reserve };
        Self {
            balances: std::array::from_fn(|_| AtomicI64::new(begin)),
            percent: i64::from(percent),
        }
    }

    /// Records a call of this caller.
    pub fn earn(&self, caller: Caller) {
        let most = Self::RESERVE * Self::RETRY;
        let add = |balance: i64| (balance < most).then(|| (balance + self.percent).min(most));
        if let Some(balance) = self.balance(caller) {
            let _ = balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Spends the budget of a retry. Returns false if there is none.
    pub fn spend(&self, caller: Caller) -> bool {
        let take = |balance: i64| (balance >= Self::RETRY).then_some(balance - Self::RETRY);
        let spent = |balance: &AtomicI64| {
            balance
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
        };
        self.balance(caller).is_some_and(spent)
    }

    fn balance(&self, Caller(number): Caller) -> Option<&AtomicI64> {
        let group = number % u64::try_from(GROUPS).unwrap_or(1);
        self.balances
            .get(usize::try_from(group).unwrap_or_default())
    }
}

/// Whether an account may not store files that another one may.
pub(super) fn is_of_account(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::UpstreamCredential
            | Reason::UpstreamPermission
            | Reason::UpstreamBilling
            | Reason::UpstreamRate
            | Reason::UpstreamBurst
            | Reason::UpstreamTokens
    )
}

/// A refused key is to be fixed in the configuration, unless the caller sent it.
pub(super) fn whose_key(error: Error, passing: &Passing) -> Error {
    if passing.api_key.is_none() || error.reason() != Reason::UpstreamCredential {
        return error;
    }
    let message = "DashScope refused the key of this call; send a valid DashScope key";
    Error::new(Reason::Unauthenticated, message).with_sent(error.sent())
}

/// The error of a stream that did not begin in time.
pub(super) fn late(limit: Duration) -> Error {
    let message = format!("DashScope did not begin to answer within {limit:?}");
    Error::new(Reason::FirstEventTimeout, message).with_sent(Sent::Maybe)
}

/// The error of a stream that ends without an end or an error, which `dashscope` never produces.
pub(super) fn silent() -> Error {
    Error::new(
        Reason::StreamTruncated,
        "DashScope's answer ended before it was complete",
    )
    .with_sent(Sent::Begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_attempts: 3,
        after_reset: false,
    };
    const MINUTE: Duration = Duration::from_secs(60);

    fn error(reason: Reason, sent: Sent) -> Error {
        Error::new(reason, "failed").with_sent(sent)
    }

    #[test]
    fn no_reason_is_tried_again_once_the_model_may_have_run() {
        for &reason in Reason::ALL {
            for sent in [Sent::Maybe, Sent::Begun] {
                let verdict = decide(POLICY, &error(reason, sent), 1, MINUTE, 0.5);
                assert_eq!(verdict, Verdict::No, "{reason:?} {sent:?}");
            }
        }
    }

    #[test]
    fn transient_errors_get_two_more_attempts_and_throttling_one() {
        for (reason, allowed) in [
            (Reason::UpstreamInternal, 3),
            (Reason::UpstreamConnect, 3),
            (Reason::UpstreamRate, 2),
            (Reason::UpstreamBilling, 1),
            (Reason::InvalidRequest, 1),
        ] {
            let error = error(reason, Sent::Refused);
            let again = |attempt| decide(POLICY, &error, attempt, MINUTE, 0.5) != Verdict::No;
            assert_eq!(
                (1..10).take_while(|&attempt| again(attempt)).count() + 1,
                allowed
            );
        }
    }

    #[test]
    fn a_pause_that_does_not_fit_the_deadline_is_not_made() {
        let error =
            error(Reason::UpstreamRate, Sent::Refused).with_retry_after(Duration::from_secs(5));
        let short = Duration::from_secs(4);
        assert_eq!(decide(POLICY, &error, 1, short, 0.0), Verdict::No);
        let verdict = decide(POLICY, &error, 1, MINUTE, 0.0);
        assert_eq!(verdict, Verdict::After(Duration::from_secs(5)));
    }

    #[test]
    fn a_broken_connection_is_retried_only_if_configured() {
        let error = error(Reason::UpstreamReset, Sent::Maybe);
        assert_eq!(decide(POLICY, &error, 1, MINUTE, 0.0), Verdict::No);
        let bold = RetryPolicy {
            after_reset: true,
            ..POLICY
        };
        assert_ne!(decide(bold, &error, 1, MINUTE, 0.0), Verdict::No);
        assert_eq!(decide(bold, &error, 2, MINUTE, 0.0), Verdict::No);
    }

    #[test]
    fn retries_stay_below_their_part_of_the_calls_and_each_caller_has_its_own() {
        let budget = RetryBudget::new(10);
        let (one, other) = (Caller(1), Caller(2));
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.earn(one);
            retries += u32::from(budget.spend(one));
        }
        assert!((1_000..=1_010).contains(&retries), "{retries}");
        assert!(
            (0..10).all(|_| budget.spend(other)),
            "its reserve is untouched"
        );
    }
}
