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
}
