//! The input of the measurement.

/// The available bytes of a recording: all of it, or its first and last bytes and its size.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// The first bytes.
    pub head: &'a [u8],
    /// The last bytes. May overlap the head.
    pub tail: &'a [u8],
    /// The total size in bytes.
    pub size: u64,
}

impl<'a> Recording<'a> {
    /// A recording that is completely in memory.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            head: bytes,
            tail: bytes,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }

    /// Bytes at this offset, if available.
    pub(super) fn at(self, at: u64, length: usize) -> Option<&'a [u8]> {
        let in_part = |part: &'a [u8], begin: u64| {
            let at = usize::try_from(at.checked_sub(begin)?).ok()?;
            part.get(at..at.checked_add(length)?)
        };
        let tail = u64::try_from(self.tail.len()).ok()?;
        in_part(self.head, 0).or_else(|| in_part(self.tail, self.size.checked_sub(tail)?))
    }
}
