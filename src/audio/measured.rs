//! What tests of each format ask: how long some bytes play.

use super::duration;
use super::recording::Recording;

/// Of a whole recording.
pub(super) fn seconds(bytes: &[u8]) -> Option<f64> {
    duration(Recording::whole(bytes)).map(|found| found.as_secs_f64())
}

/// Of one of which so many bytes of each end are kept, as an upload that passes by leaves them.
pub(super) fn seconds_of_ends(bytes: &[u8], kept: usize) -> Option<f64> {
    let tail = bytes.len().checked_sub(kept);
    let recording = Recording {
        head: bytes.get(..kept).unwrap_or(bytes),
        tail: tail.map_or(bytes, |at| &bytes[at..]),
        size: bytes.len() as u64,
    };
    duration(recording).map(|found| found.as_secs_f64())
}
