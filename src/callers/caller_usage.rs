//! The usage of one caller, and the check against its limits.
//!
//! Tokens are known only at the end of a call. An estimate is reserved first and corrected
//! afterwards, so that concurrent calls cannot use the same rest of a limit. The check runs under
//! one short lock, and takes either everything or nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::{Caller, Tenant};
use crate::error::{Error, Reason};
use crate::quotas::Quotas;
use crate::token_bucket::TokenBucket;

use super::date::DAY;
use super::limits::Limits;
use super::now::Now;
use super::shared_limits::{Limited, SharedLimits};

/// Retry pushback for a caller with too many concurrent calls. The end of a call cannot be
/// predicted; a second is often enough, and prevents a busy loop.
pub(super) const STREAMS_PUSHBACK: Duration = Duration::from_secs(1);

/// The usage of one caller, kept while it is remembered.
#[derive(Debug)]
pub struct Account {
    /// Name, for logs and metrics.
    pub name: Arc<str>,
    /// Id.
    pub caller: Caller,
    /// Whose stored values it may use.
    pub tenant: Tenant,
    /// Whether DashScope has reported usage for one of its calls.
    pub(super) verified: AtomicBool,
    used: Mutex<Usage>,
    /// The limits that replicas share.
    shared: Option<SharedLimits>,
}

/// What this replica's calls have used.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) requests: TokenBucket,
    pub(super) tokens: TokenBucket,
    pub(super) streams: u64,
    /// The day since 1970 that `today` counts.
    pub(super) day: u64,
    pub(super) today: u64,
    /// The seconds of audio of the same day.
    audio_today: u64,
    pub(super) last: Instant,
}

/// What a call requires.
#[derive(Clone, Copy, Debug)]
pub struct CallCost<'a> {
    /// The model name in the request.
    pub model: &'a str,
    /// The estimated tokens.
    pub tokens: u64,
    /// Whether it is a live session, which has audio.
    pub has_audio: bool,
}

impl Account {
    /// A caller without usage.
    pub(super) fn new(
        name: Arc<str>,
        (caller, tenant): (Caller, Tenant),
        quotas: Option<&Quotas>,
    ) -> Self {
        let used = Usage {
            requests: TokenBucket::FULL,
            tokens: TokenBucket::FULL,
            streams: 0,
            day: 0,
            today: 0,
            audio_today: 0,
            last: Instant::now(),
        };
        Self {
            name,
            caller,
            tenant,
            verified: AtomicBool::new(false),
            used: Mutex::new(used),
            shared: quotas.map(|quotas| SharedLimits::new(quotas.clone(), tenant)),
        }
    }

    /// Whether DashScope has reported usage for one of its calls: then its credentials are valid,
    /// independent of who issued them.
    pub(super) fn is_verified(&self) -> bool {
        self.verified.load(Ordering::Relaxed)
    }

    /// The time of its last call.
    pub(super) fn last_used(&self) -> Instant {
        self.lock().last
    }

    /// What its calls have used here.
    pub(super) fn lock(&self) -> MutexGuard<'_, Usage> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its limits that replicas share.
    pub(super) fn shared(&self) -> Option<&SharedLimits> {
        self.shared.as_ref()
    }

    /// Takes an amount of a limit that replicas share.
    pub(super) fn take(&self, limited: Limited, amount: u64, limits: &Limits, now: Now) {
        if let Some(shared) = &self.shared {
            shared.take(limited, amount, limits, now);
        }
    }

    /// Corrects what was taken of a limit that replicas share to what was used.
    pub(super) fn settle(
        &self,
        limited: Limited,
        (taken, truth): (u64, u64),
        limits: &Limits,
        now: Now,
    ) {
        if let Some(shared) = &self.shared {
            shared.settle(limited, (taken, truth), limits, now);
        }
    }

    /// How long to wait for an amount of a limit: as replicas share it, or as it is used here.
    fn wait(
        &self,
        (limited, amount): (Limited, u64),
        limits: &Limits,
        now: Now,
        here: impl FnOnce() -> Duration,
    ) -> Result<Duration, Error> {
        let shared = match &self.shared {
            Some(shared) => shared.wait(limited, amount, limits, now)?,
            None => None,
        };
        Ok(shared.unwrap_or_else(here))
    }

    fn refusal(&self, reason: Reason, what: &str, wait: Duration) -> Error {
        let message = format!("the caller {} {what}; retry in {wait:?}", self.name);
        Error::new(reason, message).with_retry_after(wait)
    }

    /// Checks the limits that apply before the request is read: concurrent calls and calls per
    /// minute.
    pub(super) fn check_head(&self, used: &Usage, limits: &Limits, now: Now) -> Result<(), Error> {
        let most = limits.max_streams;
        let here = || match most > 0 && used.streams >= most {
            true => STREAMS_PUSHBACK,
            false => Duration::ZERO,
        };
        if !self
            .wait((Limited::Streams, 1), limits, now, here)?
            .is_zero()
        {
            let what = format!("has reached its limit of {most} concurrent calls");
            return Err(self.refusal(Reason::CallerStreams, &what, STREAMS_PUSHBACK));
        }
        self.check_rate(used, limits, now)
    }

    /// Checks the limit of calls per minute.
    pub(super) fn check_rate(&self, used: &Usage, limits: &Limits, now: Now) -> Result<(), Error> {
        let rate = limits.requests_per_minute;
        let here = || used.requests.wait(1, rate, now.instant);
        let wait = self.wait((Limited::Requests, 1), limits, now, here)?;
        if !wait.is_zero() {
            let what = format!("has reached its limit of {rate} calls per minute");
            return Err(self.refusal(Reason::CallerRate, &what, wait));
        }
        Ok(())
    }

    /// Checks whether the caller may use a model.
    pub(super) fn check_model(&self, limits: &Limits, model: &str) -> Result<(), Error> {
        if limits.allows(model) {
            return Ok(());
        }
        let name = &self.name;
        let message = format!(
            "the caller {name} may not use the model {model}; use another model or contact the \
             operator"
        );
        Err(Error::new(Reason::PermissionDenied, message))
    }

    /// Checks the limits that depend on the request: models and tokens.
    pub(super) fn check(
        &self,
        used: &Usage,
        limits: &Limits,
        cost: CallCost<'_>,
        now: Now,
    ) -> Result<(), Error> {
        self.check_model(limits, cost.model)?;
        let tokens = cost.tokens;
        if tokens > 0 {
            self.check_day(used, limits, tokens, now)?;
        }
        if cost.has_audio {
            self.check_audio(used, limits, now)?;
        }
        if tokens == 0 {
            return Ok(());
        }
        let rate = limits.tokens_per_minute;
        let here = || used.tokens.wait(tokens, rate, now.instant);
        let wait = self.wait((Limited::Tokens, tokens), limits, now, here)?;
        if !wait.is_zero() {
            let what = format!(
                "has reached its limit of {rate} tokens per minute (this call needs about \
                         {tokens})"
            );
            return Err(self.refusal(Reason::CallerTokens, &what, wait));
        }
        Ok(())
    }

    /// Checks the limit of tokens per day.
    fn check_day(&self, used: &Usage, limits: &Limits, tokens: u64, now: Now) -> Result<(), Error> {
        let budget = limits.tokens_per_day;
        let today = used.today(now);
        let here = || match budget > 0 && today + tokens.min(budget) > budget {
            true => now.rest_of_day(),
            false => Duration::ZERO,
        };
        let wait = self.wait((Limited::Day, tokens), limits, now, here)?;
        if wait.is_zero() {
            return Ok(());
        }
        let what = match self.shared {
            Some(_) => format!("has reached its limit of {budget} tokens per day"),
            None => format!(
                "has reached its limit of {budget} tokens per day ({today} used or reserved)"
            ),
        };
        Err(self.refusal(Reason::CallerBudget, &what, wait))
    }

    /// Checks the limit of seconds of audio per day.
    fn check_audio(&self, used: &Usage, limits: &Limits, now: Now) -> Result<(), Error> {
        let budget = limits.audio_seconds_per_day;
        let here = || match budget > 0 && used.audio_today(now) >= budget {
            true => now.rest_of_day(),
            false => Duration::ZERO,
        };
        let wait = self.wait((Limited::Audio, 1), limits, now, here)?;
        if wait.is_zero() {
            return Ok(());
        }
        let what = format!("has reached its limit of {budget} seconds of audio per day");
        Err(self.refusal(Reason::CallerBudget, &what, wait))
    }
}

impl Usage {
    fn today(&self, now: Now) -> u64 {
        match self.day == now.unix / DAY {
            true => self.today,
            false => 0,
        }
    }

    fn audio_today(&self, now: Now) -> u64 {
        match self.day == now.unix / DAY {
            true => self.audio_today,
            false => 0,
        }
    }

    /// Adds to what is counted by the day.
    pub(super) fn count_today(&mut self, tokens: u64, audio_seconds: u64, now: Now) {
        self.audio_today = self.audio_today(now) + audio_seconds;
        self.today = self.today(now) + tokens;
        self.day = now.unix / DAY;
    }
}
