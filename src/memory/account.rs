//! The account: counters by what memory is held for, their limit, and its marks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::chat::call::Caller;
use crate::error::{Error, Reason};

use super::holders::{Holders, Places, Totals};

/// The unit of the account: what a stream that does nothing takes, such as a watch of health.
pub const GRAIN: usize = 8 * 1024;

/// What is charged for a call when it begins. A stream of text in flight measures 8 to 20 KB, with
/// its place in every table, so this holds nearly every call from its beginning to its end.
pub const CALL: usize = 4 * GRAIN;

/// Above this share of the limit nothing new is admitted. What is left is for the calls that run:
/// their answers are not known when they are admitted.
pub const ADMIT_PERCENT: usize = 85;

/// Above this share of the limit memory is taken back. It lies halfway between the other two marks,
/// so that taking back begins before a call fails for lack of memory and does not begin because of
/// calls that were merely admitted.
pub const RELIEVE_PERCENT: usize = 92;

/// The share of the limit that answers kept for their `request_id` may hold. They save money, and
/// must not keep new calls out.
pub const KEPT_PERCENT: usize = 25;

/// The share of the limit that calls without credentials may hold: health checks, reflection where
/// it is open, and heads that are unfinished. What callers without an
/// identity send must not keep the others out.
pub const OPEN_PERCENT: usize = 8;

/// The share of the limit that watches of health without credentials may hold. It is apart, because
/// they last, and because clients send no calls while their watch is refused.
pub const WATCHES_PERCENT: usize = 4;

/// The least and the most that a refused caller is asked to wait, in milliseconds: long enough for
/// another replica to be tried first, spread so that refused callers do not return together.
const PUSHBACK_MS: std::ops::Range<u64> = 50..500;

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests: as received, as decoded, and as written for DashScope.
    Requests,
    /// Answers in flight: what is read of them, and what their callers have not read yet.
    Answers,
    /// Answers to calls with a `request_id`, while they run and while they are kept.
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

    /// Its name, as metrics show it.
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

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A call for which nothing was done yet. Refused above [`ADMIT_PERCENT`].
    New,
    /// A call that runs. Refused at the limit.
    Running,
}

/// The account. Cheap to clone; all clones are the same account.
#[derive(Clone, Debug)]
pub struct MemoryLedger {
    inner: Arc<Inner>,
}

/// The counters lie in one cache line: an addition to one leaves the sum of all at hand.
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
    /// What the calls of each caller hold beyond [`CALL`].
    holders: Arc<Holders>,
    /// How many calls each caller has in flight.
    places: OnceLock<Arc<dyn Places>>,
}

impl Default for MemoryLedger {
    /// An account without a limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl MemoryLedger {
    /// An empty account with this limit, in bytes.
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

    /// The bytes charged for all kinds together.
    pub fn used(&self) -> usize {
        Kind::ALL
            .into_iter()
            .fold(0, |sum: usize, kind| sum.saturating_add(self.of(kind)))
    }

    /// The most that may be charged for this kind. The sum of all has the limit of the account.
    pub fn limit_of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Requests | Kind::Answers | Kind::Uploads => usize::MAX,
            Kind::Kept => self.percent(KEPT_PERCENT),
            Kind::Open => self.percent(OPEN_PERCENT),
            Kind::Watches => self.percent(WATCHES_PERCENT),
        }
    }

    /// Learns from here how many calls each caller has in flight. Asked only when memory is short.
    pub fn count_calls(&self, places: Arc<dyn Places>) {
        // One relay has one account, so there is nothing to replace.
        let _ = self.inner.places.set(places);
    }

    /// A share of nothing, which may grow and which no caller answers for.
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

    /// A share of [`CALL`] for a call of this caller that begins, unless the account is too full
    /// for new calls of this caller.
    pub fn admit(&self, kind: Kind, owner: Caller) -> Result<Share, Error> {
        let mut share = self.share_of(kind, Some(owner));
        share.fit(CALL, Claim::New)?;
        Ok(share)
    }

    /// How much must be taken back before new calls are admitted again. Nothing as long as the mark
    /// for taking back is not passed. What calls hold that are being ended is on its way back.
    pub fn excess(&self) -> usize {
        let used = self.used().saturating_sub(self.inner.holders.returning());
        match used > self.percent(RELIEVE_PERCENT) {
            true => used.saturating_sub(self.percent(ADMIT_PERCENT)),
            false => 0,
        }
    }

    /// Ends the heaviest calls of the callers that hold the most, until so many bytes come back,
    /// and those that were chosen before: how many were ended, and how many bytes are missing.
    pub fn relieve(&self, bytes: usize) -> (u64, usize) {
        let totals = self.totals();
        let room = self.room(&totals, self.used());
        let freed = self.inner.holders.choose(bytes, &totals, room);
        let mut ended = 0;
        for call in self.inner.holders.take_chosen() {
            call.end();
            ended += 1;
        }
        (ended, bytes.saturating_sub(freed))
    }

    /// The callers that hold more than their part, and by how much: the heaviest first.
    pub fn above_part(&self) -> Vec<(Caller, usize)> {
        let totals = self.totals();
        totals.above(self.room(&totals, self.used()))
    }

    /// Waits until the mark for taking back was passed.
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
        let is_within_part =
            || owner.is_some_and(|owner| self.has_room_for((owner, claim), bytes, used));
        if of_kind > self.limit_of(kind) || used > mark && !is_within_part() {
            counter.fetch_sub(bytes, Ordering::Relaxed);
            return Err(full());
        }
        if used > self.percent(RELIEVE_PERCENT) {
            self.inner.pressure.notify_one();
        }
        Ok(())
    }

    /// Whether this caller is within its part once it holds so many more bytes, and they fit below
    /// the limit, if need be because calls of others are chosen to be ended.
    fn has_room_for(&self, (owner, claim): (Caller, Claim), bytes: usize, used: usize) -> bool {
        let mut totals = self.totals();
        totals.add(owner, bytes);
        let room = self.room(&totals, used);
        let is_within = totals.is_within_part(owner, room);
        if !is_within || claim == Claim::New && !totals.gives_way(owner, room) {
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

    /// What callers may hold all together before somebody has to give way: what lies below the
    /// first mark and is not held for anything else, such as answers that are kept.
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

/// Memory that is charged to the account until it is dropped.
#[derive(Debug)]
pub struct Share {
    ledger: MemoryLedger,
    kind: Kind,
    /// Who answers for it.
    owner: Option<Caller>,
    bytes: usize,
}

impl Share {
    /// How much is charged, in whole grains.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges as many grains as hold so many bytes, more or fewer than before. On an error the
    /// charge stays as it was.
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

    /// Charges at least as many grains as hold so many bytes.
    pub fn hold(&mut self, bytes: usize, claim: Claim) -> Result<(), Error> {
        match bytes > self.bytes {
            true => self.fit(bytes, claim),
            false => Ok(()),
        }
    }

    /// Charges at most as many grains as hold so many bytes.
    pub fn release(&mut self, bytes: usize) {
        if bytes < self.bytes {
            // Less is never refused.
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
    fn new_calls_are_refused_before_running_ones() {
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
    fn what_is_kept_and_what_nobody_answers_for_has_a_limit_of_its_own() {
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
    async fn pressure_is_reported_above_its_mark_only() {
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
        fn the_account_is_the_sum_of_its_shares(
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
