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
    drop(used);
    account.take(Limited::Streams, 1, limits, now);
    account.take(Limited::Requests, 1, limits, now);
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
    drop(used);
    account.take(Limited::Requests, 1, limits, now);
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
        drop(used);
        let rate = cost.tokens.min(limits.tokens_per_minute);
        account.take(Limited::Tokens, rate, limits, now);
        account.take(Limited::Day, cost.tokens, limits, now);
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
            let account = &taken.account;
            account.settle(Limited::Streams, (1, 0), &taken.limits, Now::read());
        }
    }
}
