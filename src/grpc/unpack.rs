//! Decompresses the messages of a request, with limits on the decoders' allocations.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;

use super::large_messages::{self, Turns};
use super::scan::{Scan, malformed};

/// How much is decompressed between two checks of the limits.
const BUFFER: usize = 16 * 1024;

/// How much is decompressed before yielding. It takes a tenth of a millisecond, and six times that
/// if each byte is a field to be counted.
pub(super) const UNPACKED_AT_ONCE: usize = 4 * BUFFER;

/// How much of a message tonic gets before yielding: it copies all of it.
pub(super) const PASSED_AT_ONCE: usize = 16 * BUFFER;

/// The length from which on a message is large.
const LARGE: usize = 16 * BUFFER;

/// The maximum zstd window, as a power of two: 16 MiB. Encoders use 2 to 8 MiB at their regular
/// levels.
const MAX_ZSTD_WINDOW: u32 = 24;

/// The encodings that [`Encoding::take`] accepts.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

/// The compression of a request's messages.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The compression of a request's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// None.
    Identity,
    /// In gzip.
    Gzip,
    /// In zstd.
    Zstd,
}

impl Encoding {
    /// The encoding of a request; `None` if it is not supported. Its header is removed: messages
    /// are passed on uncompressed.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let value = headers.remove(GRPC_ENCODING);
        match value.as_ref().map(|value| value.as_bytes()) {
            None | Some(b"identity") => Some(Self::Identity),
            Some(b"gzip") => Some(Self::Gzip),
            Some(b"zstd") => Some(Self::Zstd),
            Some(_) => None,
        }
    }

    /// The declared length of a message once decompressed. It may be wrong: it only determines what
    /// is charged before decompression.
    pub(super) fn claimed_length(self, pieces: &VecDeque<Bytes>) -> usize {
        let claimed = match self {
            Self::Identity => None,
            // The last four bytes of gzip.
            Self::Gzip => pieces
                .back()
                .and_then(|piece| piece.last_chunk::<4>())
                .map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
            Self::Zstd => pieces.front().and_then(|piece| {
                let length = zstd::zstd_safe::get_frame_content_size(piece);
                length.ok().flatten()
            }),
        };
        usize::try_from(claimed.unwrap_or_default()).unwrap_or_default()
    }

    /// A reader that decompresses a message.
    fn reader(self, pieces: VecDeque<Bytes>) -> io::Result<Box<dyn Read + Send>> {
        let pieces = Pieces(pieces);
        Ok(match self {
            Self::Identity => Box::new(pieces),
            Self::Gzip => Box::new(GzDecoder::new(pieces)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(pieces)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW)?;
                Box::new(decoder)
            }
        })
    }
}

/// The turn of one message.
enum Turn {
    /// It is not known yet whether the message is large.
    None,
    Waits(Pin<Box<dyn Future<Output = large_messages::Turn> + Send>>),
    Is(large_messages::Turn),
}

/// A message that is being decompressed.
pub(super) struct Unpacking {
    turns: Turns,
    turn: Turn,
    source: Box<dyn Read + Send>,
    length: usize,
    scan: Option<Scan>,
}

/// The result of a step.
pub(super) enum Unpacked {
    /// A part of the message; more follows.
    More(Bytes),
    /// The last part.
    Last(Bytes),
    /// The message exceeds its limit.
    TooLarge,
}

impl Unpacking {
    /// Begins with a message in these pieces, and counts its elements.
    pub(super) fn new(
        encoding: Encoding,
        pieces: VecDeque<Bytes>,
        scan: Option<Scan>,
        turns: Turns,
    ) -> io::Result<Self> {
        Ok(Self {
            turns,
            turn: Turn::None,
            source: encoding.reader(pieces)?,
            length: 0,
            scan,
        })
    }

    /// Waits for the turn of a message that has proved to be large. Small messages never wait.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.turn {
                Turn::None if self.length < LARGE => return Poll::Ready(()),
                Turn::None => {
                    self.turn = Turn::Waits(Box::pin(self.turns.clone().wait()));
                }
                Turn::Waits(turn) => self.turn = Turn::Is(ready!(turn.as_mut().poll(cx))),
                Turn::Is(_) => return Poll::Ready(()),
            }
        }
    }

    /// Decompresses the next part, and charges the length so far.
    pub(super) fn next(
        &mut self,
        max_length: usize,
        charge: impl Fn(usize) -> Result<(), Error>,
    ) -> Result<Unpacked, Error> {
        // Not the whole message in one buffer: that would be moved each time it grows.
        let mut piece = BytesMut::with_capacity(match self.length {
            0 => BUFFER,
            _ => UNPACKED_AT_ONCE,
        });
        while piece.len() < UNPACKED_AT_ONCE {
            let filled = piece.len();
            // Directly into the buffer: another copy takes as long as the decompression.
            piece.resize(UNPACKED_AT_ONCE.min(filled + BUFFER), 0);
            let count = self
                .source
                .read(piece.get_mut(filled..).unwrap_or_default());
            let count = count.map_err(|error| malformed().with_source(error))?;
            piece.truncate(filled + count);
            let part = piece.get(filled..).unwrap_or_default();
            if part.is_empty() {
                return Ok(Unpacked::Last(piece.freeze()));
            }
            self.length += part.len();
            if self.length > max_length {
                return Ok(Unpacked::TooLarge);
            }
            if let Some(scan) = &mut self.scan {
                scan.feed(part)?;
            }
            charge(self.length)?;
        }
        Ok(Unpacked::More(piece.freeze()))
    }

    /// The count of the message.
    pub(super) fn scan(&mut self) -> Option<Scan> {
        self.scan.take()
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        if let Turn::Is(turn) = &self.turn {
            turn.spent(self.length);
        }
    }
}

/// Bytes in several pieces, read as one and released as they are read.
struct Pieces(VecDeque<Bytes>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.front_mut() else {
            return Ok(0);
        };
        let count = piece.len().min(buffer.len());
        if let Some(place) = buffer.get_mut(..count) {
            piece.copy_to_slice(place);
        }
        if piece.is_empty() {
            self.0.pop_front();
        }
        Ok(count)
    }
}
