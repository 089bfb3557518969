//! The limits of one caller that replicas share.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::Tenant;
use crate::error::{Error, Reason};
use crate::quotas::{Quota, QuotaKind, Quotas, Verdict};

use super::limits::Limits;
use super::now::Now;

/// How long a call waits for the first shares of its caller, or for the next ones. The store
/// usually takes a few milliseconds.
const WAIT: Duration = Duration::from_millis(250);

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// [`Limits::requests_per_minute`].
    Requests,
    /// [`Limits::tokens_per_minute`].
    Tokens,
    /// [`Limits::max_streams`].
    Streams,
    /// [`Limits::tokens_per_day`].
    Day,
    /// [`Limits::audio_seconds_per_day`].
    Audio,
}

const ALL: [Limited; 5] = [
    Limited::Requests,
    Limited::Tokens,
    Limited::Streams,
    Limited::Day,
    Limited::Audio,
];

impl Limited {
    fn limit(self, limits: &Limits) -> u64 {
        match self {
            Self::Requests => limits.requests_per_minute,
            Self::Tokens => limits.tokens_per_minute,
            Self::Streams => limits.max_streams,
            Self::Day => limits.tokens_per_day,
            Self::Audio => limits.audio_seconds_per_day,
        }
    }

    fn name(self) -> (&'static str, QuotaKind) {
        match self {
            Self::Requests => ("requests_per_minute", QuotaKind::Rate),
            Self::Tokens => ("tokens_per_minute", QuotaKind::Rate),
            Self::Streams => ("max_streams", QuotaKind::Held),
            Self::Day => ("tokens_per_day", QuotaKind::Day),
            Self::Audio => ("audio_seconds_per_day", QuotaKind::Day),
        }
    }
}

/// The shares of one caller's limits, each from its first use on.
#[derive(Debug)]
pub(super) struct SharedLimits {
    quotas: Quotas,
    tenant: Tenant,
    requests: OnceLock<Quota>,
    tokens: OnceLock<Quota>,
    streams: OnceLock<Quota>,
    day: OnceLock<Quota>,
    audio: OnceLock<Quota>,
}

impl SharedLimits {
    /// No shares yet.
    pub(super) fn new(quotas: Quotas, tenant: Tenant) -> Self {
        Self {
            quotas,
            tenant,
            requests: OnceLock::new(),
            tokens: OnceLock::new(),
            streams: OnceLock::new(),
            day: OnceLock::new(),
            audio: OnceLock::new(),
        }
    }

    fn quota(&self, limited: Limited) -> &Quota {
        let quota = match limited {
            Limited::Requests => &self.requests,
            Limited::Tokens => &self.tokens,
            Limited::Streams => &self.streams,
            Limited::Day => &self.day,
            Limited::Audio => &self.audio,
        };
        quota.get_or_init(|| {
            let (name, kind) = limited.name();
            self.quotas.quota(self.tenant, name, kind)
        })
    }

    /// How long to wait for this amount. `None` if this replica's own limits apply, because the
    /// store is down.
    pub(super) fn wait(
        &self,
        limited: Limited,
        amount: u64,
        limits: &Limits,
        now: Now,
    ) -> Result<Option<Duration>, Error> {
        let limit = limited.limit(limits);
        if limit == 0 {
            return Ok(Some(Duration::ZERO));
        }
        match self.quota(limited).check(amount, limit, now.instant) {
            Verdict::Wait(wait) => Ok(Some(wait)),
            Verdict::Local => Ok(None),
            Verdict::Closed => {
                let message = "the store of the gateway does not answer, so that the limits of \
                               the caller cannot be checked; retry later";
                Err(Error::new(Reason::StoreDown, message))
            }
        }
    }

    /// Takes an amount.
    pub(super) fn take(&self, limited: Limited, amount: u64, limits: &Limits, now: Now) {
        let limit = limited.limit(limits);
        if limit > 0 {
            self.quota(limited).take(amount, limit, now.instant);
        }
    }

    /// Corrects what was taken to what was used.
    pub(super) fn settle(
        &self,
        limited: Limited,
        (taken, truth): (u64, u64),
        limits: &Limits,
        now: Now,
    ) {
        let limit = limited.limit(limits);
        if limit > 0 {
            let quota = self.quota(limited);
            quota.settle(taken, truth, limit, now.instant);
        }
    }

    /// Whether a share should be waited for before a call is decided.
    pub(super) fn is_missing(&self, limits: &Limits) -> bool {
        let now = Instant::now();
        let mut limited = ALL.into_iter();
        limited.any(|limited| {
            let limit = limited.limit(limits);
            limit > 0 && self.quota(limited).is_missing(limit, now)
        })
    }

    /// Waits for shares, for a short time.
    pub(super) async fn prepare(&self, limits: &Limits) {
        let quotas = || {
            let with_limit = ALL.into_iter().map(|one| (one, one.limit(limits)));
            let limited = with_limit.filter(|(_, limit)| *limit > 0);
            limited.map(|(one, limit)| (self.quota(one), limit))
        };
        for (quota, limit) in quotas() {
            quota.request(limit);
        }
        let prepared = async {
            for (quota, limit) in quotas() {
                quota.prepare(limit).await;
            }
        };
        // Without a share in time, the call is decided by this replica's part of the limit.
        let _ = tokio::time::timeout(WAIT, prepared).await;
    }
}
