//! Server-sent events, decoded from arbitrarily split bytes. Does no I/O.
//!
//! It follows the event stream of the HTML standard: a byte order mark, lines that end with CR, LF
//! or both, comments, one space after the colon, several `data` lines, unknown fields. Three things
//! are specific to DashScope:
//!
//! - The comment `:HTTP_STATUS/NNN` holds the status that the response would have had, and is kept;
//!   so is a field `status`, which DashScope's own client reads.
//! - The gateway of 2024 wrote no blank lines between events. An `id` or `event` field after data
//!   therefore begins the next event.
//! - For the same reason, an event that ends with the stream counts, where the standard drops it.
//!
//! Every buffer has a bound, each byte is examined a fixed number of times, and an event whose data
//! came in one chunk is not copied.

use bytes::Bytes;
use memchr::memchr2;

/// The maximum number of lines between two events: hours of one heartbeat per second.
const MAX_LINES: usize = 20_000;

/// The limits of a stream's buffers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum length of a line, without its end.
    pub line_bytes: usize,
    /// The maximum data of one event.
    pub event_bytes: usize,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The value of the `event` field; empty if absent.
    pub event: Bytes,
    /// The data, its lines joined by LF.
    pub data: Bytes,
    /// The status in the comment, if present.
    pub http_status: Option<u16>,
    /// Whether its last line ended. If not, the data may be truncated.
    pub whole: bool,
}

/// The limit that a stream exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The length of a line.
    Line,
    /// The data of an event.
    Event,
    /// The number of lines without an event.
    Lines,
}

/// Decodes bytes into events.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    chunk: Bytes,
    /// The position in the chunk.
    at: usize,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    lines: usize,
    after_cr: bool,
    at_start: bool,
    ended: bool,
    cut: bool,
    held: Option<Bytes>,
    draft: PendingEvent,
}

/// The event being decoded.
#[derive(Debug, Default)]
struct PendingEvent {
    event: Bytes,
    data: Data,
    http_status: Option<u16>,
}

/// Data lines: shared with the chunk while there is one, joined from the second on.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Joined(Vec<u8>),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunk: Bytes::new(),
            at: 0,
            line: Vec::new(),
            lines: 0,
            after_cr: false,
            at_start: true,
            ended: false,
            cut: false,
            held: None,
            draft: PendingEvent::default(),
        }
    }

    /// Adds the next bytes. [`Decoder::next`] must have returned `None` before.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the chunk before was not read");
        self.chunk = chunk;
        self.at = 0;
    }

    /// The number of bytes held that have not become events.
    pub fn buffered(&self) -> usize {
        let data = match &self.draft.data {
            Data::None => 0,
            Data::One(bytes) => bytes.len(),
            Data::Joined(bytes) => bytes.capacity(),
        };
        self.chunk.len() + self.line.capacity() + data
    }

    /// Marks the end of the input. An event may still be returned.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next event, if it is complete.
    #[expect(
        clippy::should_implement_trait,
        reason = "no iterator: it goes on after more bytes are pushed"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, Overflow> {
        if let Some(line) = self.held.take()
            && let Some(frame) = self.decode_line(&line, &line)?
        {
            return Ok(Some(frame));
        }
        // Lines are examined in place, and only what is kept is shared: that halves the reference
        // counting per line.
        let chunk = std::mem::take(&mut self.chunk);
        let frame = self.read(&chunk);
        if self.at < chunk.len() {
            self.chunk = chunk;
        }
        frame
    }

    fn read(&mut self, chunk: &Bytes) -> Result<Option<Frame>, Overflow> {
        loop {
            let mut rest = chunk.get(self.at..).unwrap_or_default();
            if self.after_cr
                && let Some((first, after)) = rest.split_first()
            {
                self.after_cr = false;
                if *first == b'\n' {
                    self.at += 1;
                    rest = after;
                }
            }
            let end = memchr2(b'\n', b'\r', rest);
            let length = end.unwrap_or(rest.len());
            if self.line.len() + length > self.limits.line_bytes {
                return Err(Overflow::Line);
            }
            let part = rest.get(..length).unwrap_or_default();
            self.at += length;
            if let Some(end) = end {
                self.after_cr = rest.get(end) == Some(&b'\r');
                self.at += 1;
                if self.line.is_empty() {
                    if let Some(frame) = self.decode_line(chunk, part)? {
                        return Ok(Some(frame));
                    }
                    continue;
                }
            }
            self.line.extend_from_slice(part);
            if end.is_none() {
                if !self.ended {
                    return Ok(None);
                }
                if self.line.is_empty() {
                    let whole = !self.cut;
                    return Ok(self.dispatch(whole));
                }
                self.cut = true;
            }
            let line = Bytes::from(std::mem::take(&mut self.line));
            if let Some(frame) = self.decode_line(&line, &line)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Handles a line, which is a slice of these bytes.
    fn decode_line(&mut self, bytes: &Bytes, line: &[u8]) -> Result<Option<Frame>, Overflow> {
        let line = self.without_bom(line);
        if line.is_empty() {
            let frame = self.dispatch(true);
            self.draft = PendingEvent::default();
            self.count_line()?;
            return Ok(frame);
        }
        let colon = memchr::memchr(b':', line);
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        if matches!(name, b"id" | b"event") && !matches!(self.draft.data, Data::None) {
            self.held = Some(bytes.slice_ref(line));
            // Even if this line is truncated: the event before it is not.
            return Ok(self.dispatch(true));
        }
        self.count_line()?;
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"" => {
                let digits = value.strip_prefix(b"HTTP_STATUS/").unwrap_or_default();
                self.draft.http_status = status(digits).or(self.draft.http_status);
            }
            b"status" => self.draft.http_status = status(value).or(self.draft.http_status),
            b"event" => self.draft.event = bytes.slice_ref(value),
            b"data" => {
                let value = bytes.slice_ref(value);
                self.draft.data.add(value, self.limits.event_bytes)?;
            }
            _ => {}
        }
        Ok(None)
    }

    fn without_bom<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        match std::mem::take(&mut self.at_start) {
            true => line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line),
            false => line,
        }
    }

    fn count_line(&mut self) -> Result<(), Overflow> {
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(Overflow::Lines);
        }
        Ok(())
    }

    /// Ends the event; `whole` is whether its last line ended.
    fn dispatch(&mut self, whole: bool) -> Option<Frame> {
        let draft = std::mem::take(&mut self.draft);
        let data = match draft.data {
            Data::None => return None,
            Data::One(data) => data,
            Data::Joined(data) => data.into(),
        };
        self.lines = 0;
        Some(Frame {
            event: draft.event,
            data,
            http_status: draft.http_status,
            whole,
        })
    }
}

impl Data {
    fn add(&mut self, line: Bytes, limit: usize) -> Result<(), Overflow> {
        let before = match self {
            Self::None => 0,
            Self::One(data) => data.len() + 1,
            Self::Joined(data) => data.len() + 1,
        };
        if before + line.len() > limit {
            return Err(Overflow::Event);
        }
        *self = match std::mem::take(self) {
            Self::None => Self::One(line),
            Self::One(first) => {
                let mut data = Vec::with_capacity(before + line.len());
                data.extend_from_slice(&first);
                data.push(b'\n');
                data.extend_from_slice(&line);
                Self::Joined(data)
            }
            Self::Joined(mut data) => {
                data.push(b'\n');
                data.extend_from_slice(&line);
                Self::Joined(data)
            }
        };
        Ok(())
    }
}

/// A status of three digits.
fn status(text: &[u8]) -> Option<u16> {
    let digits = text.trim_ascii();
    (digits.len() == 3 && digits.iter().all(u8::is_ascii_digit))
        .then(|| digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOMY: Limits = Limits {
        line_bytes: 1024,
        event_bytes: 4096,
    };

    /// Decodes a stream that arrives in these pieces.
    fn decode<'a>(
        limits: Limits,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Frame>, Option<Overflow>) {
        let mut decoder = Decoder::new(limits);
        let mut frames = Vec::new();
        let mut drain = |decoder: &mut Decoder| loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return None,
                Err(overflow) => return Some(overflow),
            }
        };
        for piece in pieces {
            decoder.push(Bytes::copy_from_slice(piece));
            if let Some(overflow) = drain(&mut decoder) {
                return (frames, Some(overflow));
            }
        }
        decoder.end();
        let overflow = drain(&mut decoder);
        (frames, overflow)
    }

    fn texts(stream: &str) -> Vec<(String, String)> {
        let (frames, overflow) = decode(ROOMY, [stream.as_bytes()]);
        assert_eq!(overflow, None);
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        frames
            .iter()
            .map(|f| (text(&f.event), text(&f.data)))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(event, data): &(&str, &str)| ((*event).to_owned(), (*data).to_owned());
        expected.iter().map(own).collect()
    }

    #[test]
    fn u17_the_stream_is_decoded_as_the_standard_requires() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("data:a\n\n", &[("", "a")]),
            ("data: a\n\n", &[("", "a")]),
            ("data:  a\n\n", &[("", " a")]),
            (
                "data:a\r\n\r\ndata:b\r\rdata:c\n\n",
                &[("", "a"), ("", "b"), ("", "c")],
            ),
            ("data:a\r\ndata:b\rdata:c\n\n", &[("", "a\nb\nc")]),
            ("data\n\n", &[("", "")]),
            ("data\ndata\n\n", &[("", "\n")]),
            ("event:x\n\ndata:a\n\n", &[("", "a")]),
            ("event:x\nevent:y\ndata:a\n\n", &[("y", "a")]),
            (":a comment\n\n:another\ndata:a\n\n", &[("", "a")]),
            (
                "retry:1\nid:\0\nunknown:x\nno colon\ndata:a\n\n",
                &[("", "a")],
            ),
            ("\u{feff}data:a\n\n", &[("", "a")]),
            ("\u{feff}\u{feff}data:a\n\n", &[]),
            ("data:a:b\n\n", &[("", "a:b")]),
            ("Data:a\n\n data:b\n\n", &[]),
            ("data:\0\n\n", &[("", "\0")]),
            ("", &[]),
        ];
        for (stream, expected) in cases {
            assert_eq!(texts(stream), pairs(expected), "{stream:?}");
        }
    }

    #[test]
    fn events_without_blank_lines_are_separated() {
        let stream = "id:1\nevent:result\n:HTTP_STATUS/200\ndata:a\nid:2\nevent:error\n\
                      :HTTP_STATUS/400\ndata:b\nevent:result\ndata:c";
        let (frames, _) = decode(ROOMY, [stream.as_bytes()]);
        let seen: Vec<_> = frames
            .iter()
            .map(|f| (&*f.event, &*f.data, f.http_status, f.whole))
            .collect();
        let expected = [
            (&b"result"[..], &b"a"[..], Some(200), true),
            (b"error", b"b", Some(400), true),
            (b"result", b"c", None, false),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_event_is_complete_although_the_next_line_is_truncated() {
        for (stream, expected) in [
            ("data:a\nid:1", &[true][..]),
            ("data:a\nid:1\ndata:b", &[true, false]),
            ("data:a\nunknown", &[false]),
            ("data:a\n", &[true]),
        ] {
            let (frames, _) = decode(ROOMY, [stream.as_bytes()]);
            let whole: Vec<_> = frames.iter().map(|frame| frame.whole).collect();
            assert_eq!(whole, expected, "{stream:?}");
        }
    }

    #[test]
    fn a_status_is_three_digits_in_a_comment_or_a_field() {
        for (line, expected) in [
            (":HTTP_STATUS/429", Some(429)),
            (": HTTP_STATUS/500 ", Some(500)),
            ("status:503", Some(503)),
            (":HTTP_STATUS/42", None),
            (":HTTP_STATUS/4290", None),
            (":HTTP_STATUS/4x9", None),
            (":heartbeat", None),
        ] {
            let stream = format!("{line}\ndata:a\n\n");
            let (frames, _) = decode(ROOMY, [stream.as_bytes()]);
            assert_eq!(frames[0].http_status, expected, "{line}");
        }
    }

    #[test]
    fn u16_every_limit_is_enforced() {
        let limits = Limits {
            line_bytes: 16,
            event_bytes: 24,
        };
        let flood = ":\n".repeat(MAX_LINES + 1);
        let blank = "\n".repeat(MAX_LINES + 1);
        for (stream, overflow) in [
            ("data:aaaaaaaaaaa\n\n", None),
            ("data:aaaaaaaaaaaa\n\n", Some(Overflow::Line)),
            ("data:aaaaaaaaaaaa", Some(Overflow::Line)),
            ("data:0123456789\ndata:0123456789\n\n", None),
            (
                "data:0123456789\ndata:0123456789\ndata:012\n\n",
                Some(Overflow::Event),
            ),
            (&*flood, Some(Overflow::Lines)),
            (&*blank, Some(Overflow::Lines)),
        ] {
            for size in [1, 7, 4096] {
                let (_, seen) = decode(limits, stream.as_bytes().chunks(size));
                assert_eq!(seen, overflow, "{size} {stream:.40}");
            }
        }
    }

    #[test]
    fn an_event_in_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data:a sound\n\n");
        let mut decoder = Decoder::new(ROOMY);
        decoder.push(chunk.clone());
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!(frame.data.as_ptr(), chunk.slice(5..).as_ptr());
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data:".to_vec()),
            Just(b"data: x".to_vec()),
            Just(b"event:error".to_vec()),
            Just(b"id:1".to_vec()),
            Just(b":HTTP_STATUS/400".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"\xEF\xBB\xBF".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_split_of_a_stream_decodes_equally(stream in stream()) {
            let limits = Limits { line_bytes: 40, event_bytes: 80 };
            let whole = decode(limits, [&*stream]);
            for at in 0..=stream.len() {
                let (a, b) = stream.split_at(at);
                prop_assert_eq!(&decode(limits, [a, b]), &whole);
            }
            prop_assert_eq!(&decode(limits, stream.chunks(1)), &whole);
        }
    }
}
