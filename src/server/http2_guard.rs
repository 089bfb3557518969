//! Wraps a connection and enforces limits that the HTTP library does not: incomplete headers,
//! excessive pings, and floods of frames without payload.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::memory::{Claim, Share};
use crate::telemetry::Telemetry;
use crate::turns::give_way;

use super::frame_budget::FrameBudget;
use super::header_fields::HeaderFields;
use super::http2_frames::{self, Frames, Head, Piece};
use super::socket::Stream;

/// HTTP/2's error code for a peer that causes excessive load.
const ENHANCE_YOUR_CALM: u32 = 11;

/// How many early pings are tolerated before GOAWAY, as in other gRPC servers.
const MAX_EARLY_PINGS: u32 = 2;

/// How long a peer may take to receive GOAWAY before the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many bytes are still read after GOAWAY: closing with unread bytes would reset the connection
/// and discard the frame. More than can be in transit.
const MAX_FAREWELL_BYTES: usize = 4 << 20;

/// How many bytes of headers are read before the calls that they begin are processed. Headers take
/// up to a hundred times their size once decoded, and a rejected call releases that.
const MAX_HEADS_AT_ONCE: usize = 16 * 1024;

/// The memory of incomplete headers, per byte: HPACK encodes a repeated field in one byte.
const DECODED_BYTE: usize = 128;

/// The maximum memory of incomplete headers: the HTTP library rejects larger ones.
const MAX_UNFINISHED_HEAD: usize = 3 << 20;

/// The reasons for closing a connection.
const HEADER_TIMEOUT: &str = "header_timeout";
const TOO_MANY_PINGS: &str = "too_many_pings";
const TOO_MANY_CONTROL_FRAMES: &str = "too_many_control_frames";
const TOO_MANY_HEADER_FIELDS: &str = "too_many_header_fields";
const MEMORY_LIMIT: &str = "memory_limit";

/// A guarded connection.
pub struct Guard {
    stream: Box<dyn Stream>,
    inbound: Frames,
    outbound: Frames,
    greeted: Arc<AtomicBool>,
    /// The highest stream id received.
    last_stream: u32,
    pings: Pings,
    budget: FrameBudget,
    fields: HeaderFields,
    /// Bytes of headers read since the last yield.
    heads: usize,
    /// Bytes of incomplete headers, and the memory charged for them.
    unfinished_head: usize,
    memory: Share,
    telemetry: Arc<Telemetry>,
    header_timeout: Duration,
    /// The incomplete element, and the timer by which it must end.
    unfinished: Option<(u64, Pin<Box<Sleep>>)>,
    farewell: Option<Farewell>,
    has_written: bool,
}

impl Guard {
    /// Guards a connection. The flag is set when the protocol is known; the memory share is charged
    /// for incomplete headers; the last is the metadata limit of a call.
    pub fn new(
        stream: Box<dyn Stream>,
        greeted: Arc<AtomicBool>,
        telemetry: Arc<Telemetry>,
        memory: Share,
        (header_timeout, min_ping_interval): (Duration, Duration),
        max_metadata: usize,
    ) -> Self {
        Self {
            stream,
            inbound: Frames::inbound(),
            outbound: Frames::outbound(),
            greeted,
            last_stream: 0,
            pings: Pings {
                min_interval: min_ping_interval,
                last: None,
                early: 0,
            },
            budget: FrameBudget::start(),
            fields: HeaderFields::new(max_metadata),
            heads: 0,
            unfinished_head: 0,
            memory,
            telemetry,
            header_timeout,
            unfinished: None,
            farewell: None,
            has_written: false,
        }
    }

    /// Checks received bytes. Returns the reason to close the connection, if there is one.
    fn inspect(&mut self, bytes: &[u8]) -> Option<&'static str> {
        let (pings, last_stream) = (&mut self.pings, &mut self.last_stream);
        let (budget, heads) = (&mut self.budget, &mut self.heads);
        let (fields, unfinished_head) = (&mut self.fields, &mut self.unfinished_head);
        let mut excess = None;
        self.inbound.follow_pieces(bytes, |piece| {
            let head = match piece {
                Piece::Head(head) => head,
                Piece::Payload(head, before, bytes) => {
                    if !fields.follow(head, before, bytes) {
                        excess = excess.or(Some(TOO_MANY_HEADER_FIELDS));
                    }
                    return;
                }
            };
            let Head { kind, flags, .. } = head;
            if kind == http2_frames::PING
                && flags & http2_frames::ACK == 0
                && !pings.allow(Instant::now())
            {
                excess = excess.or(Some(TOO_MANY_PINGS));
            }
            if kind == http2_frames::HEADERS {
                *last_stream = (*last_stream).max(head.stream);
            }
            if [http2_frames::HEADERS, http2_frames::CONTINUATION].contains(&kind) {
                *heads += head.length;
                *unfinished_head = match flags & http2_frames::END_HEADERS {
                    0 => unfinished_head.saturating_add(head.length),
                    _ => 0,
                };
            }
            if !budget.received(head) {
                excess = excess.or(Some(TOO_MANY_CONTROL_FRAMES));
            }
        });
        let head = self.unfinished_head.saturating_mul(DECODED_BYTE);
        let head = head.min(MAX_UNFINISHED_HEAD);
        // Most headers end in the piece in which they begin.
        if self.memory.fit(head, Claim::New).is_err() {
            excess = excess.or(Some(MEMORY_LIMIT));
        }
        if self.inbound.is_greeted() {
            self.greeted.store(true, Ordering::Relaxed);
        }
        self.unfinished = match (self.inbound.unfinished(), self.unfinished.take()) {
            (Some(now), Some((before, alarm))) if now == before => Some((before, alarm)),
            (Some(now), _) => {
                let alarm = tokio::time::sleep(self.header_timeout);
                Some((now, Box::pin(alarm)))
            }
            (None, _) => None,
        };
        excess
    }

    /// Parses written bytes.
    fn follow(&mut self, slices: &[io::IoSlice<'_>], mut written: usize) {
        if !self.inbound.is_http2() {
            return;
        }
        let (pings, budget) = (&mut self.pings, &mut self.budget);
        for slice in slices {
            let part = slice.get(..written.min(slice.len())).unwrap_or_default();
            written -= part.len();
            self.outbound.follow(part, |head| {
                budget.sent(head);
                if [http2_frames::DATA, http2_frames::HEADERS].contains(&head.kind) {
                    pings.forgive();
                }
            });
        }
    }

    /// Starts closing the connection with GOAWAY.
    fn dismiss(&mut self, why: &'static str) {
        tracing::debug!("sending GOAWAY: {why}");
        self.telemetry.metrics.closed(why);
        // In the middle of another frame it would be invalid.
        let said = match self.outbound.is_between() {
            true => http2_frames::goaway(self.last_stream, ENHANCE_YOUR_CALM, why),
            false => Vec::new(),
        };
        self.farewell = Some(Farewell {
            said,
            told: 0,
            shut: false,
            heard: 0,
            alarm: Box::pin(tokio::time::sleep(FAREWELL)),
        });
    }

    /// Continues closing, if started; ready when done.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Error>> {
        let farewell = self.farewell.as_mut()?;
        Some(farewell.poll(&mut *self.stream, cx))
    }
}

/// The GOAWAY that closes a connection.
struct Farewell {
    said: Vec<u8>,
    told: usize,
    shut: bool,
    heard: usize,
    alarm: Pin<Box<Sleep>>,
}

impl Farewell {
    fn poll(&mut self, mut stream: &mut dyn Stream, cx: &mut Context<'_>) -> Poll<io::Error> {
        let done = || {
            io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "connection closed after GOAWAY",
            )
        };
        if self.alarm.as_mut().poll(cx).is_ready() {
            return Poll::Ready(done());
        }
        while let Some(rest) = self.said.get(self.told..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut stream).poll_write(cx, rest)) {
                Ok(written) if written > 0 => self.told += written,
                Ok(_) | Err(_) => return Poll::Ready(done()),
            }
        }
        if !self.shut {
            let flushed = ready!(Pin::new(&mut stream).poll_flush(cx));
            if flushed.is_err() || ready!(Pin::new(&mut stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(done());
            }
            self.shut = true;
        }
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut stream).poll_read(cx, &mut buffer));
            let count = buffer.filled().len();
            self.heard += count;
            if read.is_err() || count == 0 || self.heard > MAX_FAREWELL_BYTES {
                return Poll::Ready(done());
            }
        }
    }
}

/// The pings of a peer.
struct Pings {
    min_interval: Duration,
    last: Option<Instant>,
    early: u32,
}

impl Pings {
    /// Counts a ping. Returns whether the rate is acceptable.
    fn allow(&mut self, now: Instant) -> bool {
        let early = self
            .last
            .is_some_and(|last| now.duration_since(last) < self.min_interval);
        self.early += u32::from(early);
        self.last = Some(now);
        self.early <= MAX_EARLY_PINGS
    }

    /// Resets the count: a peer that receives data may ping, because libraries measure round trips
    /// that way.
    fn forgive(&mut self) {
        self.early = 0;
        self.last = None;
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(farewell) = this.poll_farewell(cx) {
            return farewell.map(Err);
        }
        if this.heads > MAX_HEADS_AT_ONCE {
            this.heads = 0;
            return give_way(cx);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                let came = buffer.filled().get(before..).unwrap_or_default();
                match this.inspect(came) {
                    None => return Poll::Ready(Ok(())),
                    Some(why) => this.dismiss(why),
                }
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // A timeout counts only after the bytes at hand were read.
            Poll::Pending => {
                this.heads = 0;
                match &mut this.unfinished {
                    Some((_, alarm)) => {
                        ready!(alarm.as_mut().poll(cx));
                        this.dismiss(HEADER_TIMEOUT);
                    }
                    None => return Poll::Pending,
                }
            }
        }
        buffer.set_filled(before);
        match this.poll_farewell(cx) {
            Some(farewell) => farewell.map(Err),
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(farewell) = self.poll_farewell(cx) {
            return farewell.map(Err);
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.has_written = true;
        self.follow(slices, written);
        Poll::Ready(Ok(written))
    }

    /// False until the first write, although vectored writes are possible: the HTTP/2 library asks
    /// when it begins, and then gathers frames below a kilobyte and sends them in one write.
    /// Otherwise it sends each that is above 256 bytes separately, and a write costs more than the
    /// copy. Larger frames have their first kilobyte in that buffer; it asks again at each write,
    /// and sends both parts in one.
    fn is_write_vectored(&self) -> bool {
        self.has_written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_farewell(cx) {
            Some(farewell) => farewell.map(Err),
            None => Pin::new(&mut self.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_early_pings_are_too_many_and_an_answer_forgives() {
        let mut pings = Pings {
            min_interval: Duration::from_secs(5),
            last: None,
            early: 0,
        };
        let start = Instant::now();
        let mut at = |seconds| pings.allow(start + Duration::from_secs(seconds));
        assert!([0, 5, 10, 20, 21, 22].map(&mut at).iter().all(|calm| *calm));
        assert!(!at(23));
        pings.forgive();
        assert!(pings.allow(start + Duration::from_secs(24)));
    }
}
