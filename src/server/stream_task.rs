//! Runs the tasks of a connection and of its streams, and checks the clocks of their responses from
//! outside: see [`CallClock`].
//!
//! The HTTP library spawns one task for each stream of HTTP/2, and polls a call of HTTP/1.1 in the
//! task of its connection. Each is wrapped in a [`StreamTask`], so that no task is added.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::call_clock::{CallClock, Next};
use super::open_calls::OpenCalls;

/// The clock of the latest call of a connection, until a task takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Arc<CallClock>>>>);

impl Slot {
    /// Puts the clock of a new call.
    pub(super) fn put(&self, clock: Arc<CallClock>) {
        let before = self.lock().replace(clock);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<CallClock>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spawns the tasks of a connection's streams. The library creates the future of a call and its
/// task consecutively, so the clock in the slot is that of the stream.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamExecutor {
    slot: Slot,
}

impl StreamExecutor {
    /// Takes clocks from this slot.
    pub(super) fn new(slot: Slot) -> Self {
        Self { slot }
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let clock = self.slot.lock().take();
        match clock {
            Some(clock) => drop(tokio::spawn(StreamTask {
                stream,
                alarm: Alarm::default(),
                clock,
            })),
            None => drop(tokio::spawn(stream)),
        }
    }
}

pin_project! {
    /// The task of a stream. It ends when the clock of the stream requires it, which resets the
    /// stream.
    struct StreamTask<F> {
        #[pin]
        stream: F,
        alarm: Alarm,
        clock: Arc<CallClock>,
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // The clock first: a stream that is always busy must not keep it from running.
        if this.alarm.is_set() && this.alarm.poll(this.clock, cx).is_ready() {
            return Poll::Ready(());
        }
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if this.alarm.is_set() {
            return this.alarm.bring_forward(this.clock, cx);
        }
        match this.clock.is_running() {
            true => this.alarm.poll(this.clock, cx),
            false => Poll::Pending,
        }
    }
}

/// Wakes a task when its clock has to be checked. There is no timer while everything is read.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// A timer that was set for a deadline alone may be too late for a response that is unread.
    fn bring_forward(&mut self, clock: &CallClock, cx: &mut Context<'_>) -> Poll<()> {
        if clock.keeps_deadline()
            && let Some(alarm) = &mut self.0
            && let Next::Look(due) = clock.look(Instant::now())
            && due < alarm.deadline()
        {
            alarm.as_mut().reset(due);
            return self.poll(clock, cx);
        }
        Poll::Pending
    }

    /// Checks the clock when it is time. Ready when the stream is to be reset.
    fn poll(&mut self, clock: &CallClock, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(alarm) = self.0.as_mut().filter(|_| !clock.must_reset()) {
                ready!(alarm.as_mut().poll(cx));
            }
            let due = match clock.look(Instant::now()) {
                Next::Rest => {
                    self.0 = None;
                    return Poll::Pending;
                }
                Next::Reset => {
                    tracing::debug!("stream reset: the response was not read");
                    return Poll::Ready(());
                }
                Next::Look(due) => due,
            };
            match &mut self.0 {
                Some(alarm) => alarm.as_mut().reset(due),
                None => {
                    self.0 = Some(Box::pin(sleep_until(due)));
                    clock.wake_stream(cx);
                }
            }
        }
    }
}

/// The write progress of a connection, for its clock.
#[derive(Debug, Default)]
struct Writing {
    /// The number of writes.
    writes: AtomicU64,
    /// Whether the socket accepts nothing at the moment.
    blocked: AtomicBool,
}

impl Writing {
    fn note(&self, wrote: bool) {
        self.blocked.store(!wrote, Ordering::Relaxed);
        self.writes.fetch_add(u64::from(wrote), Ordering::Relaxed);
    }
}

/// A socket whose writes are counted.
pub(super) struct Watched<S> {
    socket: S,
    writing: Arc<Writing>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.writing.note(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.writing.note(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The handling of a connection whose peer does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stuck {
    /// Close it: its only call was ended and is still unread, or the socket accepts nothing.
    Close,
    /// Drain it: a complete response is not read to its end.
    Retire,
}

/// Checks a connection from its task: the HTTP/1.1 call in progress, the socket, and the complete,
/// unread responses.
pub(super) struct ConnectionClock {
    slot: Slot,
    writing: Arc<Writing>,
    calls: Arc<OpenCalls>,
    /// Of the HTTP/1.1 call, and the writes at the last check.
    call: (Alarm, u64),
    /// Of the socket and of complete responses, and the writes before it was set.
    rest: Option<(Pin<Box<Sleep>>, u64)>,
    retired: bool,
}

impl ConnectionClock {
    /// The clock of a connection with these calls; the latest is in the slot if it is one of
    /// HTTP/1.1.
    pub(super) fn new(slot: Slot, calls: Arc<OpenCalls>) -> Self {
        Self {
            slot,
            writing: Arc::default(),
            calls,
            call: (Alarm::default(), 0),
            rest: None,
            retired: false,
        }
    }

    /// Counts what is written to this socket.
    pub(super) fn watch<S>(&self, socket: S) -> Watched<S> {
        Watched {
            socket,
            writing: Arc::clone(&self.writing),
        }
    }

    /// Checks the connection after it was polled. The limit is how long anything may stay unread.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        limit: impl Fn() -> Duration,
    ) -> Poll<Stuck> {
        if self.poll_call(cx).is_ready() {
            tracing::debug!("closing connection: a response was not read");
            return Poll::Ready(Stuck::Close);
        }
        loop {
            let blocked = self.writing.blocked.load(Ordering::Relaxed);
            let unread = !self.retired && self.calls.has_unread();
            let writes = self.writing.writes.load(Ordering::Relaxed);
            let Some((alarm, before)) = &mut self.rest else {
                if !blocked && !unread {
                    return Poll::Pending;
                }
                let alarm = sleep_until(Instant::now() + limit());
                self.rest = Some((Box::pin(alarm), writes));
                continue;
            };
            ready!(alarm.as_mut().poll(cx));
            let moved = *before != writes;
            self.rest = None;
            if blocked && !moved {
                tracing::debug!("closing connection: the peer does not read");
                self.calls.close_unread();
                return Poll::Ready(Stuck::Close);
            }
            if unread && self.calls.next_interval() {
                tracing::debug!("sending GOAWAY: the peer does not read a finished response");
                self.retired = true;
                return Poll::Ready(Stuck::Retire);
            }
        }
    }

    /// Ready when the HTTP/1.1 call is to be cut off.
    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let slot = self.slot.lock();
        let (alarm, seen) = &mut self.call;
        let running = |clock: &&Arc<CallClock>| alarm.is_set() || clock.is_running();
        let Some(clock) = slot.as_ref().filter(running) else {
            return Poll::Pending;
        };
        // Its bytes are copied into one buffer, so only the socket shows whether they are written.
        let writes = self.writing.writes.load(Ordering::Relaxed);
        if std::mem::replace(seen, writes) != writes {
            clock.moves();
        }
        alarm.poll(clock, cx)
    }
}
