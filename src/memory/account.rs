//! The memory ledger: counters by kind, the limit, and its thresholds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::chat::call::Caller;
use crate::error::{Error, Reason};

use super::holders::{CallCounts, Holders, Totals};

/// The unit of the ledger: the size of an idle stream, such as a health watch.
pub const GRAIN: usize = 8 * 1024;

/// The initial charge of a call. A text stream in flight measures 8 to 20 KB, with its entries in
/// all tables, so this covers nearly every call from beginning to end.
pub const CALL: usize = 4 * GRAIN;

/// Above this percentage of the limit, new calls are rejected. The rest is for running calls, whose
/// responses are not known at admission.
pub const ADMIT_PERCENT: usize = 85;

/// Above this percentage of the limit, memory is reclaimed. It is halfway between the other two
/// thresholds, so that reclaiming begins before a call fails for lack of memory, but not because
/// calls were admitted.
pub const RELIEVE_PERCENT: usize = 92;

/// The percentage of the limit for results kept for their `request_id`. They save cost, but must
/// not prevent new calls.
pub const KEPT_PERCENT: usize = 25;

/// The percentage of the limit for calls without credentials: health checks, reflection where it is
/// open, and incomplete request heads. Unauthenticated traffic must not prevent other calls.
pub const OPEN_PERCENT: usize = 8;

/// The percentage of the limit for health watches without credentials. It is separate, because they
/// are long-lived, and because clients send no calls while their watch is rejected.
pub const WATCHES_PERCENT: usize = 4;

/// The range of the retry delay returned to a rejected caller, in milliseconds: long enough to try
/// another replica first, spread so that rejected callers do not return together.
const PUSHBACK_MS: std::ops::Range<u64> = 50..500;

/// The purpose of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests: as received, as decoded, and as encoded for DashScope.
    Requests,
    /// Responses in flight: data read from DashScope, and data not yet read by the caller.
    Answers,
    /// Results of calls with a `request_id`, while they run and while they are kept.
    Kept,
    /// Chunks of uploads.
    Uploads,
    /// Calls without credentials.
    Open,
    /// Watches of health without credentials.
    Watches,
}

impl Kind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 6] = [
        Self::Requests,
        Self::Answers,
        Self::Kept,
        Self::Uploads,
        Self::Open,
        Self::Watches,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Answers => "answers",
            Self::Kept => "kept_answers",
            Self::Uploads => "uploads",
            Self::Open => "unauthenticated",
            Self::Watches => "health_watches",
        }
    }
}

/// The state of the call that needs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A call that has not started. Rejected above [`ADMIT_PERCENT`].
    New,
    /// A running call. Rejected at the limit.
    Running,
}

/// The memory ledger. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct MemoryLedger {
    inner: Arc<Inner>,
}

/// The counters share a cache line, so that the sum of all is at hand when one changes.
#[derive(Debug)]
struct Inner {
    requests: AtomicUsize,
    answers: AtomicUsize,
    kept: AtomicUsize,
    uploads: AtomicUsize,
    open: AtomicUsize,
    watches: AtomicUsize,
    limit: usize,
    pressure: Notify,
    /// What each caller's calls hold beyond [`CALL`].
    holders: Arc<Holders>,
    /// Counts the calls in flight of each caller.
    places: OnceLock<Arc<dyn CallCounts>>,
}

impl Default for MemoryLedger {
    /// A ledger without a limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl MemoryLedger {
    /// An empty ledger with this limit, in bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                requests: AtomicUsize::new(0),
                answers: AtomicUsize::new(0),
                kept: AtomicUsize::new(0),
                uploads: AtomicUsize::new(0),
                open: AtomicUsize::new(0),
                watches: AtomicUsize::new(0),
                limit,
                pressure: Notify::new(),
                holders: Arc::default(),
                places: OnceLock::new(),
            }),
        }
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// The bytes charged for this kind.
    pub fn of(&self, kind: Kind) -> usize {
        self.counter(kind).load(Ordering::Relaxed)
    }

    /// The bytes charged for all kinds.
    pub fn used(&self) -> usize {
        Kind::ALL
            .into_iter()
            .fold(0, |sum: usize, kind| sum.saturating_add(self.of(kind)))
    }

    /// The limit of this kind, in bytes. The sum of all kinds is bounded by the ledger's limit.
    pub fn limit_of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Requests | Kind::Answers | Kind::Uploads => usize::MAX,
            Kind::Kept => self.percent(KEPT_PERCENT),
            Kind::Open => self.percent(OPEN_PERCENT),
            Kind::Watches => self.percent(WATCHES_PERCENT),
        }
    }

    /// Sets the source of the calls in flight per caller, which is queried only when memory is
    /// short.
    pub fn count_calls(&self, places: Arc<dyn CallCounts>) {
        // Each relay has one ledger, so there is nothing to replace.
        let _ = self.inner.places.set(places);
    }

    /// An empty share, which may grow and belongs to no caller.
    pub fn share(&self, kind: Kind) -> Share {
        self.share_of(kind, None)
    }

    pub(super) fn share_of(&self, kind: Kind, owner: Option<Caller>) -> Share {
        Share {
            ledger: self.clone(),
            kind,
            owner,
            bytes: 0,
        }
    }

    /// A share of [`CALL`] for a new call of this caller. Fails if the ledger is too full for new
    /// calls of this caller.
    pub fn admit(&self, kind: Kind, owner: Caller) -> Result<Share, Error> {
        let mut share = self.share_of(kind, Some(owner));
        share.fit(CALL, Claim::New)?;
        Ok(share)
    }

    /// How much must be reclaimed before new calls are admitted again; 0 up to [`RELIEVE_PERCENT`].
    /// The memory of calls that are being cancelled counts as reclaimed.
    pub fn excess(&self) -> usize {
        let used = self.used().saturating_sub(self.inner.holders.returning());
        match used > self.percent(RELIEVE_PERCENT) {
            true => used.saturating_sub(self.percent(ADMIT_PERCENT)),
            false => 0,
        }
    }

    /// Cancels the largest calls of the callers that hold the most, until this many bytes will be
    /// released, and those chosen before. Returns the number of cancelled calls, and of bytes
    /// missing.
    pub fn relieve(&self, bytes: usize) -> (u64, usize) {
        let totals = self.totals();
        let room = self.room(&totals, self.used());
        let freed = self.inner.holders.choose(bytes, &totals, room);
        let mut ended = 0;
        for call in self.inner.holders.take_chosen() {
            call.cancel();
            ended += 1;
        }
        (ended, bytes.saturating_sub(freed))
    }

    /// The callers above their fair share, and by how much: the largest first.
    pub fn above_fair_share(&self) -> Vec<(Caller, usize)> {
        let totals = self.totals();
        totals.above(self.room(&totals, self.used()))
    }

    /// Waits until [`RELIEVE_PERCENT`] is exceeded.
    pub async fn pressure(&self) {
        self.inner.pressure.notified().await;
    }

    fn counter(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Requests => &self.inner.requests,
            Kind::Answers => &self.inner.answers,
            Kind::Kept => &self.inner.kept,
            Kind::Uploads => &self.inner.uploads,
            Kind::Open => &self.inner.open,
            Kind::Watches => &self.inner.watches,
        }
    }

    fn percent(&self, percent: usize) -> usize {
        self.inner.limit / 100 * percent
    }

    fn charge(
        &self,
        (kind, owner): (Kind, Option<Caller>),
        bytes: usize,
        claim: Claim,
    ) -> Result<(), Error> {
        let mark = match claim {
            Claim::New => self.percent(ADMIT_PERCENT),
            Claim::Running => self.inner.limit,
        };
        let counter = self.counter(kind);
        let of_kind = counter
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let used = self.used();
        let is_within_fair_share =
            || owner.is_some_and(|owner| self.can_hold((owner, claim), bytes, used));
        if of_kind > self.limit_of(kind) || used > mark && !is_within_fair_share() {
            counter.fetch_sub(bytes, Ordering::Relaxed);
            return Err(full());
        }
        if used > self.percent(RELIEVE_PERCENT) {
            self.inner.pressure.notify_one();
        }
        Ok(())
    }

    /// Whether this caller is within its fair share with this many more bytes, and they fit below
    /// the limit, if necessary because calls of others are chosen for cancellation.
    fn can_hold(&self, (owner, claim): (Caller, Claim), bytes: usize, used: usize) -> bool {
        let mut totals = self.totals();
        totals.add(owner, bytes);
        let room = self.room(&totals, used);
        let is_within = totals.is_within_fair_share(owner, room);
        if !is_within || claim == Claim::New && !totals.must_release(owner, room) {
            return false;
        }
        let holders = &self.inner.holders;
        let fits = |back: usize| used.saturating_sub(back) <= self.inner.limit;
        let back = holders.returning();
        if fits(back) {
            return true;
        }
        let used = used.saturating_sub(back);
        let excess = used.saturating_sub(self.percent(ADMIT_PERCENT));
        holders.choose(excess, &totals, room);
        fits(holders.returning())
    }

    /// What callers may hold together before one has to release memory: up to the first threshold,
    /// minus memory held for anything else, such as kept results.
    fn room(&self, totals: &Totals, used: usize) -> usize {
        let of_callers = totals.sum().saturating_add(self.inner.holders.returning());
        let others = used.saturating_sub(of_callers);
        self.percent(ADMIT_PERCENT).saturating_sub(others)
    }

    /// What each caller holds.
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        if let Some(places) = self.inner.places.get() {
            places.each(&mut |caller, calls| {
                totals.add(caller, calls.saturating_mul(CALL));
                totals.count(caller, calls);
            });
        }
        self.inner.holders.add_to(&mut totals);
        totals
    }

    pub(super) fn holders(&self) -> &Arc<Holders> {
        &self.inner.holders
    }
}

/// The error of a call for which there is no memory.
pub fn full() -> Error {
    let wait = Duration::from_millis(fastrand::u64(PUSHBACK_MS));
    let message = "memory limit reached: calls in flight use all of it";
    Error::new(Reason::Overloaded, message).with_retry_after(wait)
}

/// Memory that is charged to the ledger until it is dropped.
#[derive(Debug)]
pub struct Share {
    ledger: MemoryLedger,
    kind: Kind,
    /// The caller that it belongs to.
    owner: Option<Caller>,
    bytes: usize,
}

impl Share {
    /// The charged bytes, in multiples of [`GRAIN`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the charge to hold this many bytes, rounded up. On an error the charge is unchanged.
    pub fn fit(&mut self, bytes: usize, claim: Claim) -> Result<(), Error> {
        let wanted = bytes.div_ceil(GRAIN).saturating_mul(GRAIN);
        if wanted > self.bytes {
            let whose = (self.kind, self.owner);
            self.ledger.charge(whose, wanted - self.bytes, claim)?;
        } else if wanted < self.bytes {
            let counter = self.ledger.counter(self.kind);
            counter.fetch_sub(self.bytes - wanted, Ordering::Relaxed);
        }
        self.bytes = wanted;
        Ok(())
    }

    /// The bytes that it can hold while there is nothing else.
    pub fn most(&self) -> usize {
        let ledger = &self.ledger;
        ledger.limit_of(self.kind).min(ledger.limit())
    }

    /// Increases the charge to hold at least this many bytes.
    pub fn hold(&mut self, bytes: usize, claim: Claim) -> Result<(), Error> {
        match bytes > self.bytes {
            true => self.fit(bytes, claim),
            false => Ok(()),
        }
    }

    /// Decreases the charge to hold at most this many bytes.
    pub fn release(&mut self, bytes: usize) {
        if bytes < self.bytes {
            // A decrease never fails.
            let _ = self.fit(bytes, Claim::Running);
        }
    }

    pub(super) fn ledger(&self) -> &MemoryLedger {
        &self.ledger
    }

    pub(super) fn owner(&self) -> Option<Caller> {
        self.owner
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 100 * GRAIN;

    #[test]
    fn new_calls_are_rejected_before_running_ones() {
        let ledger = MemoryLedger::new(LIMIT);
        let mut running = ledger.share(Kind::Answers);
        running.fit(85 * GRAIN, Claim::Running).unwrap();
        let error = ledger.admit(Kind::Requests, Caller(1)).unwrap_err();
        assert_eq!(error.reason(), Reason::Overloaded);
        assert!(error.retry_after().is_some());
        running.fit(LIMIT, Claim::Running).unwrap();
        running.fit(LIMIT + 1, Claim::Running).unwrap_err();
        assert_eq!((running.bytes(), ledger.used()), (LIMIT, LIMIT));
        drop(running);
        ledger.admit(Kind::Requests, Caller(1)).unwrap();
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn kept_results_and_unauthenticated_calls_have_their_own_limits() {
        let ledger = MemoryLedger::new(LIMIT);
        for (kind, percent) in [
            (Kind::Kept, KEPT_PERCENT),
            (Kind::Open, OPEN_PERCENT),
            (Kind::Watches, WATCHES_PERCENT),
        ] {
            let mut share = ledger.share(kind);
            share.fit(percent * GRAIN, Claim::Running).unwrap();
            share.fit(percent * GRAIN + 1, Claim::Running).unwrap_err();
            assert_eq!(ledger.of(kind), percent * GRAIN);
        }
        assert_eq!(ledger.used(), 0);
    }

    #[tokio::test]
    async fn pressure_is_reported_only_above_its_threshold() {
        let ledger = MemoryLedger::new(LIMIT);
        let mut share = ledger.share(Kind::Answers);
        share.fit(92 * GRAIN, Claim::Running).unwrap();
        assert_eq!(ledger.excess(), 0);
        share.fit(93 * GRAIN, Claim::Running).unwrap();
        ledger.pressure().await;
        assert_eq!(ledger.excess(), 8 * GRAIN);
    }

    proptest! {
        #[test]
        fn the_ledger_is_the_sum_of_its_shares(
            steps in proptest::collection::vec((0_usize..8, 0_usize..40 * GRAIN), 0..60),
        ) {
            let ledger = MemoryLedger::new(LIMIT);
            let mut shares: Vec<_> = (0..8)
                .map(|at| ledger.share(Kind::ALL[at % Kind::ALL.len()]))
                .collect();
            for (at, bytes) in steps {
                let _ = shares[at].fit(bytes, Claim::Running);
                let sum: usize = shares.iter().map(Share::bytes).sum();
                prop_assert_eq!(ledger.used(), sum);
                prop_assert!(sum <= LIMIT);
            }
            drop(shares);
            prop_assert_eq!(ledger.used(), 0);
        }
    }
}
