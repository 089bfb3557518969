//! Decompresses gzip in small steps, so that few bytes cannot expand into much memory.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use super::error::BodyError;
use super::headers::Headers;

/// How many compressed bytes are decompressed at once. The expansion is a thousandfold at most.
const STEP: usize = 1024;

/// The number of compressed bytes allowed without output, and additionally per byte of output. A
/// writer that flushes after each byte spends eleven on it; empty blocks and members could continue
/// forever.
const FREE_BYTES: u64 = 64 * 1024;
const BYTES_PER_BYTE: u64 = 24;

/// The content encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    /// No compression.
    Identity,
    /// Gzip, which every request accepts.
    Gzip,
}

impl ContentEncoding {
    /// The encoding in these headers; `None` if it is not supported.
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let mut values = headers.all("content-encoding");
        match (values.next(), values.next()) {
            (None | Some(b"identity"), None) => Some(Self::Identity),
            (Some(b"gzip" | b"x-gzip"), None) => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// A gzip decoder.
pub(super) struct GzipDecoder {
    decoder: MultiGzDecoder<Vec<u8>>,
    waiting: Bytes,
    /// The number of compressed bytes so far, and of decompressed ones.
    taken: u64,
    given: u64,
}

impl GzipDecoder {
    /// A decoder at the start of a body.
    pub(super) fn new() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            waiting: Bytes::new(),
            taken: 0,
            given: 0,
        }
    }

    /// Adds compressed bytes. [`GzipDecoder::next`] must have returned `None` before.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.waiting = bytes;
    }

    /// The next decompressed bytes, if available without more input.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        while !self.waiting.is_empty() {
            let step = self.waiting.split_to(self.waiting.len().min(STEP));
            self.decoder
                .write_all(&step)
                .map_err(|_| BodyError::Corrupt)?;
            self.decoder.flush().map_err(|_| BodyError::Corrupt)?;
            self.taken += step.len() as u64;
            self.given += self.decoder.get_ref().len() as u64;
            let most = self.given.saturating_mul(BYTES_PER_BYTE);
            if self.taken > most.saturating_add(FREE_BYTES) {
                return Err(BodyError::Malformed(
                    "compressed body with too little output",
                ));
            }
            if let Some(bytes) = self.given() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The last bytes. Fails if the stream may not end here.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.decoder.try_finish().map_err(|_| BodyError::Corrupt)?;
        Ok(self.given())
    }

    fn given(&mut self) -> Option<Bytes> {
        let bytes = std::mem::take(self.decoder.get_mut());
        (!bytes.is_empty()).then(|| bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn decompress(unzip: &mut GzipDecoder, bytes: Vec<u8>) -> Result<usize, BodyError> {
        unzip.push(bytes.into());
        let mut length = 0;
        while let Some(bytes) = unzip.next()? {
            length += bytes.len();
        }
        Ok(length)
    }

    #[test]
    fn u16_compressed_bytes_without_output_are_bounded() {
        let empty = GzEncoder::new(Vec::new(), Compression::fast());
        let member = empty.finish().unwrap().repeat(100);
        let mut unzip = GzipDecoder::new();
        let outcome = (0..1000).find_map(|_| decompress(&mut unzip, member.clone()).err());
        assert!(matches!(outcome, Some(BodyError::Malformed(_))));
    }

    #[test]
    fn a_body_flushed_after_each_byte_is_decoded() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut unzip = GzipDecoder::new();
        let mut length = 0;
        for number in 0..100_000_u32 {
            encoder.write_all(&[number as u8]).unwrap();
            encoder.flush().unwrap();
            let bytes = std::mem::take(encoder.get_mut());
            length += decompress(&mut unzip, bytes).unwrap();
        }
        assert_eq!(length, 100_000);
    }
}
