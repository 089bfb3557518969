//! The body of a request, checked before it is decoded.
//!
//! tonic reserves the length that a message declares, and decodes whatever it contains. So a
//! message is passed to tonic only when it is complete, decompressed, and its elements were
//! counted. Until then only received bytes are held, and charged to the memory ledger.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use crate::error::Error;
use crate::memory::{self, CallMemory};
use crate::turns::give_way;

use super::body_limits::{Caller, Limits};
use super::body_timeout::stalled;
use super::scan::{Scan, malformed};
use super::status;
use super::unpack::{Encoding, PASSED_AT_ONCE, Unpacked, Unpacking};

/// The prefix of each message: a flag and four bytes of length.
const PREFIX: usize = 5;

/// Messages up to this length are not scanned: 64 empty elements of the heaviest type take no more
/// than the base charge of a call.
const UNSCANNED: usize = 128;

/// From this length on, tonic gets the prefix before the message, and reserves exactly its length.
const APART: usize = 1024;

/// Smaller pieces are copied together: each keeps the buffer alive that it was read into.
const COPIED: usize = 4 * 1024;

/// The body.
pub(super) struct RequestBody<B> {
    body: B,
    limits: Limits,
    encoding: Encoding,
    memory: CallMemory,
    caller: Caller,
    prefix: BytesMut,
    /// The remaining bytes of the message, once its prefix was received.
    left: Option<usize>,
    packed: bool,
    /// The received pieces of the message, in order.
    pieces: VecDeque<Bytes>,
    /// Small pieces, copied together; they follow the others.
    tail: BytesMut,
    received: usize,
    scan: Option<Scan>,
    /// The compressed message while it is decompressed, and the bytes after it.
    unpacking: Option<Box<Unpacking>>,
    rest: Bytes,
    /// The next bytes for tonic.
    ready: VecDeque<Bytes>,
    /// The bytes passed to tonic since the last yield.
    passed: usize,
    failed: Option<Status>,
    /// tonic rejects the message by its flag, so the rest is passed unchanged.
    refused: bool,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B> RequestBody<B> {
    /// Checks this body.
    pub(super) fn new(
        body: B,
        encoding: Encoding,
        limits: Limits,
        memory: CallMemory,
        caller: Caller,
    ) -> Self {
        Self {
            body,
            limits,
            encoding,
            memory,
            caller,
            prefix: BytesMut::new(),
            left: None,
            packed: false,
            pieces: VecDeque::new(),
            tail: BytesMut::new(),
            received: 0,
            scan: None,
            unpacking: None,
            rest: Bytes::new(),
            ready: VecDeque::new(),
            passed: 0,
            failed: None,
            refused: false,
            alarm: None,
        }
    }

    /// Whether a message is incomplete.
    fn is_amid(&self) -> bool {
        self.left.is_some() || !self.prefix.is_empty()
    }

    fn fail(&mut self, error: &Error) {
        self.memory.refuse(error);
        self.pieces = VecDeque::new();
        self.tail = BytesMut::new();
        self.caller.refuse(error);
        self.failed = Some(status::status(error, &self.caller.request_id, false));
    }

    fn scan(&self) -> Option<Scan> {
        let elements = self.limits.elements.as_ref()?;
        let schema = Arc::clone(&elements.schema);
        Some(Scan::new(schema, elements.message, elements.max_weight))
    }

    /// Handles the next bytes of the body.
    fn take(&mut self, mut data: Bytes) -> Result<(), Error> {
        if self.refused {
            self.ready.push_back(data);
            return Ok(());
        }
        if !self.is_amid() && self.is_whole(&data) {
            return self.pass_on(data);
        }
        loop {
            let left = match self.left {
                Some(left) => left,
                None => {
                    let missing = PREFIX - self.prefix.len();
                    let part = data.split_to(missing.min(data.len()));
                    self.prefix.extend_from_slice(&part);
                    if self.prefix.len() < PREFIX {
                        return Ok(());
                    }
                    match self.begin()? {
                        Some(length) => length,
                        None => return Ok(()),
                    }
                }
            };
            let piece = data.split_to(left.min(data.len()));
            if let (false, Some(scan)) = (self.packed, &mut self.scan) {
                scan.feed(&piece)?;
            }
            self.left = Some(left - piece.len());
            self.keep(piece)?;
            if self.left == Some(0) {
                self.end()?;
            }
            if data.is_empty() {
                return Ok(());
            }
            if self.unpacking.is_some() {
                self.rest = data;
                return Ok(());
            }
        }
    }

    /// Whether these bytes are one uncompressed message.
    fn is_whole(&self, data: &Bytes) -> bool {
        let length = match data.as_ref() {
            [0, a, b, c, d, rest @ ..] => {
                let claimed = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                (claimed == rest.len()).then_some(claimed)
            }
            _ => None,
        };
        length.is_some_and(|length| length <= self.limits.message_bytes)
    }

    /// Passes on a message that arrived in one piece, as most do.
    fn pass_on(&mut self, mut data: Bytes) -> Result<(), Error> {
        let length = data.len() - PREFIX;
        let mut weight = 0;
        if length > UNSCANNED
            && let Some(mut scan) = self.scan()
        {
            scan.feed(data.get(PREFIX..).unwrap_or_default())?;
            scan.finish()?;
            weight = scan.weight();
        }
        if length + weight > UNSCANNED {
            self.memory.decode(length, length, weight)?;
        }
        if length >= APART {
            self.ready.push_back(data.split_to(PREFIX));
        }
        self.ready.push_back(data);
        Ok(())
    }

    /// Begins a message and returns its length. `None` if tonic rejects it by its flag.
    fn begin(&mut self) -> Result<Option<usize>, Error> {
        let mut prefix = self.prefix.split();
        let flag = prefix.first().copied();
        let length = prefix.iter().skip(1);
        let length = length.fold(0, |length, byte| (length << 8) | usize::from(*byte));
        self.packed = flag == Some(1);
        let unknown = self.packed && self.encoding == Encoding::Identity;
        if flag > Some(1) || unknown {
            self.refused = true;
            self.ready.push_back(prefix.split().freeze());
            return Ok(None);
        }
        if length > self.limits.message_bytes {
            return Err(self.limits.too_large(Some(length)));
        }
        self.received = 0;
        self.left = Some(length);
        self.scan = match self.packed || length > UNSCANNED {
            true => self.scan(),
            false => None,
        };
        Ok(Some(length))
    }

    fn keep(&mut self, piece: Bytes) -> Result<(), Error> {
        self.received += piece.len();
        self.memory.receive(self.received)?;
        if piece.len() < COPIED {
            self.tail.extend_from_slice(&piece);
        } else {
            self.cut_tail();
            self.pieces.push_back(piece);
        }
        Ok(())
    }

    fn cut_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Handles the end of a message.
    fn end(&mut self) -> Result<(), Error> {
        self.left = None;
        self.cut_tail();
        self.alarm = None;
        let scan = self.scan.take();
        if !self.packed {
            return self.counted(scan);
        }
        // Messages that are decompressed concurrently must not run out of memory halfway.
        let claimed = self.encoding.claimed_length(&self.pieces);
        let claimed = claimed.min(self.limits.message_bytes);
        self.memory.receive(self.received + claimed)?;
        let pieces = std::mem::take(&mut self.pieces);
        let unpacking = Unpacking::new(self.encoding, pieces, scan, self.limits.turns.clone());
        self.unpacking = Some(Box::new(
            unpacking.map_err(|error| malformed().with_source(error))?,
        ));
        Ok(())
    }

    /// Passes on a complete, decompressed message if it has not too many elements.
    fn counted(&mut self, scan: Option<Scan>) -> Result<(), Error> {
        let mut weight = 0;
        if let Some(mut scan) = scan {
            scan.finish()?;
            weight = scan.weight();
        }
        let length = self.pieces.iter().map(Bytes::len).sum::<usize>();
        self.memory.decode(self.received, length, weight)?;
        let mut prefix = BytesMut::with_capacity(PREFIX);
        prefix.put_u8(0);
        prefix.put_u32(u32::try_from(length).map_err(|_| malformed())?);
        self.ready.push_back(prefix.freeze());
        self.ready.append(&mut self.pieces);
        Ok(())
    }

    /// Decompresses a part of the message. Returns whether more is left.
    fn unpack(&mut self, mut unpacking: Box<Unpacking>) -> Result<bool, Error> {
        let (memory, received) = (&self.memory, self.received);
        let charge = |length| memory.receive(received + length);
        match unpacking.next(self.limits.message_bytes, charge)? {
            Unpacked::More(piece) => {
                self.pieces.push_back(piece);
                self.unpacking = Some(unpacking);
                return Ok(true);
            }
            Unpacked::Last(piece) => {
                self.pieces.push_back(piece);
                self.counted(unpacking.scan())?;
            }
            Unpacked::TooLarge => return Err(self.limits.too_large(None)),
        }
        Ok(false)
    }

    /// Whether the memory of the call is being reclaimed while it waits for more of a large
    /// message.
    fn is_taken_back(&self, cx: &Context<'_>) -> bool {
        let is_large = self.is_amid() && self.received > memory::CALL;
        if is_large {
            self.memory.wake_request(cx);
        }
        is_large && self.memory.is_cancelled()
    }

    /// Whether a caller has paused for too long in the middle of a message.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timeout) = self.limits.stall_timeout.filter(|_| self.is_amid()) else {
            return Poll::Pending;
        };
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + timeout)));
        alarm.as_mut().poll(cx)
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Status>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if this.passed >= PASSED_AT_ONCE {
                this.passed = 0;
                return give_way(cx);
            }
            if let Some(data) = this.ready.pop_front() {
                this.passed += data.len();
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if let Some(status) = this.failed.take() {
                return Poll::Ready(Some(Err(status)));
            }
            if let Some(unpacking) = &mut this.unpacking {
                ready!(unpacking.poll_turn(cx));
            }
            if let Some(unpacking) = this.unpacking.take() {
                match this.unpack(unpacking) {
                    Ok(false) => {}
                    Ok(true) => return give_way(cx),
                    Err(error) => this.fail(&error),
                }
                continue;
            }
            if !this.rest.is_empty() {
                let rest = std::mem::take(&mut this.rest);
                if let Err(error) = this.take(rest) {
                    this.fail(&error);
                }
                continue;
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(frame) => match frame.and_then(Result::ok).map(Frame::into_data) {
                    Some(Ok(data)) => {
                        this.alarm = None;
                        if let Err(error) = this.take(data) {
                            this.fail(&error);
                        }
                    }
                    // The body ends, with trailers or without.
                    _ if this.is_amid() => {
                        this.left = None;
                        this.prefix.clear();
                        this.fail(&malformed());
                    }
                    trailers => return Poll::Ready(trailers.and_then(Result::err).map(Ok)),
                },
                Poll::Pending => {
                    let error = match this.is_taken_back(cx) {
                        true => memory::full(),
                        false => {
                            ready!(this.poll_stall(cx));
                            stalled()
                        }
                    };
                    this.fail(&error);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_idle = self.failed.is_none() && self.unpacking.is_none() && !self.is_amid();
        is_idle && self.ready.is_empty() && self.rest.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::task::Waker;
    use std::time::Duration;

    use super::super::large_messages::Turns;
    use super::super::unpack::UNPACKED_AT_ONCE;
    use super::*;
    use crate::memory::{Kind, MemoryLedger};

    const LENGTH: usize = 8 << 20;

    /// Polls a body to its end. Returns how often it yielded, and what it passed on.
    async fn polled(body: &[u8], encoding: Encoding) -> (usize, Result<usize, Status>) {
        let limits = Limits {
            message_bytes: LENGTH + PREFIX,
            advice: None,
            elements: None,
            stall_timeout: None,
            turns: Turns::default(),
        };
        let caller = Caller {
            method: "Converse",
            request_id: Arc::from("r"),
            report: None,
            arrived: Instant::now(),
        };
        let memory = CallMemory::new(MemoryLedger::default().share(Kind::Requests));
        let body = http_body_util::Full::new(Bytes::copy_from_slice(body));
        let body = tonic::body::Body::new(body);
        let mut body = RequestBody::new(body, encoding, limits, memory, caller);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut turns, mut passed) = (0, 0);
        loop {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Pending => {
                    turns += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Poll::Ready(Some(Ok(frame))) => passed += frame.into_data().unwrap().len(),
                Poll::Ready(Some(Err(status))) => return (turns, Err(status)),
                Poll::Ready(None) => return (turns, Ok(passed)),
            }
        }
    }

    fn packed(length: usize) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![b'x'; length]).unwrap();
        let bytes = gzip.finish().unwrap();
        let mut framed = vec![1];
        framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        framed.extend(bytes);
        framed
    }

    #[tokio::test(start_paused = true)]
    async fn others_have_their_turn_while_a_message_is_unpacked() {
        let (turns, passed) = polled(&packed(LENGTH), Encoding::Gzip).await;
        assert_eq!(passed.unwrap(), LENGTH + PREFIX);
        // While it is decompressed, and while it is passed on.
        assert_eq!(turns, LENGTH / UNPACKED_AT_ONCE + LENGTH / PASSED_AT_ONCE);
        let (turns, passed) = polled(&packed(1000), Encoding::Gzip).await;
        assert_eq!((turns, passed.unwrap()), (0, 1000 + PREFIX));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_behind_a_packed_one_are_passed_on_behind_it() {
        let plain = [&[0, 0, 0, 0, 3], &b"abc"[..]].concat();
        let bytes = [packed(LENGTH), plain, packed(5), packed(LENGTH)].concat();
        let (_, passed) = polled(&bytes, Encoding::Gzip).await;
        assert_eq!(passed.unwrap(), 2 * (LENGTH + PREFIX) + 8 + 10);
        let (_, passed) = polled(
            &[packed(5), packed(LENGTH + PREFIX + 1)].concat(),
            Encoding::Gzip,
        )
        .await;
        assert_eq!(passed.unwrap_err().code(), tonic::Code::ResourceExhausted);
    }
}
