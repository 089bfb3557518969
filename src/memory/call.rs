//! The memory of one call, and its cancellation to reclaim it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};

use crate::chat::call::Caller;
use crate::error::Error;

use super::account::{CALL, Claim, Kind, Share, full};
use super::holders::{Cancel, Holding};

/// The memory of one call. Cheap to clone; all clones share it, and dropping the last one releases
/// the memory.
#[derive(Clone, Debug)]
pub struct CallMemory(Arc<Call>);

#[derive(Debug)]
struct Call {
    owner: Option<Caller>,
    parts: Mutex<Parts>,
    ended: AtomicBool,
    ends: Mutex<CancelTargets>,
}

#[derive(Debug)]
struct Parts {
    /// The request: as received, as decoded, as encoded for DashScope.
    request: Share,
    /// The size of the latest message once it is decoded.
    decoded: usize,
    /// Response data that has not become events.
    buffers: Share,
    /// The response, until the caller has read it.
    answer: Share,
    refused: Option<Error>,
    /// What it holds beyond [`CALL`], as charged to its caller.
    counted: usize,
    /// Its entry among its caller's calls, once it has held more than [`CALL`].
    holding: Option<Holding>,
}

/// What is cancelled with the call.
#[derive(Debug, Default)]
struct CancelTargets {
    /// The task that waits for the rest of the request.
    request: Option<Waker>,
    /// The response and the call behind it.
    response: Option<Weak<dyn Cancel>>,
    /// The live session, which outlives its responses.
    session: Option<Weak<dyn Cancel>>,
}

impl CallMemory {
    /// The memory of a call with this charge for its request.
    pub fn new(request: Share) -> Self {
        let owner = request.owner();
        let answers = || request.ledger().share_of(Kind::Answers, owner);
        let (buffers, answer) = (answers(), answers());
        Self(Arc::new(Call {
            owner,
            parts: Mutex::new(Parts {
                request,
                decoded: 0,
                buffers,
                answer,
                refused: None,
                counted: 0,
                holding: None,
            }),
            ended: AtomicBool::new(false),
            ends: Mutex::default(),
        }))
    }

    /// Charges at least this many bytes of a request that is being received.
    pub fn receive(&self, bytes: usize) -> Result<(), Error> {
        self.charge(|parts| parts.request.hold(bytes, Claim::New))
    }

    /// Charges a received message: its bytes, its decompressed length, and its elements. While it
    /// is decoded, its texts exist twice.
    pub fn decode(&self, received: usize, length: usize, elements: usize) -> Result<(), Error> {
        self.charge(|parts| {
            parts.decoded = length.saturating_add(elements);
            let all = received
                .saturating_add(length)
                .saturating_add(parts.decoded);
            parts.request.hold(all, Claim::New)
        })
    }

    /// Reduces the charge after decoding: only the call is left of the message.
    pub fn decoded(&self) {
        self.release(|parts| {
            let decoded = parts.decoded.max(CALL);
            parts.request.release(decoded);
        });
    }

    /// Charges the body for DashScope, in addition to the call, which may have to be encoded again.
    pub fn write(&self, bytes: usize) -> Result<(), Error> {
        self.charge(|parts| {
            let all = parts.decoded.saturating_add(bytes);
            parts.request.hold(all, Claim::Running)
        })
    }

    /// Releases the request: the response has begun.
    pub fn answered(&self) {
        self.release(|parts| parts.request.release(CALL));
    }

    /// The limit of all calls together.
    pub fn limit(&self) -> usize {
        self.lock().request.ledger().limit()
    }

    /// Charges response data that has not become events.
    pub fn buffer(&self, bytes: usize) -> Result<(), Error> {
        self.charge(|parts| parts.buffers.fit(bytes, Claim::Running))
    }

    /// Charges response data that the caller has not read.
    pub fn answer(&self, bytes: usize) -> Result<(), Error> {
        self.charge(|parts| parts.answer.fit(bytes, Claim::Running))
    }

    /// The caller of the call, if it belongs to one.
    pub fn owner(&self) -> Option<Caller> {
        self.0.owner
    }

    /// Records why the request was rejected while it was received.
    pub fn refuse(&self, error: &Error) {
        self.lock().refused = Some(error.clone());
    }

    /// Why the request was rejected while it was received, if it was.
    pub fn refused(&self) -> Option<Error> {
        self.lock().refused.clone()
    }

    /// Registers the response, and the call behind it, to be cancelled when the memory of the call
    /// is reclaimed.
    pub fn cancel_with(&self, response: Weak<dyn Cancel>) {
        self.0.ends().response = Some(response);
        // It may have been reclaimed in between.
        if self.is_cancelled() {
            self.0.cancel();
        }
    }

    /// Registers the live session, which may outlive the response, to be cancelled when the memory
    /// of the call is reclaimed.
    pub fn cancel_session_with(&self, session: Weak<dyn Cancel>) {
        self.0.ends().session = Some(session);
        if self.is_cancelled() {
            self.0.cancel();
        }
    }

    /// Registers this task, which waits for the rest of the request, to be woken when the memory of
    /// the call is reclaimed.
    pub fn wake_request(&self, cx: &Context<'_>) {
        let mut ends = self.0.ends();
        match &mut ends.request {
            Some(waker) => waker.clone_from(cx.waker()),
            None => ends.request = Some(cx.waker().clone()),
        }
    }

    /// Whether the memory of the call is being reclaimed.
    pub fn is_cancelled(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
    }

    fn charge(&self, change: impl FnOnce(&mut Parts) -> Result<(), Error>) -> Result<(), Error> {
        let mut parts = self.lock();
        change(&mut parts)?;
        match self.count(&mut parts) {
            true => Ok(()),
            false => Err(full()),
        }
    }

    fn release(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.lock();
        change(&mut parts);
        // A cancelled call gets an error when it needs more.
        let _ = self.count(&mut parts);
    }

    /// Charges its caller for what it holds beyond [`CALL`]. Returns false if the call is to be
    /// cancelled.
    fn count(&self, parts: &mut Parts) -> bool {
        let bytes = parts.bytes().saturating_sub(CALL);
        if bytes == parts.counted {
            return true;
        }
        let Some(owner) = self.0.owner else {
            return true;
        };
        parts.counted = bytes;
        let ledger = parts.request.ledger();
        let holding = parts.holding.get_or_insert_with(|| {
            let call = Arc::downgrade(&self.0);
            Holding::new(ledger.holders(), owner, call)
        });
        holding.set(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn bytes(&self) -> usize {
        self.request.bytes() + self.buffers.bytes() + self.answer.bytes()
    }
}

impl Call {
    fn ends(&self) -> MutexGuard<'_, CancelTargets> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cancel for Call {
    fn cancel(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let ends = std::mem::take(&mut *self.ends());
        if let Some(request) = ends.request {
            request.wake();
        }
        for target in [ends.session, ends.response].into_iter().flatten() {
            if let Some(target) = target.upgrade() {
                target.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{GRAIN, MemoryLedger};

    const LIMIT: usize = 100 * GRAIN;
    const HOG: Caller = Caller(1);
    const GOOD: Caller = Caller(2);

    fn call(ledger: &MemoryLedger, owner: Caller) -> CallMemory {
        CallMemory::new(ledger.admit(Kind::Requests, owner).unwrap())
    }

    #[test]
    fn a_call_releases_its_request_on_response_and_its_response_at_the_end() {
        let ledger = MemoryLedger::new(LIMIT);
        let call = CallMemory::new(ledger.admit(Kind::Requests, Caller(1)).unwrap());
        assert_eq!(ledger.of(Kind::Requests), CALL);
        call.receive(10 * GRAIN).unwrap();
        call.decode(10 * GRAIN, 10 * GRAIN, 2 * GRAIN).unwrap();
        assert_eq!(ledger.of(Kind::Requests), 32 * GRAIN);
        call.decoded();
        call.write(14 * GRAIN).unwrap();
        assert_eq!(call.lock().bytes(), 26 * GRAIN);
        call.answered();
        call.buffer(3 * GRAIN).unwrap();
        call.answer(5 * GRAIN).unwrap();
        assert_eq!(
            (call.lock().bytes(), ledger.of(Kind::Answers)),
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

    #[test]
    fn only_callers_within_their_fair_share_are_admitted_above_the_threshold() {
        let ledger = MemoryLedger::new(LIMIT);
        let calls: Vec<_> = (0..3).map(|_| call(&ledger, HOG)).collect();
        for one in &calls {
            one.answer(24 * GRAIN).unwrap();
        }
        assert_eq!(ledger.used(), 84 * GRAIN);
        ledger.admit(Kind::Requests, HOG).unwrap_err();
        let good = call(&ledger, GOOD);
        good.receive(8 * GRAIN).unwrap();
        assert!(!calls.iter().any(CallMemory::is_cancelled), "there is room");
        calls[0].receive(5 * GRAIN).unwrap_err();
    }

    #[test]
    fn at_the_limit_calls_of_the_largest_caller_are_cancelled_for_others() {
        let ledger = MemoryLedger::new(LIMIT);
        let heavy = call(&ledger, HOG);
        heavy.answer(50 * GRAIN).unwrap();
        let light = call(&ledger, HOG);
        light.answer(26 * GRAIN).unwrap();
        let good = call(&ledger, GOOD);
        good.answer(12 * GRAIN).unwrap();
        assert_eq!(ledger.used(), LIMIT);
        light.answer(27 * GRAIN).unwrap_err();
        good.answer(20 * GRAIN).unwrap();
        heavy.answer(51 * GRAIN).unwrap_err();
        assert_eq!((ledger.excess(), ledger.relieve(0)), (0, (1, 0)));
        assert_eq!((heavy.is_cancelled(), light.is_cancelled()), (true, false));
        assert!(!good.is_cancelled());
        drop(heavy);
        assert_eq!(ledger.holders().returning(), 0);
        assert_eq!(ledger.used(), 54 * GRAIN);
    }

    #[test]
    fn memory_is_reclaimed_only_from_callers_above_their_fair_share() {
        let ledger = MemoryLedger::new(LIMIT);
        let hog: Vec<_> = (0..6).map(|_| call(&ledger, HOG)).collect();
        let good = call(&ledger, GOOD);
        good.answer(20 * GRAIN).unwrap();
        for one in &hog {
            one.answer(8 * GRAIN).unwrap();
        }
        assert_eq!(ledger.used(), 96 * GRAIN);
        let (ended, missing) = ledger.relieve(ledger.excess());
        assert_eq!((ended, missing), (2, 0));
        assert_eq!(hog.iter().filter(|one| one.is_cancelled()).count(), 2);
        assert!(!good.is_cancelled(), "though it is the heaviest call");
        drop(hog);
        // Memory that a call has released is not required of it.
        good.answer(0).unwrap();
        assert_eq!(ledger.relieve(LIMIT), (0, LIMIT));
    }
}
