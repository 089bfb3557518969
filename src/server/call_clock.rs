//! The clock of one response, which runs whether or not the transport polls the response's body.
//!
//! HTTP/2 stops polling a body while its stream or its connection has no window, so a timer inside
//! the body would stop exactly when it is needed. This clock counts the bytes that were passed to
//! the transport and not yet written; the task of the stream checks it from outside. When the
//! deadline or the limit for unread responses passes, the call is cancelled: the connection to
//! DashScope is closed, the permits are released. If the caller reads again it gets the status; if
//! not, the stream is reset once the limit has passed a second time.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use crate::error::{Error, Reason};
use crate::memory::{self, CallMemory};

use super::open_calls::{Open, Unread};

/// The limit of unread responses without settings, such as the rejection of a request that is not
/// gRPC. The default of `timeouts.slow_consumer`.
const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

/// The end of a response is withheld while more than this of it is unread: once the HTTP library
/// has the end of a stream, the stream can no longer be reset. Shorter responses are sent with
/// their end in one write; a connection may buffer this much of each of its streams for a peer that
/// does not read.
pub const MAX_UNREAD_AT_END: usize = 16 * 1024;

/// A call whose response is not completely read. The clock cancels it when its time is over.
/// Dropping it releases what the call holds.
pub trait PendingCall: fmt::Debug + Send {
    /// The deadline of the call.
    fn deadline(&self) -> Instant;

    /// Ends the call because its deadline has passed. Returns the error for the caller.
    fn end_at_deadline(self: Box<Self>) -> Error;

    /// Ends the call with this error. Returns the error for the caller.
    fn end(self: Box<Self>, error: Error) -> Error;
}

/// The clock of one response.
#[derive(Debug)]
pub struct CallClock {
    began: Instant,
    /// The bytes that were passed to the transport and not yet written.
    unread: AtomicUsize,
    /// When the transport last wrote some of them, in nanoseconds after `began`.
    moved: AtomicU64,
    /// Whether the transport took a frame and has not polled for the next.
    holding: AtomicBool,
    /// Whether the deadline is checked even while everything is read.
    keeps_deadline: AtomicBool,
    ended: AtomicBool,
    /// Whether the memory of the call is being reclaimed.
    taken_back: AtomicBool,
    /// Whether the response is complete, and its connection counts it as unread.
    counted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: Duration,
    deadline: Option<Instant>,
    call: Option<Box<dyn PendingCall>>,
    /// Charged until the response is dropped, even if the call behind it was ended earlier.
    memory: Option<CallMemory>,
    ended: Option<(Instant, Error)>,
    /// Whether the response is complete.
    is_over: bool,
    /// The task that waits to send the end of the response.
    response: Option<Waker>,
    /// The body of the request, if it is read while the response lasts.
    request: Option<Waker>,
    /// The task of the stream, once part of the response was unread.
    stream: Option<Waker>,
    /// Present once the response is complete, until it is read.
    over: Option<Unread>,
}

/// The next step for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until the transport takes another frame.
    Rest,
    /// Check again at this time.
    Look(Instant),
    /// Reset the stream.
    Reset,
}

impl CallClock {
    /// The clock of a call that began at this time.
    pub fn new(began: Instant) -> Arc<Self> {
        Arc::new(Self {
            began,
            unread: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            holding: AtomicBool::new(false),
            keeps_deadline: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            taken_back: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            state: Mutex::new(State {
                limit: DEFAULT_LIMIT,
                deadline: None,
                call: None,
                memory: None,
                ended: None,
                is_over: false,
                response: None,
                request: None,
                stream: None,
                over: None,
            }),
        })
    }

    /// Sets how long the response may stay unread.
    pub fn limit(&self, limit: Duration) {
        self.lock().limit = limit;
    }

    /// Sets the deadline of a call without a timer of its own.
    pub fn keep_deadline(&self, deadline: Instant) {
        self.lock().deadline = Some(deadline);
        self.keeps_deadline.store(true, Ordering::Release);
    }

    /// Holds a call, which enforces its deadline itself while it is polled, and cancels it when its
    /// memory is reclaimed.
    pub fn hold(self: &Arc<Self>, call: Box<dyn PendingCall>, memory: &CallMemory) {
        let deadline = call.deadline();
        let mut state = self.lock();
        state.deadline = Some(deadline);
        state.call = Some(call);
        state.memory = Some(memory.clone());
        drop(state);
        let clock: Weak<Self> = Arc::downgrade(self);
        memory.cancel_with(clock);
    }

    /// The time at which the call began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Marks the response as complete, read or not: its permits are released. The connection of
    /// this call counts it until it is read. A call that ends with its connection because the peer
    /// reads nothing ends as one whose response is unread, however short it was.
    pub fn over(&self, open: &Open) {
        let mut state = self.lock();
        if open.is_closed_unread() && state.ended.is_none() {
            let limit = state.limit;
            let error = match state.call.take() {
                Some(call) => call.end(unread_too_long(limit)),
                None => unread_too_long(limit),
            };
            self.cancel_with(&mut state, Instant::now(), error);
        }
        let call = (state.call.take(), state.memory.take());
        state.is_over = true;
        if self.unread() > 0 {
            state.over = Some(open.unread());
            self.counted.store(true, Ordering::SeqCst);
            // It may have been written in between.
            if self.unread() == 0 {
                state.over = None;
            }
        }
        drop(state);
        drop(call);
    }

    /// The error that the clock ended the call with, if it did.
    pub fn error(&self) -> Option<Error> {
        if !self.ended.load(Ordering::Acquire) {
            return None;
        }
        self.lock().ended.as_ref().map(|(_, error)| error.clone())
    }

    /// Whether the clock ended the call.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The bytes that were passed to the transport and not yet written.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::SeqCst)
    }

    /// Passes bytes to the transport.
    pub fn hand_out(self: &Arc<Self>, bytes: Bytes) -> Chunk {
        let length = bytes.len();
        if self.unread.fetch_add(length, Ordering::AcqRel) == 0 {
            self.moves();
        }
        self.holding.store(true, Ordering::Release);
        Chunk {
            bytes,
            clock: Arc::clone(self),
        }
    }

    /// Records that the transport has polled for more.
    pub fn asked(&self) {
        self.holding.store(false, Ordering::Release);
    }

    /// Records that the transport has written data.
    pub fn moves(&self) {
        let since = self.began.elapsed().as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Release);
    }

    /// Whether the deadline is checked even while everything is read.
    pub fn keeps_deadline(&self) -> bool {
        self.keeps_deadline.load(Ordering::Acquire)
    }

    /// Whether the clock has to be checked without further events.
    pub fn is_running(&self) -> bool {
        self.is_unread() || self.keeps_deadline()
    }

    /// Checks the clock, and ends the call if its time is over.
    pub fn look(&self, now: Instant) -> Next {
        let mut state = self.lock();
        if state.is_over {
            return Next::Rest;
        }
        if self.must_reset() {
            return Next::Reset;
        }
        if let Some((ended, _)) = &state.ended {
            let due = *ended + state.limit;
            return match now < due {
                true => Next::Look(due),
                false => Next::Reset,
            };
        }
        let unread = self.is_unread();
        let moved = self.began + Duration::from_nanos(self.moved.load(Ordering::Acquire));
        let slow = unread.then(|| moved + state.limit);
        let keeps = unread || self.keeps_deadline();
        let deadline = state.deadline.filter(|_| keeps);
        let Some(due) = [slow, deadline].into_iter().flatten().min() else {
            return Next::Rest;
        };
        if now < due {
            return Next::Look(due);
        }
        let limit = state.limit;
        let late = deadline.is_some_and(|deadline| now >= deadline);
        let error = match (state.call.take(), late) {
            (Some(call), true) => call.end_at_deadline(),
            (Some(call), false) => call.end(unread_too_long(limit)),
            (None, true) => too_late(),
            (None, false) => unread_too_long(limit),
        };
        self.cancel_with(&mut state, now, error);
        Next::Look(now + limit)
    }

    fn cancel_with(&self, state: &mut State, now: Instant, error: Error) {
        state.ended = Some((now, error));
        self.ended.store(true, Ordering::Release);
        for waker in [state.response.take(), state.request.take()] {
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether to reset the stream now: the memory of the call is being reclaimed, and its response
    /// is unread.
    pub fn must_reset(&self) -> bool {
        self.taken_back.load(Ordering::SeqCst) && self.unread() > MAX_UNREAD_AT_END
    }

    /// Registers this task to be woken when the memory of the call is reclaimed.
    pub fn wake_stream(&self, cx: &Context<'_>) {
        self.lock().stream = Some(cx.waker().clone());
    }

    /// Registers this task to be woken when the end of the response may be sent, or when the clock
    /// ends the call.
    pub fn wake_response(&self, cx: &Context<'_>) {
        self.lock().response = Some(cx.waker().clone());
    }

    /// Registers this task to be woken when the clock ends the call.
    pub fn wake_request(&self, cx: &Context<'_>) {
        self.lock().request = Some(cx.waker().clone());
    }

    fn is_unread(&self) -> bool {
        self.holding.load(Ordering::Acquire) || self.unread() > 0
    }

    fn took(&self, length: usize) {
        let before = self.unread.fetch_sub(length, Ordering::SeqCst);
        let left = before.saturating_sub(length);
        if left > 0 {
            self.moves();
        } else if self.counted.load(Ordering::SeqCst) {
            self.lock().over = None;
        }
        if before > MAX_UNREAD_AT_END && left <= MAX_UNREAD_AT_END {
            let waker = self.lock().response.take();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl memory::Cancel for CallClock {
    /// Reclaims the memory of the call: the connection to DashScope is closed, and an unread
    /// response is reset.
    fn cancel(&self) {
        let mut state = self.lock();
        if state.is_over {
            return;
        }
        self.taken_back.store(true, Ordering::SeqCst);
        if state.ended.is_none() {
            let error = memory::full();
            let error = match state.call.take() {
                Some(call) => call.end(error),
                None => error,
            };
            self.cancel_with(&mut state, Instant::now(), error);
        }
        let stream = state.stream.take();
        drop(state);
        stream.into_iter().for_each(Waker::wake);
    }
}

/// The error of a call without an exchange with DashScope whose deadline has passed.
pub fn too_late() -> Error {
    let message = "deadline exceeded; set a longer deadline";
    Error::new(Reason::DeadlineExceeded, message)
}

/// The error of a call whose response stays unread for longer than this.
fn unread_too_long(limit: Duration) -> Error {
    let message = format!("the response was not read for {limit:?}; read it faster");
    Error::new(Reason::SlowConsumer, message)
}

/// Bytes of a response that count as unread until the transport has written or dropped them.
#[derive(Debug)]
pub struct Chunk {
    bytes: Bytes,
    clock: Arc<CallClock>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.clock.took(count);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.clock.took(self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> Arc<CallClock> {
        let clock = CallClock::new(Instant::now());
        clock.limit(30 * SECOND);
        clock
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_written_and_followed_by_a_poll_is_read() {
        let clock = clock();
        let mut chunk = clock.hand_out(Bytes::from_static(b"12345"));
        assert!(clock.is_running());
        chunk.advance(5);
        assert!(clock.is_running(), "no further poll yet");
        clock.asked();
        assert!(!clock.is_running());
        assert_eq!(clock.look(Instant::now()), Next::Rest);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unread_response_is_ended_at_its_limit_and_reset_after_another() {
        let clock = clock();
        let start = Instant::now();
        let _chunk = clock.hand_out(Bytes::from_static(b"12345"));
        assert_eq!(clock.look(start), Next::Look(start + 30 * SECOND));
        let at = start + 30 * SECOND;
        assert_eq!(clock.look(at), Next::Look(at + 30 * SECOND));
        assert_eq!(clock.error().unwrap().reason(), Reason::SlowConsumer);
        assert_eq!(clock.look(at + 30 * SECOND), Next::Reset);
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_that_is_written_puts_the_limit_off_but_not_the_deadline() {
        let clock = clock();
        let start = Instant::now();
        clock.lock().deadline = Some(start + 45 * SECOND);
        let mut chunk = clock.hand_out(Bytes::from_static(b"12345"));
        tokio::time::advance(20 * SECOND).await;
        chunk.advance(1);
        assert_eq!(clock.look(start), Next::Look(start + 45 * SECOND));
        let at = start + 45 * SECOND;
        assert_eq!(clock.look(at), Next::Look(at + 30 * SECOND));
        assert_eq!(clock.error().unwrap().reason(), Reason::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unread_response_whose_memory_is_taken_back_is_reset_at_once() {
        let clock = clock();
        let _small = clock.hand_out(Bytes::from_static(b"12345"));
        memory::Cancel::cancel(&*clock);
        assert_eq!(clock.error().unwrap().reason(), Reason::Overloaded);
        let next = clock.look(Instant::now());
        assert!(matches!(next, Next::Look(_)), "its status may be read");
        let _large = clock.hand_out(Bytes::from(vec![0; MAX_UNREAD_AT_END]));
        assert_eq!(clock.look(Instant::now()), Next::Reset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_that_is_dropped_is_not_unread() {
        let clock = clock();
        drop(clock.hand_out(Bytes::from_static(b"12345")));
        clock.asked();
        assert_eq!((clock.unread(), clock.is_running()), (0, false));
    }
}
