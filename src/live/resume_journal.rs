//! The events of a session for its caller: those that are not read, and those that a stream which
//! resumes may need again.
//!
//! An event gets its sequence number when it is read for the first time. So what is withdrawn
//! before leaves no gap: the unread audio of a response that was cancelled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{Error, Reason};
use crate::memory::CallMemory;

use super::event::LiveEvent;
use super::unread::Unread;

/// The maximum number of events that are added while the journal is full: answers to the caller's
/// own messages. Beyond it no message of the caller is taken.
const MAX_OVERFLOW: usize = 64;

/// The bytes of events that are kept of a session which has ended: what the transport and the
/// sockets may have held when a stream broke.
const KEPT_AT_END: usize = 256 * 1024;

/// The limits of a journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct JournalLimits {
    /// The bytes of unread events beyond which DashScope is not read.
    pub(super) unread_bytes: usize,
    /// The bytes of events that were read and are kept.
    pub(super) kept_bytes: usize,
    /// How long events that were read are kept.
    pub(super) kept_for: Duration,
}

/// A journal, shared by the session and the streams that read it.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Notified when a stream reads, comes or goes.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limits: JournalLimits,
    unread: Unread,
    /// The number of events that were added while it was full.
    overflow: usize,
    /// Events that were read, in order.
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// The number of the last event that was read.
    last_sequence: i32,
    /// The number of the last event that the current stream has read.
    position: i32,
    /// The stream that reads, by its number; none while the caller is away.
    reader: Option<u64>,
    readers: u64,
    /// Since when there is no stream.
    away_since: Option<Instant>,
    /// When a stream last read, came, or had nothing to read.
    moved: Instant,
    /// Whether the session waits for the stream to read.
    is_awaited: bool,
    end: Option<Result<(), Error>>,
    waker: Option<Waker>,
    memory: CallMemory,
}

#[derive(Debug)]
struct Kept {
    sequence: i32,
    event: LiveEvent,
    bytes: usize,
    read_at: Instant,
}

/// How far the stream of a journal is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Whether so much is unread that DashScope is not to be read.
    pub(super) is_full: bool,
    /// Whether messages of the caller may be taken, each of which may add an event.
    pub(super) takes_more: bool,
    /// Since when the stream has read nothing although something is unread.
    pub(super) unread_since: Option<Instant>,
    /// Since when there is no stream.
    pub(super) away_since: Option<Instant>,
}

/// What a stream reads.
pub(super) enum Read {
    /// An event with its number.
    Event(i32, LiveEvent),
    /// The session has ended, and all events were read.
    End(Result<(), Error>),
}

impl Journal {
    /// An empty journal, whose bytes are charged to this call.
    pub(super) fn new(limits: JournalLimits, memory: CallMemory) -> Self {
        let state = State {
            limits,
            unread: Unread::default(),
            overflow: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            last_sequence: 0,
            position: 0,
            reader: None,
            readers: 0,
            away_since: Some(Instant::now()),
            moved: Instant::now(),
            is_awaited: false,
            end: None,
            waker: None,
            memory,
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                changed: Notify::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. Fails if memory is used up.
    pub(super) fn push(&self, event: LiveEvent) -> Result<(), Error> {
        let mut state = self.lock();
        if state.unread.is_empty() {
            state.moved = Instant::now();
        }
        if state.is_full() {
            state.overflow += 1;
        }
        state.unread.push(event);
        let charged = state.charge();
        state.wake();
        charged
    }

    /// Withdraws what is unread of a response, except its start.
    pub(super) fn withdraw(&self, response: &str) {
        let mut state = self.lock();
        state.unread.withdraw(response);
        state.check_overflow();
        // Less memory than before.
        let _ = state.charge();
    }

    /// The next turn was stored with this number: the end of its response can be read.
    pub(super) fn stored(&self, number: i64) {
        let mut state = self.lock();
        state.unread.stored(number);
        state.moved = Instant::now();
        state.wake();
    }

    /// Ends the session for its streams. Only the first end counts. What waits for a turn that is
    /// not stored is not reported.
    pub(super) fn end(&self, outcome: Result<(), Error>) {
        let mut state = self.lock();
        state.unread.drop_held();
        state.end.get_or_insert(outcome);
        let bytes = state.limits.kept_bytes.min(KEPT_AT_END);
        state.limits.kept_bytes = bytes;
        state.forget_old(Instant::now());
        let _ = state.charge();
        state.wake();
    }

    /// How far its stream is. While the journal is full, [`Journal::changed`] completes when the
    /// stream reads.
    pub(super) fn reading(&self) -> Reading {
        let mut state = self.lock();
        state.is_awaited = state.is_full();
        let waits = state.unread.is_readable() && state.reader.is_some();
        Reading {
            is_full: state.is_awaited,
            takes_more: state.overflow < MAX_OVERFLOW,
            unread_since: waits.then_some(state.moved),
            away_since: state.away_since,
        }
    }

    /// Whether this stream is the one that reads.
    pub(super) fn is_read_by(&self, reader: u64) -> bool {
        self.lock().reader == Some(reader)
    }

    /// Completes when a stream comes or goes, or reads while that is awaited.
    pub(super) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// Begins a stream after this event, in place of the one before it, if there is one.
    pub(super) fn attach(&self, last_sequence: i32) -> Result<u64, Error> {
        let mut state = self.lock();
        let now = Instant::now();
        state.forget_old(now);
        let oldest = state
            .kept
            .front()
            .map_or(state.last_sequence, |kept| kept.sequence.saturating_sub(1));
        if last_sequence < oldest || last_sequence > state.last_sequence {
            let last = state.last_sequence;
            let message = format!(
                "cannot resume after event {last_sequence}: the events after {oldest} up to \
                 {last} are kept"
            );
            return Err(Error::new(Reason::ResumeGap, message));
        }
        state.readers += 1;
        let number = state.readers;
        state.reader = Some(number);
        state.position = last_sequence;
        state.away_since = None;
        state.moved = now;
        state.wake();
        drop(state);
        self.inner.changed.notify_one();
        Ok(number)
    }

    /// Ends this stream, unless another one has taken its place.
    pub(super) fn detach(&self, reader: u64) {
        let mut state = self.lock();
        if state.reader == Some(reader) {
            state.reader = None;
            state.away_since = Some(Instant::now());
            drop(state);
            self.inner.changed.notify_one();
        }
    }

    /// Forgets events up to this number: the caller has them.
    pub(super) fn acknowledge(&self, sequence: i32) {
        let mut state = self.lock();
        let sequence = sequence.min(state.position);
        while state
            .kept
            .front()
            .is_some_and(|kept| kept.sequence <= sequence)
        {
            state.forget_first();
        }
        let _ = state.charge();
    }

    /// The next event for this stream.
    pub(super) fn poll_read(&self, reader: u64, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = self.lock();
        if state.reader != Some(reader) {
            let message = "the live session was resumed by another stream";
            let taken = Error::new(Reason::SessionTakenOver, message);
            return Poll::Ready(Read::End(Err(taken)));
        }
        let read = state.read();
        match read {
            Some(read) => {
                let is_awaited = state.is_awaited;
                drop(state);
                if is_awaited {
                    self.inner.changed.notify_one();
                }
                Poll::Ready(read)
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_full(&self) -> bool {
        self.unread.bytes() > self.limits.unread_bytes
    }

    fn charge(&mut self) -> Result<(), Error> {
        self.memory.answer(self.unread.bytes() + self.kept_bytes)
    }

    fn read(&mut self) -> Option<Read> {
        let now = Instant::now();
        self.moved = now;
        if self.position < self.last_sequence {
            // The numbers of kept events have no gaps.
            let first = self.kept.front().map_or(0, |kept| kept.sequence);
            let index = usize::try_from(self.position + 1 - first).unwrap_or_default();
            if let Some(kept) = self.kept.get_mut(index) {
                let read = Read::Event(kept.sequence, kept.event.clone());
                // It may be lost again.
                kept.read_at = now;
                self.position = kept.sequence;
                self.forget_old(now);
                let _ = self.charge();
                return Some(read);
            }
            self.position = self.last_sequence;
        }
        let Some((event, bytes)) = self.unread.pop() else {
            return self.end.clone().map(Read::End);
        };
        self.check_overflow();
        // No session has this many events.
        self.last_sequence = self.last_sequence.saturating_add(1);
        self.position = self.last_sequence;
        if self.limits.kept_bytes > 0 {
            self.kept_bytes += bytes;
            self.kept.push_back(Kept {
                sequence: self.last_sequence,
                event: event.clone(),
                bytes,
                read_at: now,
            });
            self.forget_old(now);
        }
        let _ = self.charge();
        Some(Read::Event(self.last_sequence, event))
    }

    fn check_overflow(&mut self) {
        if !self.is_full() {
            self.overflow = 0;
        }
    }

    fn forget_old(&mut self, now: Instant) {
        // While the caller is away, what it may have missed does not get older.
        let now = self.away_since.unwrap_or(now);
        // What the stream has yet to read is kept for it.
        let read = self.reader.map_or(i32::MAX, |_| self.position);
        while let Some(first) = self.kept.front().filter(|first| first.sequence <= read) {
            let is_old = now.saturating_duration_since(first.read_at) > self.limits.kept_for;
            if !is_old && self.kept_bytes <= self.limits.kept_bytes {
                break;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.kept.pop_front() {
            self.kept_bytes -= first.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use crate::chat::call::Caller;
    use crate::memory::{Kind, MemoryLedger};

    use super::super::event::{ResponseCompleted, ResponseTurn};
    use super::*;

    /// A journal that keeps this many events, for a minute.
    fn journal(kept: usize) -> Journal {
        let ledger = MemoryLedger::new(1 << 30);
        let share = ledger.admit(Kind::Requests, Caller(1)).unwrap();
        let limits = JournalLimits {
            unread_bytes: 5 * event(0).weight(),
            kept_bytes: kept * event(0).weight(),
            kept_for: Duration::from_secs(60),
        };
        Journal::new(limits, CallMemory::new(share))
    }

    fn event(number: usize) -> LiveEvent {
        LiveEvent::Committed {
            item_id: number.to_string(),
        }
    }

    fn filled(kept: usize, events: usize) -> Journal {
        let journal = journal(kept);
        for number in 1..=events {
            journal.push(event(number)).unwrap();
        }
        journal
    }

    /// The sequence number of each event, and the item that it names.
    type Numbered = Vec<(i32, String)>;

    /// The events that are there to be read, and the end if it is.
    fn read(journal: &Journal, reader: u64) -> (Numbered, Option<Result<(), Error>>) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        loop {
            match journal.poll_read(reader, &mut cx) {
                Poll::Ready(Read::Event(sequence, LiveEvent::Committed { item_id })) => {
                    events.push((sequence, item_id));
                }
                Poll::Ready(Read::Event(_, other)) => panic!("{other:?}"),
                Poll::Ready(Read::End(end)) => return (events, Some(end)),
                Poll::Pending => return (events, None),
            }
        }
    }

    fn numbered(range: std::ops::RangeInclusive<i32>) -> Numbered {
        range.map(|number| (number, number.to_string())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_resumed_stream_reads_on_after_any_event_that_is_kept() {
        for last in 0..=5 {
            let journal = filled(10, 5);
            let first = journal.attach(0).unwrap();
            assert_eq!(read(&journal, first).0, numbered(1..=5));
            journal.detach(first);
            journal.push(event(6)).unwrap();
            let second = journal.attach(last).unwrap();
            assert_eq!(read(&journal, second).0, numbered(last + 1..=6));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_session_drops_no_event_of_a_slow_reader() {
        let events = 2 + KEPT_AT_END / event(0).weight();
        let journal = filled(2 * events, events);
        let first = journal.attach(0).unwrap();
        read(&journal, first);
        journal.detach(first);
        let second = journal.attach(1).unwrap();
        journal.end(Ok(()));
        let (missed, end) = read(&journal, second);
        let last = i32::try_from(events).unwrap();
        assert_eq!(missed, numbered(2..=last));
        assert!(matches!(end, Some(Ok(()))));
        // What it has read is kept up to the limit of a session that has ended.
        assert!(journal.lock().kept_bytes <= KEPT_AT_END);
    }

    #[tokio::test(start_paused = true)]
    async fn events_beyond_the_limits_are_a_gap_with_what_is_kept() {
        let journal = filled(3, 5);
        let first = journal.attach(0).unwrap();
        read(&journal, first);
        let gap = journal.attach(1).unwrap_err();
        assert_eq!(gap.reason(), Reason::ResumeGap);
        assert!(gap.message().contains("after 2 up to 5"), "{gap}");
        let second = journal.attach(2).unwrap();
        assert_eq!(read(&journal, second).0, numbered(3..=5));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(journal.attach(2).unwrap_err().reason(), Reason::ResumeGap);
        journal.attach(5).unwrap();
        journal.attach(6).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_was_replaced_ends_as_taken_over() {
        let journal = filled(10, 1);
        let first = journal.attach(0).unwrap();
        let second = journal.attach(0).unwrap();
        let (events, end) = read(&journal, first);
        assert!(events.is_empty());
        assert_eq!(end.unwrap().unwrap_err().reason(), Reason::SessionTakenOver);
        // Its end does not end the other one.
        journal.detach(first);
        assert_eq!(journal.reading().away_since, None);
        assert_eq!(read(&journal, second).0, numbered(1..=1));
    }

    #[tokio::test(start_paused = true)]
    async fn acknowledged_events_are_forgotten_and_unread_ones_never() {
        let journal = filled(10, 3);
        let first = journal.attach(0).unwrap();
        journal.acknowledge(3);
        assert_eq!(read(&journal, first).0, numbered(1..=3));
        journal.acknowledge(2);
        assert_eq!(journal.attach(1).unwrap_err().reason(), Reason::ResumeGap);
        let second = journal.attach(2).unwrap();
        assert_eq!(read(&journal, second).0, numbered(3..=3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_was_read_again_can_be_lost_again() {
        let journal = filled(10, 3);
        let first = journal.attach(0).unwrap();
        read(&journal, first);
        tokio::time::advance(Duration::from_secs(50)).await;
        let second = journal.attach(1).unwrap();
        assert_eq!(read(&journal, second).0, numbered(2..=3));
        tokio::time::advance(Duration::from_secs(50)).await;
        let third = journal.attach(1).unwrap();
        assert_eq!(read(&journal, third).0, numbered(2..=3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_response_waits_for_its_turn_and_later_responses_wait_for_it() {
        let end = |turn| {
            LiveEvent::ResponseCompleted(Box::new(ResponseCompleted {
                turn,
                ..ResponseCompleted::default()
            }))
        };
        let start = || LiveEvent::ResponseStarted {
            response_id: "r".into(),
        };
        for is_stored in [true, false] {
            let journal = journal(10);
            let reader = journal.attach(0).unwrap();
            let all = [end(ResponseTurn::Unstored), start(), event(1)];
            let all = all.into_iter().chain([end(ResponseTurn::None)]);
            all.for_each(|event| journal.push(event).unwrap());
            // The sequence numbers are those of reading.
            assert_eq!(read(&journal, reader).0, numbered(1..=1));
            assert!(journal.reading().unread_since.is_none());
            if is_stored {
                journal.stored(7);
                assert!(journal.reading().unread_since.is_some());
            }
            journal.end(Ok(()));
            let mut cx = Context::from_waker(Waker::noop());
            let mut rest = Vec::new();
            while let Poll::Ready(Read::Event(_, event)) = journal.poll_read(reader, &mut cx) {
                rest.push(event);
            }
            let expected = if is_stored { 3 } else { 0 };
            assert_eq!(rest.len(), expected, "{rest:?}");
            if let Some(LiveEvent::ResponseCompleted(first)) = rest.first() {
                assert_eq!(first.turn, ResponseTurn::Stored(7));
            }
        }
    }
}
