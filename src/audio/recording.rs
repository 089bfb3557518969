//! What is measured.

/// What is known of a recording: all of it, or its first and last bytes and its size.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// The first bytes.
    pub head: &'a [u8],
    /// The last bytes. May overlap the head.
    pub tail: &'a [u8],
    /// The size of the whole in bytes.
    pub size: u64,
}

impl<'a> Recording<'a> {
    /// A recording that is all in memory.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            head: bytes,
            tail: bytes,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }

    /// So many bytes at this place, if they are there.
    pub(super) fn at(self, at: u64, length: usize) -> Option<&'a [u8]> {
        let in_part = |part: &'a [u8], begin: u64| {
            let at = usize::try_from(at.checked_sub(begin)?).ok()?;
            part.get(at..at.checked_add(length)?)
        };
        let tail = u64::try_from(self.tail.len()).ok()?;
        in_part(self.head, 0).or_else(|| in_part(self.tail, self.size.checked_sub(tail)?))
    }
}
