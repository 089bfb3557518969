//! One account of the memory that calls hold, for the whole process.
//!
//! Whatever grows with what callers or DashScope send is charged here: requests as they are read
//! and decoded, bodies for DashScope, answers that are not read yet, answers that are kept, chunks
//! of uploads. The account is kept in [`GRAIN`]s, so a call that stays small costs one addition
//! when it begins and one when it ends, and nothing per event.
//!
//! The limit has three marks, because a call that has begun may already be paid for and one that
//! has not costs nothing to refuse:
//!
//! | used, of the limit | what happens |
//! |---|---|
//! | more than [`ADMIT_PERCENT`] | new calls are refused, and requests that are still being read |
//! | more than [`RELIEVE_PERCENT`] | kept answers are dropped, then the heaviest calls are ended |
//! | all of it | a call that needs more is ended itself |

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{Error, Reason};

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

/// The share of the limit that calls without credentials may hold: health checks, and reflection
/// where it is open. What nobody in particular sends must not keep callers out.
pub const OPEN_PERCENT: usize = 12;

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
}

impl Kind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::Requests,
        Self::Answers,
        Self::Kept,
        Self::Uploads,
        Self::Open,
    ];

    /// Its name, as metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Answers => "answers",
            Self::Kept => "kept_answers",
            Self::Uploads => "uploads",
            Self::Open => "unauthenticated",
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
    limit: usize,
    pressure: Notify,
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
                limit,
                pressure: Notify::new(),
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

    /// The most that may be charged for this kind.
    pub fn limit_of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Requests | Kind::Answers | Kind::Uploads => self.inner.limit,
            Kind::Kept => self.percent(KEPT_PERCENT),
            Kind::Open => self.percent(OPEN_PERCENT),
        }
    }

    /// A share of nothing, which may grow.
    pub fn share(&self, kind: Kind) -> Share {
        Share {
            ledger: self.clone(),
            kind,
            bytes: 0,
        }
    }

    /// A share of [`CALL`] for a call that begins, unless the account is too full for new calls.
    pub fn admit(&self, kind: Kind) -> Result<Share, Error> {
        let mut share = self.share(kind);
        share.fit(CALL, Claim::New)?;
        Ok(share)
    }

    /// How much must be taken back before new calls are admitted again. Nothing as long as the mark
    /// for taking back is not passed.
    pub fn excess(&self) -> usize {
        let used = self.used();
        match used > self.percent(RELIEVE_PERCENT) {
            true => used.saturating_sub(self.percent(ADMIT_PERCENT)),
            false => 0,
        }
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
        }
    }

    fn percent(&self, percent: usize) -> usize {
        self.inner.limit / 100 * percent
    }

    fn charge(&self, kind: Kind, bytes: usize, claim: Claim) -> Result<(), Error> {
        let mark = match claim {
            Claim::New => self.percent(ADMIT_PERCENT),
            Claim::Running => self.inner.limit,
        };
        let counter = self.counter(kind);
        let of_kind = counter
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let used = self.used();
        if used > mark || of_kind > self.limit_of(kind) {
            counter.fetch_sub(bytes, Ordering::Relaxed);
            return Err(full());
        }
        if used > self.percent(RELIEVE_PERCENT) {
            self.inner.pressure.notify_one();
        }
        Ok(())
    }
}

/// The error of a call for which there is no memory.
pub fn full() -> Error {
    let wait = Duration::from_millis(fastrand::u64(PUSHBACK_MS));
    let message = "memory limit reached: calls in flight hold all of it";
    Error::new(Reason::Overloaded, message).with_retry_after(wait)
}

/// Memory that is charged to the account until it is dropped.
#[derive(Debug)]
pub struct Share {
    ledger: MemoryLedger,
    kind: Kind,
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
            self.ledger.charge(self.kind, wanted - self.bytes, claim)?;
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

    fn ledger(&self) -> &MemoryLedger {
        &self.ledger
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release(0);
    }
}

/// All memory of one call. Cheap to clone; all clones are the same call, and the last one that is
/// dropped gives the memory back.
#[derive(Clone, Debug)]
pub struct CallMemory(Arc<Mutex<Parts>>);

#[derive(Debug)]
struct Parts {
    /// The request: as received, as decoded, as written for DashScope.
    request: Share,
    /// What the last message takes once it is decoded.
    decoded: usize,
    /// What was read of the answer and has not become events.
    buffers: Share,
    /// The answer, until it is read.
    answer: Share,
    refused: Option<Error>,
}

impl CallMemory {
    /// Of a call for whose request this is charged.
    pub fn new(request: Share) -> Self {
        let answers = || request.ledger().share(Kind::Answers);
        let (buffers, answer) = (answers(), answers());
        Self(Arc::new(Mutex::new(Parts {
            request,
            decoded: 0,
            buffers,
            answer,
            refused: None,
        })))
    }

    /// Charges at least so many bytes of a request that is being received.
    pub fn receive(&self, bytes: usize) -> Result<(), Error> {
        self.lock().request.hold(bytes, Claim::New)
    }

    /// Charges a message that was received: its bytes, its length once it is unpacked, and what its
    /// elements take. While it is decoded, its texts are there twice.
    pub fn decode(&self, received: usize, length: usize, elements: usize) -> Result<(), Error> {
        let mut parts = self.lock();
        parts.decoded = length.saturating_add(elements);
        let all = received
            .saturating_add(length)
            .saturating_add(parts.decoded);
        parts.request.hold(all, Claim::New)
    }

    /// The message is decoded: what is left of it is the call.
    pub fn decoded(&self) {
        let mut parts = self.lock();
        let decoded = parts.decoded.max(CALL);
        parts.request.release(decoded);
    }

    /// Charges the body for DashScope, beside the call, which may have to be written once more.
    pub fn write(&self, bytes: usize) -> Result<(), Error> {
        let mut parts = self.lock();
        let all = parts.decoded.saturating_add(bytes);
        parts.request.hold(all, Claim::Running)
    }

    /// The answer has begun: the request is not needed any more.
    pub fn answered(&self) {
        self.lock().request.release(CALL);
    }

    /// Charges what was read of the answer and has not become events.
    pub fn buffer(&self, bytes: usize) -> Result<(), Error> {
        self.lock().buffers.fit(bytes, Claim::Running)
    }

    /// Charges the answer as far as its caller has not read it.
    pub fn answer(&self, bytes: usize) -> Result<(), Error> {
        self.lock().answer.fit(bytes, Claim::Running)
    }

    /// How much is charged for the call.
    pub fn bytes(&self) -> usize {
        let parts = self.lock();
        parts.request.bytes() + parts.buffers.bytes() + parts.answer.bytes()
    }

    /// Notes why the request was refused while it was received.
    pub fn refuse(&self, error: &Error) {
        self.lock().refused = Some(error.clone());
    }

    /// Why the request was refused while it was received, if it was.
    pub fn refused(&self) -> Option<Error> {
        self.lock().refused.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let error = ledger.admit(Kind::Requests).unwrap_err();
        assert_eq!(error.reason(), Reason::Overloaded);
        assert!(error.retry_after().is_some());
        running.fit(LIMIT, Claim::Running).unwrap();
        running.fit(LIMIT + 1, Claim::Running).unwrap_err();
        assert_eq!((running.bytes(), ledger.used()), (LIMIT, LIMIT));
        drop(running);
        ledger.admit(Kind::Requests).unwrap();
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn what_is_kept_and_what_nobody_answers_for_has_a_limit_of_its_own() {
        let ledger = MemoryLedger::new(LIMIT);
        for (kind, percent) in [(Kind::Kept, KEPT_PERCENT), (Kind::Open, OPEN_PERCENT)] {
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

    #[test]
    fn a_call_holds_its_request_until_it_is_answered_and_its_answer_until_the_end() {
        let ledger = MemoryLedger::new(LIMIT);
        let call = CallMemory::new(ledger.admit(Kind::Requests).unwrap());
        assert_eq!(ledger.of(Kind::Requests), CALL);
        call.receive(10 * GRAIN).unwrap();
        call.decode(10 * GRAIN, 10 * GRAIN, 2 * GRAIN).unwrap();
        assert_eq!(ledger.of(Kind::Requests), 32 * GRAIN);
        call.decoded();
        call.write(14 * GRAIN).unwrap();
        assert_eq!(call.bytes(), 26 * GRAIN);
        call.answered();
        call.buffer(3 * GRAIN).unwrap();
        call.answer(5 * GRAIN).unwrap();
        assert_eq!(
            (call.bytes(), ledger.of(Kind::Answers)),
            (12 * GRAIN, 8 * GRAIN)
        );
        call.buffer(0).unwrap();
        call.answer(2 * LIMIT).unwrap_err();
        let other = call.clone();
        drop(call);
        assert_eq!(ledger.used(), 9 * GRAIN);
        drop(other);
        assert_eq!(ledger.used(), 0);
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
