//! Message body length, by `content-length`, chunks, or the end of the connection. Does no I/O.
//!
//! It follows RFC 9112, sections 6 and 7, and rejects ambiguous heads: a response with two lengths,
//! or with a transfer coding that does not end in `chunked`.

use super::headers::Headers;

/// The maximum length of a chunk's extension, and of all trailers. Both are ignored.
const MAX_ASIDE: usize = 16 * 1024;

/// The overhead allowed in a chunked body regardless of its data: chunk heads, extensions,
/// trailers. Ten bytes per chunk are usual, so this is thousands of chunks of one byte each.
const FREE_ASIDE: u64 = 64 * 1024;

/// The additional overhead allowed per byte of data. A chunk of one byte has five bytes of
/// overhead, and its head may state the size in sixteen digits.
const ASIDE_PER_BYTE: u64 = 24;

/// The maximum number of digits of a chunk size: sixteen fill 64 bits.
const MAX_DIGITS: u8 = 16;

/// The framing of a body, and how much of it was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked(Chunked),
    /// The body ends with the connection.
    UntilClose,
}

/// The state of reading a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// The size of the current chunk while it is parsed, then the number of bytes left.
    left: u64,
    digits: u8,
    /// The number of ignored bytes so far.
    aside: usize,
    /// The bytes of data so far, and of overhead.
    data: u64,
    beside: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLf,
    /// At the start of a line after the last chunk.
    Trailer,
    TrailerRest,
    End,
    Done,
}

impl Framing {
    /// The framing of a response with this head.
    pub fn of(status: u16, headers: &Headers) -> Result<Self, &'static str> {
        if matches!(status, 204 | 304) {
            return Ok(Self::Length(0));
        }
        let mut lengths = headers.all("content-length");
        let length = lengths.next();
        let mut codings = headers.all("transfer-encoding");
        if let Some(coding) = codings.next() {
            // DashScope sends only `chunked`. Others must be accepted by the request.
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            return match (chunked, codings.next(), length) {
                (true, None, None) => Ok(Self::Chunked(Chunked::new())),
                _ => Err("the body is framed in more than one way"),
            };
        }
        let Some(length) = length else {
            return Ok(Self::UntilClose);
        };
        if lengths.any(|other| other != length) {
            return Err("the body has two lengths");
        }
        let length = match length.iter().all(u8::is_ascii_digit) {
            true => std::str::from_utf8(length)
                .ok()
                .and_then(|text| text.parse().ok()),
            false => None,
        };
        length.map(Self::Length).ok_or("invalid content length")
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.state == State::Done,
            Self::UntilClose => false,
        }
    }

    /// Appends the body data in these bytes, and returns how many of them were consumed: all of
    /// them unless the body ends earlier.
    pub fn take(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, &'static str> {
        match self {
            Self::Length(left) => {
                let part = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                body.extend_from_slice(bytes.get(..part).unwrap_or_default());
                *left -= part as u64;
                Ok(part)
            }
            Self::Chunked(chunked) => chunked.take(bytes, body),
            Self::UntilClose => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
}

impl Chunked {
    fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            aside: 0,
            data: 0,
            beside: 0,
        }
    }

    fn take(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, &'static str> {
        let before = body.len();
        let taken = self.read(bytes, body)?;
        let data = body.len() - before;
        self.data += data as u64;
        self.beside += (taken - data) as u64;
        let most = self.data.saturating_mul(ASIDE_PER_BYTE);
        match self.beside > most.saturating_add(FREE_ASIDE) {
            true => Err("too much chunk framing"),
            false => Ok(taken),
        }
    }

    fn read(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut rest = bytes;
        while self.state != State::Done {
            if self.state == State::Data {
                let part =
                    usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                let (data, after) = rest.split_at_checked(part).unwrap_or((rest, &[]));
                body.extend_from_slice(data);
                rest = after;
                self.left -= part as u64;
                if self.left > 0 {
                    break;
                }
                self.state = State::DataEnd;
            }
            let Some((byte, after)) = rest.split_first() else {
                break;
            };
            rest = after;
            self.state = self.step(*byte)?;
        }
        Ok(bytes.len() - rest.len())
    }

    /// The state after one byte that is not data.
    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte)?,
            // White space before an extension; some servers write it without one.
            (State::Size, b';' | b' ' | b'\t') if self.digits > 0 => State::Extension,
            (State::Size | State::Extension, b'\r') if self.digits > 0 => State::SizeEnd,
            (State::Extension, b'\n') => return Err("invalid line end in the body"),
            (State::Extension, _) => self.pass(State::Extension)?,
            (State::SizeEnd, b'\n') if self.left == 0 => State::Trailer,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => {
                (self.digits, self.aside) = (0, 0);
                State::Size
            }
            (State::Trailer, b'\r') => State::End,
            (State::Trailer | State::TrailerRest, b'\n') => self.pass(State::Trailer)?,
            (State::Trailer | State::TrailerRest, _) => self.pass(State::TrailerRest)?,
            (State::End, b'\n') => State::Done,
            (State::Size, _) => return Err("invalid chunk size"),
            (State::SizeEnd | State::DataEnd | State::DataEndLf | State::End, _) => {
                return Err("invalid line end in the body");
            }
            (State::Data | State::Done, _) => return Err("the body goes on after its end"),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<State, &'static str> {
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err("a chunk is too large");
        }
        self.left = (self.left << 4) | u64::from(digit);
        Ok(State::Size)
    }

    /// Moves to this state, ignoring a byte.
    fn pass(&mut self, next: State) -> Result<State, &'static str> {
        self.aside += 1;
        match self.aside > MAX_ASIDE {
            true => Err("too much chunk framing"),
            false => Ok(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in lines {
            headers.add(name, value.as_bytes());
        }
        headers
    }

    fn all(framing: &mut Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize), &'static str> {
        let (mut body, mut taken) = (Vec::new(), 0);
        for piece in pieces {
            taken += framing.take(piece, &mut body)?;
        }
        Ok((body, taken))
    }

    #[test]
    fn the_framing_follows_from_the_head() {
        use Framing::*;
        let of = |lines: &[_]| Framing::of(200, &headers(lines));
        assert_eq!(of(&[("content-length", "3")]), Ok(Length(3)));
        assert_eq!(of(&[]), Ok(UntilClose));
        let twice = [("content-length", "3"), ("content-length", "3")];
        assert_eq!(of(&twice), Ok(Length(3)));
        let chunked = Ok(Chunked(super::Chunked::new()));
        assert_eq!(of(&[("transfer-encoding", "Chunked")]), chunked);
        for wrong in [
            &[("content-length", "3"), ("content-length", "4")][..],
            &[("content-length", "3"), ("transfer-encoding", "chunked")],
            &[("content-length", "+3")],
            &[("content-length", "3, 3")],
            &[("content-length", "99999999999999999999")],
            &[("content-length", "")],
            &[("transfer-encoding", "gzip, chunked")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "gzip"),
            ],
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Framing::of(204, &headers(&[])), Ok(Length(0)));
    }

    #[test]
    fn chunks_are_joined_and_extensions_and_trailers_ignored() {
        let text = b"3\r\nabc\r\n0A ;x=\"y\"\r\n0123456789\r\n000\r\nx-trailer: 1\r\n\r\nnext";
        let mut framing = Framing::Chunked(Chunked::new());
        let (body, taken) = all(&mut framing, &[text]).unwrap();
        assert_eq!(body, b"abc0123456789");
        assert_eq!(taken, text.len() - 4);
        assert!(framing.is_done());
    }

    #[test]
    fn invalid_chunks_are_rejected() {
        let long = format!("1;{}", "x".repeat(MAX_ASIDE + 1));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MAX_ASIDE));
        for text in [
            "",
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\n",
            "1\r\r",
            "1\r\nab",
            "1\r\na\n",
            "11111111111111111\r\n",
            "0\r\n\rx",
            &long,
            &trailers,
            ";\r\n",
            "1;\nx",
        ] {
            let mut framing = Framing::Chunked(Chunked::new());
            let taken = all(&mut framing, &[text.as_bytes()]);
            assert!(text.is_empty() || taken.is_err(), "{text:?}");
            assert!(!framing.is_done());
        }
    }

    #[test]
    fn u16_chunk_overhead_is_bounded_by_the_data() {
        let chunked = |chunk: &str, times: usize| {
            let mut framing = Framing::Chunked(Chunked::new());
            let mut body = Vec::new();
            let block = chunk.repeat(100);
            (0..times / 100).try_for_each(|_| {
                body.clear();
                framing.take(block.as_bytes(), &mut body).map(drop)
            })
        };
        let extended = format!("1;{}\r\nx\r\n", "e".repeat(200));
        assert!(chunked(&extended, 300).is_ok());
        assert!(chunked(&extended, 1000).is_err());
        // With chunks of any size and long chunk heads, a body without extensions is read to its
        // end.
        assert!(chunked("1\r\nx\r\n", 1_000_000).is_ok());
        assert!(chunked("0000000000000001\r\nx\r\n", 1_000_000).is_ok());
        let event = format!("40;x=1234567890\r\n{}\r\n", "d".repeat(64));
        assert!(chunked(&event, 100_000).is_ok());
    }

    #[test]
    fn a_body_with_a_length_consumes_no_more() {
        let mut framing = Framing::Length(4);
        let taken = all(&mut framing, &[b"ab", b"cdef"]);
        assert_eq!(taken, Ok((b"abcd".to_vec(), 4)));
        assert!(framing.is_done());
    }

    proptest! {
        #[test]
        fn every_split_of_a_body_decodes_equally(
            chunks in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..40),
                0..8,
            ),
            cut in 1usize..20,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                text.extend(chunk);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n\r\n");
            let pieces: Vec<_> = text.chunks(cut).collect();
            let mut framing = Framing::Chunked(Chunked::new());
            let (body, taken) = all(&mut framing, &pieces).unwrap();
            prop_assert!(framing.is_done());
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(taken, text.len());
        }

        #[test]
        fn no_input_causes_a_panic(bytes in "[0-9a-f;\r\n ]{0,60}", cut in 1usize..20) {
            let mut framing = Framing::Chunked(Chunked::new());
            let mut body = Vec::new();
            for piece in bytes.as_bytes().chunks(cut) {
                match framing.take(piece, &mut body) {
                    Ok(taken) if taken < piece.len() => prop_assert!(framing.is_done()),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            prop_assert!(body.len() <= bytes.len());
        }
    }
}
