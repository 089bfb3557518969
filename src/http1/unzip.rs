//! Undoes gzip, a little at a time, so that no few bytes become a flood of them.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use super::fault::Broken;
use super::headers::Headers;

/// How many compressed bytes are undone at once. They become a thousand times as many at the most.
const STEP: usize = 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// With gzip, which every request allows.
    Gzip,
}

impl Coding {
    /// What the head of an answer says; none if it is of no known kind.
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let mut values = headers.all("content-encoding");
        match (values.next(), values.next()) {
            (None | Some(b"identity"), None) => Some(Self::Identity),
            (Some(b"gzip" | b"x-gzip"), None) => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Undoes gzip.
pub(super) struct Unzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    waiting: Bytes,
}

impl Unzip {
    /// At the start of a body.
    pub(super) fn new() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            waiting: Bytes::new(),
        }
    }

    /// Takes compressed bytes. [`Unzip::next`] must have given all of those before.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.waiting = bytes;
    }

    /// The next bytes, if any can be had without more compressed ones.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        while !self.waiting.is_empty() {
            let step = self.waiting.split_to(self.waiting.len().min(STEP));
            self.decoder.write_all(&step).map_err(|_| Broken::Corrupt)?;
            self.decoder.flush().map_err(|_| Broken::Corrupt)?;
            if let Some(bytes) = self.given() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The last bytes, if the stream may end here.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, Broken> {
        self.decoder.try_finish().map_err(|_| Broken::Corrupt)?;
        Ok(self.given())
    }

    fn given(&mut self) -> Option<Bytes> {
        let bytes = std::mem::take(self.decoder.get_mut());
        (!bytes.is_empty()).then(|| bytes.into())
    }
}
