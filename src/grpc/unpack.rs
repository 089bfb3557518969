//! Unpacks the messages of a request, with bounds on what the decoders allocate.

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use flate2::read::GzDecoder;
use http::{HeaderMap, header::HeaderName};

/// How much is unpacked between two looks at the limits.
pub(super) const UNPACKED_AT_ONCE: usize = 16 * 1024;

/// The largest window of zstd that is allocated, as a power of two: 16 MiB. Its encoders use 2 to 8
/// MiB at the levels that they offer without being asked twice.
const MAX_ZSTD_WINDOW: u32 = 24;

/// How the messages of a request are packed.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// How the messages of a request are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all, or in a way that tonic refuses.
    Identity,
    /// In gzip.
    Gzip,
    /// In zstd.
    Zstd,
}

impl Encoding {
    /// The encoding of a request.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(GRPC_ENCODING).map(|value| value.as_bytes()) {
            Some(b"gzip") => Self::Gzip,
            Some(b"zstd") => Self::Zstd,
            _ => Self::Identity,
        }
    }

    /// How long a message says that it is once it is unpacked. It may say anything: this decides
    /// only what is charged before it is unpacked.
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

    /// Reads a message that is packed in this way.
    pub(super) fn reader(self, pieces: VecDeque<Bytes>) -> io::Result<Box<dyn Read + Send>> {
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

/// Bytes in several pieces, read as one and let go as they are read.
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
