//! What one caller has used, and whether it may use more.
//!
//! Tokens are known only when a call is over. So an estimate is taken first, and put right by what
//! was truly used; two calls at the same time cannot both use the same rest of a limit. All is
//! decided under one short lock, and either everything is taken or nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::Caller;
use crate::error::{Error, Reason};

use super::bucket::Bucket;
use super::date::{self, DAY};
use super::limits::Limits;

/// What a caller with too many calls is asked to wait. When one of them ends nobody knows; within a
/// second some often do, and no loop is made of it.
const STREAMS_PUSHBACK: Duration = Duration::from_secs(1);

/// One caller, as long as it is remembered.
#[derive(Debug)]
pub struct Account {
    /// Its name, for logs and metrics.
    pub name: Arc<str>,
    /// Its number.
    pub caller: Caller,
    /// Whether DashScope has counted tokens for one of its calls.
    served: AtomicBool,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    requests: Bucket,
    tokens: Bucket,
    streams: u64,
    /// The day since 1970 that `today` counts.
    day: u64,
    today: u64,
    last: Instant,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The model, as the caller names it.
    pub model: &'a str,
    /// The tokens that it will use, as far as can be told.
    pub tokens: u64,
}

/// Both clocks: one that measures, and the calendar's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    /// In seconds since 1970.
    pub(super) unix: u64,
}

impl Now {
    pub(super) fn read() -> Self {
        Self {
            instant: Instant::now(),
            unix: date::now(),
        }
    }
}

impl Account {
    /// A caller who has used nothing.
    pub(super) fn new(name: Arc<str>, caller: Caller) -> Self {
        let used = Used {
            requests: Bucket::FULL,
            tokens: Bucket::FULL,
            streams: 0,
            day: 0,
            today: 0,
            last: Instant::now(),
        };
        Self {
            name,
            caller,
            served: AtomicBool::new(false),
            used: Mutex::new(used),
        }
    }

    /// Whether DashScope has counted tokens for one of its calls: then the credentials it shows are
    /// real, whoever issued them.
    pub(super) fn is_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// When it was used last.
    pub(super) fn last_used(&self) -> Instant {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, reason: Reason, what: &str, wait: Duration) -> Error {
        let message = format!("the caller {} {what}; retry in {wait:?}", self.name);
        Error::new(reason, message).with_retry_after(wait)
    }

    /// Checks the limits that hold before the request is read: calls at one time and a minute.
    fn check_head(&self, used: &Used, limits: &Limits, now: Now) -> Result<(), Error> {
        let most = limits.max_streams;
        if most > 0 && used.streams >= most {
            let what = format!("has reached its limit of {most} concurrent calls");
            return Err(self.refusal(Reason::CallerStreams, &what, STREAMS_PUSHBACK));
        }
        let rate = limits.requests_per_minute;
        let wait = used.requests.wait(1, rate, now.instant);
        if !wait.is_zero() {
            let what = format!("has reached its limit of {rate} calls per minute");
            return Err(self.refusal(Reason::CallerRate, &what, wait));
        }
        Ok(())
    }

    /// Checks the limits that depend on the request: its model and its tokens.
    fn check(&self, used: &Used, limits: &Limits, ask: Ask<'_>, now: Now) -> Result<(), Error> {
        if !limits.allow(ask.model) {
            let (name, model) = (&self.name, ask.model);
            let message = format!(
                "the caller {name} may not use the model {model}; use another model or contact \
                 the operator"
            );
            return Err(Error::new(Reason::PermissionDenied, message));
        }
        let budget = limits.tokens_per_day;
        let today = used.today(now);
        if ask.tokens > 0 && budget > 0 && today + ask.tokens.min(budget) > budget {
            let what = format!(
                "has reached its limit of {budget} tokens per day ({today} used or \
                                reserved)"
            );
            let wait = Duration::from_secs(DAY - now.unix % DAY);
            return Err(self.refusal(Reason::CallerBudget, &what, wait));
        }
        let rate = limits.tokens_per_minute;
        let wait = used.tokens.wait(ask.tokens, rate, now.instant);
        if ask.tokens > 0 && !wait.is_zero() {
            let tokens = ask.tokens;
            let what = format!(
                "has reached its limit of {rate} tokens per minute (this call needs about \
                         {tokens})"
            );
            return Err(self.refusal(Reason::CallerTokens, &what, wait));
        }
        Ok(())
    }
}

impl Used {
    fn today(&self, now: Now) -> u64 {
        match self.day == now.unix / DAY {
            true => self.today,
            false => 0,
        }
    }
}

/// Takes a place and a request for a call whose head has arrived, or refuses and takes nothing.
pub(super) fn enter(account: &Arc<Account>, limits: &Arc<Limits>, now: Now) -> Result<Pass, Error> {
    let mut used = account.lock();
    used.last = now.instant;
    account.check_head(&used, limits, now)?;
    used.streams += 1;
    used.requests
        .take(1, limits.requests_per_minute, now.instant);
    drop(used);
    Ok(Pass {
        taken: Some(Taken {
            account: Arc::clone(account),
            limits: Arc::clone(limits),
            tokens: 0,
            day: now.unix / DAY,
            settled: false,
            holds_stream: true,
        }),
    })
}

/// A place of one call and the tokens that were taken for it. Dropping it frees the place; the
/// tokens stay taken unless they were settled before.
#[derive(Debug, Default)]
pub struct Pass {
    taken: Option<Taken>,
}

#[derive(Debug)]
struct Taken {
    account: Arc<Account>,
    limits: Arc<Limits>,
    tokens: u64,
    day: u64,
    settled: bool,
    /// Whether it counts among the caller's calls at the same time.
    holds_stream: bool,
}

impl Pass {
    /// The name of the caller, if it has one.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.taken.as_ref().map(|taken| &taken.account.name)
    }

    /// The tokens that were reserved.
    pub fn reserved(&self) -> u64 {
        self.taken.as_ref().map_or(0, |taken| taken.tokens)
    }

    /// Moves the tokens to a pass of their own, which settles them. The place stays here.
    pub fn take_tokens(&mut self) -> Self {
        let taken = self.taken.as_mut().filter(|taken| !taken.settled);
        Self {
            taken: taken.map(|taken| {
                taken.settled = true;
                Taken {
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

    /// Takes the tokens that the call needs, once its request was read. A call that is refused here
    /// costs no request.
    pub fn charge(&mut self, ask: Ask<'_>) -> Result<(), Error> {
        self.charge_at(ask, Now::read())
    }

    fn charge_at(&mut self, ask: Ask<'_>, now: Now) -> Result<(), Error> {
        let Some(taken) = &mut self.taken else {
            return Ok(());
        };
        let Taken {
            account, limits, ..
        } = &*taken;
        let mut used = account.lock();
        if let Err(error) = account.check(&used, limits, ask, now) {
            give_back(&mut used, limits, now);
            return Err(error);
        }
        used.tokens
            .take(ask.tokens, limits.tokens_per_minute, now.instant);
        let day = now.unix / DAY;
        used.today = used.today(now) + ask.tokens;
        used.day = day;
        drop(used);
        (taken.tokens, taken.day) = (ask.tokens, day);
        Ok(())
    }

    /// Returns the request that the head took: the gateway has no place for the call, which is not
    /// the caller's doing.
    pub fn refund(&mut self) {
        if let Some(taken) = &self.taken {
            give_back(&mut taken.account.lock(), &taken.limits, Now::read());
        }
    }

    /// The call is over, and this is what it used. The first word holds.
    pub fn settle(&mut self, tokens: u64) {
        self.settle_at(tokens, Now::read());
    }

    fn settle_at(&mut self, tokens: u64, now: Now) {
        let Some(taken) = self.taken.as_mut().filter(|taken| !taken.settled) else {
            return;
        };
        taken.settled = true;
        if tokens > 0 {
            taken.account.served.store(true, Ordering::Relaxed);
        }
        let mut used = taken.account.lock();
        let rate = taken.limits.tokens_per_minute;
        used.tokens.settle(taken.tokens, tokens, rate, now.instant);
        // A call that began before midnight and ends after it belongs to the day on which it began.
        if used.day == taken.day {
            used.today = used
                .today
                .saturating_sub(taken.tokens)
                .saturating_add(tokens);
        }
    }
}

fn give_back(used: &mut Used, limits: &Limits, now: Now) {
    used.requests
        .settle(1, 0, limits.requests_per_minute, now.instant);
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.as_ref().filter(|taken| taken.holds_stream) {
            let mut used = taken.account.lock();
            used.streams = used.streams.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn account() -> Arc<Account> {
        Arc::new(Account::new("team-a".into(), Caller(1)))
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
        ask: Ask<'_>,
        now: Now,
    ) -> Result<Pass, Error> {
        let mut pass = enter(account, limits, now)?;
        pass.charge_at(ask, now).map(|()| pass)
    }

    fn ask(tokens: u64) -> Ask<'static> {
        Ask { model: "m", tokens }
    }

    fn refused(outcome: Result<Pass, Error>) -> (Reason, Duration) {
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
            let error = admit(&account, &limits, ask(1), now(0)).unwrap_err();
            assert_eq!(error.reason(), Reason::PermissionDenied);
            assert!(error.message().contains("model m;"), "{error}");
        }
        let allowed = Ask {
            model: "qwen-vl",
            tokens: 1,
        };
        admit(&account, &limits, allowed, now(0)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_once_are_freed_exactly_once_however_they_end() {
        let account = account();
        let limits = Arc::new(Limits {
            max_streams: 2,
            ..Limits::default()
        });
        let mut one = admit(&account, &limits, ask(1), now(0)).unwrap();
        let two = admit(&account, &limits, ask(1), now(0)).unwrap();
        let (reason, wait) = refused(admit(&account, &limits, ask(1), now(0)));
        assert_eq!((reason, wait), (Reason::CallerStreams, STREAMS_PUSHBACK));
        one.settle(1);
        one.settle(1);
        assert_eq!(account.lock().streams, 2);
        drop(one);
        assert_eq!(account.lock().streams, 1);
        let three = admit(&account, &limits, ask(1), now(0)).unwrap();
        drop((two, three));
        assert_eq!(account.lock().streams, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_takes_a_place_and_a_request_before_anything_is_read() {
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
        // A request that is never sent to its end has been made all the same.
        drop(enter(&account, &limits, now(0)).unwrap());
        let (reason, _) = refused(enter(&account, &limits, now(0)));
        assert_eq!(reason, Reason::CallerRate);
        // What the gateway had no place for was not.
        tokio::time::advance(MINUTE / 2).await;
        for _ in 0..3 {
            enter(&account, &limits, now(0)).unwrap().refund();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_served_once_dashscope_has_counted_its_tokens() {
        let (account, limits) = (account(), Arc::default());
        let mut free = admit(&account, &limits, ask(1), now(0)).unwrap();
        free.settle(0);
        assert!(!account.is_served());
        let mut paid = admit(&account, &limits, ask(1), now(0)).unwrap();
        paid.settle(1);
        assert!(account.is_served());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_says_the_true_time_until_there_is_room() {
        let account = account();
        let limits = Arc::new(Limits {
            requests_per_minute: 6,
            ..Limits::default()
        });
        for _ in 0..6 {
            admit(&account, &limits, ask(1), now(0)).unwrap();
        }
        tokio::time::advance(Duration::from_secs(4)).await;
        let (reason, wait) = refused(admit(&account, &limits, ask(1), now(0)));
        assert_eq!((reason, wait), (Reason::CallerRate, Duration::from_secs(6)));
        tokio::time::advance(wait).await;
        admit(&account, &limits, ask(1), now(0)).unwrap();
        refused(admit(&account, &limits, ask(1), now(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_reserved_then_settled_and_a_refusal_takes_nothing() {
        let account = account();
        let limits = Arc::new(Limits {
            requests_per_minute: 3,
            tokens_per_minute: 600,
            ..Limits::default()
        });
        let mut one = admit(&account, &limits, ask(400), now(0)).unwrap();
        let (reason, wait) = refused(admit(&account, &limits, ask(300), now(0)));
        assert_eq!((reason, wait), (Reason::CallerTokens, MINUTE / 6));
        one.settle(100);
        let mut two = admit(&account, &limits, ask(300), now(0)).unwrap();
        // More than was thought: the rest is owed.
        two.settle(800);
        let (_, wait) = refused(admit(&account, &limits, ask(1), now(0)));
        assert_eq!(wait, MINUTE / 2 + Duration::from_millis(100));
        tokio::time::advance(wait).await;
        // The refused ones took no request either: the third is still there, and a half more.
        admit(&account, &limits, ask(1), now(0)).unwrap();
        admit(&account, &limits, ask(0), now(0)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_word_about_its_tokens_keeps_its_estimate() {
        let account = account();
        let limits = Arc::new(Limits {
            tokens_per_minute: 600,
            ..Limits::default()
        });
        drop(admit(&account, &limits, ask(600), now(0)).unwrap());
        let (_, wait) = refused(admit(&account, &limits, ask(600), now(0)));
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
        let mut one = admit(&account, &limits, ask(900), now(evening)).unwrap();
        let (reason, wait) = refused(admit(&account, &limits, ask(101), now(evening)));
        assert_eq!((reason, wait), (Reason::CallerBudget, MINUTE * 3 / 2));
        one.settle_at(950, now(evening));
        refused(admit(&account, &limits, ask(51), now(evening)));
        let mut late = admit(&account, &limits, ask(50), now(evening)).unwrap();
        let morning = evening + 90;
        // More than the budget is let through when nothing is used, and nothing after it.
        let mut big = admit(&account, &limits, ask(5000), now(morning)).unwrap();
        // What began yesterday is yesterday's.
        late.settle_at(900, now(morning));
        assert_eq!(account.lock().today, 5000);
        refused(admit(&account, &limits, ask(1), now(morning)));
        big.settle_at(10, now(morning));
        admit(&account, &limits, ask(990), now(morning)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_is_no_limit() {
        let account = account();
        let limits = Arc::new(Limits::default());
        let passes: Vec<_> = (0..1000)
            .map(|_| admit(&account, &limits, ask(1_000_000), now(0)).unwrap())
            .collect();
        assert_eq!(account.lock().streams, 1000);
        drop(passes);
        assert_eq!(account.lock().streams, 0);
    }
}
