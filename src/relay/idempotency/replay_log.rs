//! The events of one idempotent call, written once and read by every call with its request id.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;

use crate::chat::event::Event;
use crate::chat::usage::Usage;
use crate::error::{Error, Reason};
use crate::memory::{Claim, Share};
use crate::relay::attempt::Attempts;
use crate::turns::give_way;

use super::eviction::HeldBytes;
use super::refusals::no_such_events;

/// The maximum bytes of an answer that is kept whole. A longer one still reaches its first reader,
/// incrementally, but a second call with its request id is rejected instead of being billed again.
const LONGEST_KEPT: usize = 8 * 1024 * 1024;

/// How many events and bytes of a log are read before yielding to other tasks. A kept answer is
/// available immediately, and encoding all of it would take a thread tens of milliseconds; this
/// takes less than a tenth of one.
const BURST_EVENTS: usize = 64;
const BURST_BYTES: usize = 64 * 1024;

/// The memory of a log beside its events: its table entry, its key, its channel.
const LOG_BYTES: usize = 1024;

/// Held by every reader of a running call. When the last one is dropped, the call ends.
pub(in crate::relay) type Interest = Arc<dyn Send + Sync>;

/// The answer of a call so far.
pub(in crate::relay) struct ReplayLog {
    written: Mutex<Written>,
    length: watch::Sender<usize>,
    attempts: Attempts,
    /// Whether the first events were dropped: the answer was too long to keep.
    cut: AtomicBool,
    /// Whether its events are those of another replica.
    replayed: AtomicBool,
    /// Whether a reader that wants later events than these asks for events that do not exist.
    complete_so_far: AtomicBool,
    usage: OnceLock<UsageSoFar>,
    /// How long the call goes on without a reader, in milliseconds.
    grace: AtomicU64,
}

struct Written {
    events: VecDeque<Event>,
    /// How many events were dropped before the first one here.
    cut: usize,
    bytes: usize,
    /// The maximum bytes that may wait for the reader of a truncated log.
    most: usize,
    end: Option<Result<(), Error>>,
    /// When the latest reader left.
    left: Instant,
    memory: Share,
    /// The bytes of all logs of the caller.
    held: HeldBytes,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.held.fetch_sub(self.memory.bytes(), Ordering::Relaxed);
    }
}

impl ReplayLog {
    /// An empty log, whose events are charged to this share and counted for its caller.
    pub(in crate::relay) fn new(memory: Share, held: HeldBytes) -> Self {
        let written = Written {
            events: VecDeque::new(),
            cut: 0,
            bytes: LOG_BYTES,
            most: LONGEST_KEPT,
            end: None,
            left: Instant::now(),
            memory,
            held,
        };
        Self {
            written: Mutex::new(written),
            length: watch::Sender::new(0),
            attempts: Attempts::default(),
            cut: AtomicBool::new(false),
            replayed: AtomicBool::new(false),
            complete_so_far: AtomicBool::new(false),
            usage: OnceLock::new(),
            grace: AtomicU64::new(0),
        }
    }

    /// The number of requests sent to DashScope.
    pub(in crate::relay) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Sets the source of the usage so far of the call that writes this log.
    pub(in crate::relay) fn counted_by(&self, usage: UsageSoFar) {
        // There is one writer, which sets this before it writes.
        let _ = self.usage.set(usage);
    }

    /// Whether the call runs at this replica.
    pub(in crate::relay) fn is_written_here(&self) -> bool {
        self.usage.get().is_some()
    }

    /// The usage reported so far, or by the end of the call that writes it.
    fn usage_so_far(&self) -> Option<Arc<Usage>> {
        let written = self.lock();
        match (&written.end, written.events.back()) {
            (Some(Err(error)), _) => return error.usage().cloned(),
            (_, Some(Event::End(end))) => return end.usage.clone(),
            (Some(Ok(())) | None, _) => {}
        }
        drop(written);
        self.usage.get().and_then(|usage| usage())
    }

    /// The bytes charged for it.
    pub(in crate::relay) fn charged(&self) -> usize {
        self.lock().memory.bytes()
    }

    /// Whether it is too long to be read from its start.
    pub(in crate::relay) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Records that its events are those of another replica.
    pub(in crate::relay) fn replayed(&self) {
        self.replayed.store(true, Ordering::Release);
    }

    /// Whether its events are those of another replica.
    pub(in crate::relay) fn is_replayed(&self) -> bool {
        self.replayed.load(Ordering::Acquire)
    }

    /// Records that it has all events that another replica has written a while ago.
    pub(in crate::relay) fn caught_up(&self) {
        if !self.complete_so_far.swap(true, Ordering::AcqRel) {
            self.length.send_modify(|_| ());
        }
    }

    /// Whether a call here reads it, or waits for it.
    pub(in crate::relay) fn is_read(&self) -> bool {
        self.length.receiver_count() > 0
    }

    /// Waits until no call here reads it.
    pub(in crate::relay) async fn left(&self) {
        self.length.closed().await;
    }

    /// How long ago the latest reader left.
    pub(in crate::relay) fn left_for(&self) -> Duration {
        self.lock().left.elapsed()
    }

    /// How long the call goes on without a reader.
    pub(in crate::relay) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace.load(Ordering::Acquire))
    }

    /// Sets how long the call goes on without a reader, unless it is longer already.
    pub(in crate::relay) fn extend_grace(&self, grace: Duration) {
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.grace.fetch_max(grace, Ordering::AcqRel);
    }

    /// Whether the call has ended.
    pub(in crate::relay) fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. An answer that has grown too long, or for which there is no memory even after
    /// `make_room`, is passed on instead of kept: then this waits until the reader has caught up.
    pub(in crate::relay) async fn write(&self, event: Event, make_room: impl Fn(usize)) {
        let weight = event.weight();
        if !self.is_cut() && !self.fits(weight) {
            make_room(weight);
            if !self.fits(weight) {
                let mut written = self.lock();
                written.most = written.bytes;
                drop(written);
                self.cut.store(true, Ordering::Release);
            }
        }
        let length = {
            let mut written = self.lock();
            written.bytes += weight;
            written.events.push_back(event);
            written.cut + written.events.len()
        };
        self.length.send_replace(length);
        while self.is_cut() && self.has_backlog() {
            // Readers that take an event from a truncated log free its bytes; reporting that would
            // need a second channel, and this is the rare case of an answer above eight megabytes.
            tokio::time::sleep(CATCH_UP).await;
        }
    }

    /// Charges this many more bytes, if they may be kept.
    fn fits(&self, weight: usize) -> bool {
        let mut written = self.lock();
        let bytes = written.bytes + weight;
        let before = written.memory.bytes();
        if bytes > LONGEST_KEPT || written.memory.hold(bytes, Claim::Running).is_err() {
            return false;
        }
        let more = written.memory.bytes() - before;
        written.held.fetch_add(more, Ordering::Relaxed);
        true
    }

    fn has_backlog(&self) -> bool {
        let written = self.lock();
        written.bytes > written.most
    }

    /// Ends the call.
    pub(in crate::relay) fn end(&self, end: Result<(), Error>) {
        self.lock().end = Some(end);
        self.length.send_modify(|_| ());
    }
}

/// How often a writer checks whether its reader has caught up.
const CATCH_UP: Duration = Duration::from_millis(5);

/// Returns the usage reported so far of a running call.
pub(in crate::relay) type UsageSoFar = Box<dyn Fn() -> Option<Arc<Usage>> + Send + Sync>;

/// Reads a log from its start.
pub(in crate::relay) struct ReplayReader {
    log: Arc<ReplayLog>,
    next: usize,
    /// The number of events that it does not read.
    begins_at: usize,
    changes: WatchStream<usize>,
    /// The events and bytes read since the last yield.
    burst: (usize, usize),
    twin: bool,
    _interest: Option<Interest>,
}

impl ReplayReader {
    /// A reader of this log. It is a twin if another call came first.
    pub(in crate::relay) fn new(
        log: Arc<ReplayLog>,
        interest: Option<Interest>,
        twin: bool,
    ) -> Self {
        let changes = WatchStream::from_changes(log.length.subscribe());
        Self {
            log,
            next: 0,
            begins_at: 0,
            changes,
            burst: (0, 0),
            twin,
            _interest: interest,
        }
    }

    /// The number of requests sent to DashScope.
    pub(in crate::relay) fn attempts(&self) -> Attempts {
        Arc::clone(&self.log.attempts)
    }

    /// The usage reported so far.
    pub(in crate::relay) fn usage_so_far(&self) -> Option<Arc<Usage>> {
        self.log.usage_so_far()
    }

    /// Whether another call with the same request id came first.
    pub(in crate::relay) fn is_twin(&self) -> bool {
        self.twin || self.log.is_replayed()
    }

    /// Whether this reader may leave for a while, and resume.
    pub(in crate::relay) fn may_return(&self) -> bool {
        !self.log.grace().is_zero() || self.log.has_ended()
    }

    /// Reads only the events after this many.
    pub(in crate::relay) fn from(mut self, after: usize) -> Self {
        self.next = after;
        self.begins_at = after;
        self
    }

    /// The error of a reader that wants events after the last one.
    fn gap(&self, written: &Written) -> Option<Error> {
        let length = written.cut + written.events.len();
        let resumed = self.begins_at > 0 && self.next == self.begins_at;
        let over = match &written.end {
            Some(Err(_)) => false,
            Some(Ok(())) => self.next >= length,
            None => self.next > length && self.log.complete_so_far.load(Ordering::Acquire),
        };
        (resumed && over).then(|| no_such_events(length))
    }

    fn next_item(&mut self) -> Option<Result<Event, Error>> {
        let mut written = self.log.lock();
        // The first reader of a truncated log removes what it has read.
        while self.log.is_cut() && self.begins_at == 0 && written.cut < self.next {
            let Some(event) = written.events.pop_front() else {
                break;
            };
            written.cut += 1;
            written.bytes = written.bytes.saturating_sub(event.weight());
        }
        let Some(at) = self.next.checked_sub(written.cut) else {
            if self.begins_at > 0 {
                let message = "after_sequence: the answer is too long to be kept";
                return Some(Err(Error::new(Reason::ResumeGap, message)));
            }
            let message = "the answer is too long to be shared with another call of the same \
                           request_id";
            return Some(Err(Error::new(Reason::CallInProgress, message)));
        };
        if let Some(event) = written.events.get(at) {
            self.next += 1;
            return Some(Ok(event.clone()));
        }
        if let Some(error) = self.gap(&written) {
            return Some(Err(error));
        }
        match &written.end {
            Some(Err(error)) => Some(Err(error.clone())),
            Some(Ok(())) | None => None,
        }
    }
}

impl Drop for ReplayReader {
    fn drop(&mut self) {
        self.log.lock().left = Instant::now();
    }
}

impl Stream for ReplayReader {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (events, bytes) = self.burst;
        if events >= BURST_EVENTS || bytes >= BURST_BYTES {
            self.burst = (0, 0);
            return give_way(cx);
        }
        loop {
            if let Some(item) = self.next_item() {
                let weight = item.as_ref().map_or(0, Event::weight);
                self.burst = (events + 1, bytes.saturating_add(weight));
                return Poll::Ready(Some(item));
            }
            let changed = Pin::new(&mut self.changes).poll_next(cx);
            if changed.is_pending() {
                self.burst = (0, 0);
            }
            // The sender is owned by the log, so this ends only with the reader.
            if std::task::ready!(changed).is_none() {
                return Poll::Ready(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::event::{Delta, Piece};
    use crate::memory::{Kind, MemoryLedger};

    fn text(text: String) -> Event {
        Event::Delta(Delta {
            choice: 0,
            starts_part: false,
            piece: Piece::Text(text),
        })
    }

    /// How many events each poll of a reader's task takes of a complete log.
    async fn turns(events: usize, bytes: usize) -> Vec<usize> {
        let log = Arc::new(ReplayLog::new(
            MemoryLedger::default().share(Kind::Kept),
            Arc::default(),
        ));
        for _ in 0..events {
            log.write(text("x".repeat(bytes)), |_| {}).await;
        }
        let mut reader = ReplayReader::new(log, None, true);
        let mut left = events;
        let mut turns = Vec::new();
        std::future::poll_fn(|cx| {
            let mut taken = 0;
            while left > taken && Pin::new(&mut reader).poll_next(cx).is_ready() {
                taken += 1;
            }
            left -= taken;
            turns.push(taken);
            match left {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        turns
    }

    #[tokio::test]
    async fn a_kept_answer_is_read_a_little_at_a_time() {
        let small = turns(1000, 1).await;
        assert!(
            small.iter().all(|taken| *taken <= BURST_EVENTS),
            "{small:?}"
        );
        assert_eq!(small.iter().sum::<usize>(), 1000);
        let large = turns(20, BURST_BYTES / 2).await;
        assert!(large.iter().all(|taken| *taken <= 2), "{large:?}");
    }
}
