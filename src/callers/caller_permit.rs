//! What one call has taken of its caller's limits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Error;

use super::caller_usage::{Account, CallCost};
use super::date::DAY;
use super::limits::Limits;
use super::now::Now;
use super::shared_limits::Limited;

/// Takes a concurrency slot and a request for a call whose headers have arrived, or refuses and
/// takes nothing.
pub(super) fn enter(
    account: &Arc<Account>,
    limits: &Arc<Limits>,
    now: Now,
) -> Result<CallerPermit, Error> {
    let mut used = account.lock();
    used.last = now.instant;
    account.check_head(&used, limits, now)?;
    used.streams += 1;
    used.requests
        .take(1, limits.requests_per_minute, now.instant);
    // Under the lock, so that no other call is admitted to the same rest of a share.
    account.take(Limited::Streams, 1, limits, now);
    account.take(Limited::Requests, 1, limits, now);
    drop(used);
    Ok(CallerPermit {
        taken: Some(Reservation {
            account: Arc::clone(account),
            limits: Arc::clone(limits),
            tokens: 0,
            day: now.unix / DAY,
            settled: false,
            holds_stream: true,
        }),
    })
}

/// Counts a request without a concurrency slot, or refuses and counts nothing.
pub(super) fn count(account: &Account, limits: &Limits, now: Now) -> Result<(), Error> {
    let mut used = account.lock();
    used.last = now.instant;
    account.check_rate(&used, limits, now)?;
    used.requests
        .take(1, limits.requests_per_minute, now.instant);
    account.take(Limited::Requests, 1, limits, now);
    drop(used);
    Ok(())
}

/// The concurrency slot of one call and its reserved tokens. Dropping it releases the slot; the
/// tokens stay reserved unless they were settled.
#[derive(Debug, Default)]
pub struct CallerPermit {
    taken: Option<Reservation>,
}

#[derive(Debug)]
struct Reservation {
    account: Arc<Account>,
    limits: Arc<Limits>,
    tokens: u64,
    day: u64,
    settled: bool,
    /// Whether it counts as a concurrent call of its caller.
    holds_stream: bool,
}

impl CallerPermit {
    /// The name of the caller, if it has one.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.taken.as_ref().map(|taken| &taken.account.name)
    }

    /// The reserved tokens.
    pub fn reserved(&self) -> u64 {
        self.taken.as_ref().map_or(0, |taken| taken.tokens)
    }

    /// Moves the reserved tokens to a permit of their own, which settles them. The slot stays here.
    pub fn take_tokens(&mut self) -> Self {
        let taken = self.taken.as_mut().filter(|taken| !taken.settled);
        Self {
            taken: taken.map(|taken| {
                taken.settled = true;
                Reservation {
                    account: Arc::clone(&taken.account),
                    limits: Arc::clone(&taken.limits),
                    tokens: taken.tokens,
                    day: taken.day,
                    settled: false,
                    holds_stream: false,
                }
            }),
        }
    }

    /// Reserves the tokens of the call once its request is read. A call refused here uses none of
    /// its requests per minute.
    pub fn charge(&mut self, cost: CallCost<'_>) -> Result<(), Error> {
        self.charge_at(cost, Now::read())
    }

    pub(super) fn charge_at(&mut self, cost: CallCost<'_>, now: Now) -> Result<(), Error> {
        let Some(taken) = &mut self.taken else {
            return Ok(());
        };
        let Reservation {
            account, limits, ..
        } = &*taken;
        let mut used = account.lock();
        if let Err(error) = account.check(&used, limits, cost, now) {
            drop(used);
            give_back(account, limits, now);
            return Err(error);
        }
        used.tokens
            .take(cost.tokens, limits.tokens_per_minute, now.instant);
        let day = now.unix / DAY;
        used.count_today(cost.tokens, 0, now);
        let rate = cost.tokens.min(limits.tokens_per_minute);
        account.take(Limited::Tokens, rate, limits, now);
        account.take(Limited::Day, cost.tokens, limits, now);
        drop(used);
        (taken.tokens, taken.day) = (cost.tokens, day);
        Ok(())
    }

    /// Records tokens that were used beyond those reserved, by a call that goes on.
    pub fn add(&mut self, tokens: u64) {
        let Some(taken) = &self.taken else { return };
        let now = Now::read();
        let mut used = taken.account.lock();
        let rate = taken.limits.tokens_per_minute;
        used.tokens.charge(tokens, rate, now.instant);
        used.count_today(tokens, 0, now);
        drop(used);
        for limited in [Limited::Tokens, Limited::Day] {
            taken.account.take(limited, tokens, &taken.limits, now);
        }
        if tokens > 0 {
            taken.account.verified.store(true, Ordering::Relaxed);
        }
    }

    /// Records seconds of audio of a call that goes on.
    pub fn add_audio(&mut self, seconds: u64) {
        if let Some(taken) = &self.taken {
            let now = Now::read();
            taken.account.lock().count_today(0, seconds, now);
            let account = &taken.account;
            account.take(Limited::Audio, seconds, &taken.limits, now);
        }
    }

    /// Checks the limits of tokens and audio for a call that goes on.
    pub fn check(&self, model: &str) -> Result<(), Error> {
        match &self.taken {
            None => Ok(()),
            Some(taken) => {
                let used = taken.account.lock();
                let cost = CallCost {
                    model,
                    tokens: 1,
                    has_audio: true,
                };
                taken.account.check(&used, &taken.limits, cost, Now::read())
            }
        }
    }

    /// Returns the request that was taken on arrival: the gateway has no capacity for the call,
    /// which the caller did not cause.
    pub fn refund(&mut self) {
        if let Some(taken) = &self.taken {
            give_back(&taken.account, &taken.limits, Now::read());
        }
    }

    /// Records the tokens that the call used. Only the first call has an effect.
    pub fn settle(&mut self, tokens: u64) {
        self.settle_at(tokens, Now::read());
    }

    pub(super) fn settle_at(&mut self, tokens: u64, now: Now) {
        let Some(taken) = self.taken.as_mut().filter(|taken| !taken.settled) else {
            return;
        };
        taken.settled = true;
        if tokens > 0 {
            taken.account.verified.store(true, Ordering::Relaxed);
        }
        let mut used = taken.account.lock();
        let rate = taken.limits.tokens_per_minute;
        used.tokens.settle(taken.tokens, tokens, rate, now.instant);
        // A call that began before midnight counts for the day on which it began.
        if used.day == taken.day {
            used.today = used
                .today
                .saturating_sub(taken.tokens)
                .saturating_add(tokens);
        }
        drop(used);
        let (account, limits) = (&taken.account, &taken.limits);
        let reserved = taken.tokens.min(rate);
        account.settle(Limited::Tokens, (reserved, tokens), limits, now);
        if taken.day == now.unix / DAY {
            account.settle(Limited::Day, (taken.tokens, tokens), limits, now);
        }
    }
}

fn give_back(account: &Account, limits: &Limits, now: Now) {
    account
        .lock()
        .requests
        .settle(1, 0, limits.requests_per_minute, now.instant);
    account.settle(Limited::Requests, (1, 0), limits, now);
}

impl Drop for CallerPermit {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.as_ref().filter(|taken| taken.holds_stream) {
            let mut used = taken.account.lock();
            used.streams = used.streams.saturating_sub(1);
            drop(used);
            if let Some(shared) = taken.account.shared() {
                shared.settle(Limited::Streams, (1, 0), &taken.limits, Now::read());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::caller_usage::STREAMS_PUSHBACK;
    use super::*;
    use crate::chat::call::{Caller, Tenant};
    use crate::error::Reason;

    const MINUTE: Duration = Duration::from_secs(60);

    fn account() -> Arc<Account> {
        Arc::new(Account::new(
            "team-a".into(),
            (Caller(1), Tenant::default()),
            None,
        ))
    }

    fn now(seconds: u64) -> Now {
        Now {
            instant: Instant::now(),
            unix: seconds,
        }
    }

    fn admit(
        account: &Arc<Account>,
        limits: &Arc<Limits>,
        cost: CallCost<'_>,
        now: Now,
    ) -> Result<CallerPermit, Error> {
        let mut permit = enter(account, limits, now)?;
        permit.charge_at(cost, now).map(|()| permit)
    }

    fn cost(tokens: u64) -> CallCost<'static> {
        CallCost {
            model: "m",
            tokens,
            has_audio: false,
        }
    }

    fn refused(outcome: Result<CallerPermit, Error>) -> (Reason, Duration) {
        let error = outcome.unwrap_err();
        assert!(error.message().contains("team-a"), "{error}");
        (error.reason(), error.retry_after().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_is_not_allowed_is_named_and_costs_nothing() {
        let account = account();
        let limits = Arc::new(Limits {
            models: vec!["qwen*".to_owned()],
            requests_per_minute: 1,
            ..Limits::default()
        });
        for _ in 0..3 {
            let error = admit(&account, &limits, cost(1), now(0)).unwrap_err();
            assert_eq!(error.reason(), Reason::PermissionDenied);
            assert!(error.message().contains("model m;"), "{error}");
        }
        let allowed = CallCost {
            model: "qwen-vl",
            tokens: 1,
            has_audio: false,
        };
        admit(&account, &limits, allowed, now(0)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_are_released_exactly_once() {
        let account = account();
        let limits = Arc::new(Limits {
            max_streams: 2,
            ..Limits::default()
        });
        let mut one = admit(&account, &limits, cost(1), now(0)).unwrap();
        let two = admit(&account, &limits, cost(1), now(0)).unwrap();
        let (reason, wait) = refused(admit(&account, &limits, cost(1), now(0)));
        assert_eq!((reason, wait), (Reason::CallerStreams, STREAMS_PUSHBACK));
        one.settle(1);
        one.settle(1);
        assert_eq!(account.lock().streams, 2);
        drop(one);
        assert_eq!(account.lock().streams, 1);
        let three = admit(&account, &limits, cost(1), now(0)).unwrap();
        drop((two, three));
        assert_eq!(account.lock().streams, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn headers_take_a_slot_and_a_request_before_the_body_is_read() {
        let account = account();
        let limits = Arc::new(Limits {
            max_streams: 1,
            requests_per_minute: 2,
            ..Limits::default()
        });
        let unread = enter(&account, &limits, now(0)).unwrap();
        let (reason, _) = refused(enter(&account, &limits, now(0)));
        assert_eq!(reason, Reason::CallerStreams);
        drop(unread);
        // A request that is never completed counts as well.
        drop(enter(&account, &limits, now(0)).unwrap());
        let (reason, _) = refused(enter(&account, &limits, now(0)));
        assert_eq!(reason, Reason::CallerRate);
        // A request that the gateway refused for lack of capacity does not.
        tokio::time::advance(MINUTE / 2).await;
        for _ in 0..3 {
            enter(&account, &limits, now(0)).unwrap().refund();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_verified_once_dashscope_has_reported_usage() {
        let (account, limits) = (account(), Arc::default());
        let mut free = admit(&account, &limits, cost(1), now(0)).unwrap();
        free.settle(0);
        assert!(!account.is_verified());
        let mut paid = admit(&account, &limits, cost(1), now(0)).unwrap();
        paid.settle(1);
        assert!(account.is_verified());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_reports_the_exact_wait() {
        let account = account();
        let limits = Arc::new(Limits {
            requests_per_minute: 6,
            ..Limits::default()
        });
        for _ in 0..6 {
            admit(&account, &limits, cost(1), now(0)).unwrap();
        }
        tokio::time::advance(Duration::from_secs(4)).await;
        let (reason, wait) = refused(admit(&account, &limits, cost(1), now(0)));
        assert_eq!((reason, wait), (Reason::CallerRate, Duration::from_secs(6)));
        tokio::time::advance(wait).await;
        admit(&account, &limits, cost(1), now(0)).unwrap();
        refused(admit(&account, &limits, cost(1), now(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_reserved_then_settled_and_a_refused_call_takes_none() {
        let account = account();
        let limits = Arc::new(Limits {
            requests_per_minute: 3,
            tokens_per_minute: 600,
            ..Limits::default()
        });
        let mut one = admit(&account, &limits, cost(400), now(0)).unwrap();
        let (reason, wait) = refused(admit(&account, &limits, cost(300), now(0)));
        assert_eq!((reason, wait), (Reason::CallerTokens, MINUTE / 6));
        one.settle(100);
        let mut two = admit(&account, &limits, cost(300), now(0)).unwrap();
        // More than was reserved: the level becomes negative.
        two.settle(800);
        let (_, wait) = refused(admit(&account, &limits, cost(1), now(0)));
        assert_eq!(wait, MINUTE / 2 + Duration::from_millis(100));
        tokio::time::advance(wait).await;
        // The refused calls took no request: the third is still available, and a half more.
        admit(&account, &limits, cost(1), now(0)).unwrap();
        admit(&account, &limits, cost(0), now(0)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_reported_usage_keeps_its_estimate() {
        let account = account();
        let limits = Arc::new(Limits {
            tokens_per_minute: 600,
            ..Limits::default()
        });
        drop(admit(&account, &limits, cost(600), now(0)).unwrap());
        let (_, wait) = refused(admit(&account, &limits, cost(600), now(0)));
        assert_eq!(wait, MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daily_budget_ends_at_midnight_in_utc() {
        let account = account();
        let limits = Arc::new(Limits {
            tokens_per_day: 1000,
            ..Limits::default()
        });
        let evening = 20_000 * DAY + DAY - 90;
        let mut one = admit(&account, &limits, cost(900), now(evening)).unwrap();
        let (reason, wait) = refused(admit(&account, &limits, cost(101), now(evening)));
        assert_eq!((reason, wait), (Reason::CallerBudget, MINUTE * 3 / 2));
        one.settle_at(950, now(evening));
        refused(admit(&account, &limits, cost(51), now(evening)));
        let mut late = admit(&account, &limits, cost(50), now(evening)).unwrap();
        let morning = evening + 90;
        // More than the budget is admitted while nothing is used, and nothing after it.
        let mut big = admit(&account, &limits, cost(5000), now(morning)).unwrap();
        // What began yesterday counts for yesterday.
        late.settle_at(900, now(morning));
        assert_eq!(account.lock().today, 5000);
        refused(admit(&account, &limits, cost(1), now(morning)));
        big.settle_at(10, now(morning));
        admit(&account, &limits, cost(990), now(morning)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit() {
        let account = account();
        let limits = Arc::new(Limits::default());
        let passes: Vec<_> = (0..1000)
            .map(|_| admit(&account, &limits, cost(1_000_000), now(0)).unwrap())
            .collect();
        assert_eq!(account.lock().streams, 1000);
        drop(passes);
        assert_eq!(account.lock().streams, 0);
    }
}
