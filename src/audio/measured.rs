//! Helpers of the formats' tests.

use super::duration;
use super::recording::Recording;

/// The duration of a whole recording.
pub(super) fn seconds(bytes: &[u8]) -> Option<f64> {
    duration(Recording::whole(bytes)).map(|found| found.as_secs_f64())
}

/// The duration of a recording of which only this many bytes of each end are kept, as for a
/// streamed upload.
pub(super) fn seconds_of_ends(bytes: &[u8], kept: usize) -> Option<f64> {
    let tail = bytes.len().checked_sub(kept);
    let recording = Recording {
        head: bytes.get(..kept).unwrap_or(bytes),
        tail: tail.map_or(bytes, |at| &bytes[at..]),
        size: bytes.len() as u64,
    };
    duration(recording).map(|found| found.as_secs_f64())
}
