//! AU, also called SND: a numeric header, and samples to the end of the file.

use super::bytes::{be32, real};
use super::recording::Recording;

/// The duration in seconds. The header's data size is not needed: nothing follows the samples.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let head = recording.head;
    let begin = u64::from(be32(head, 4)?);
    let bits: u32 = match be32(head, 12)? {
        25 => 3,
        23 | 24 => 4,
        26 => 5,
        1 | 2 | 27 => 8,
        3 => 16,
        4 => 24,
        5 | 6 => 32,
        7 => 64,
        _ => return None,
    };
    let rate = f64::from(be32(head, 16)?);
    let channels = f64::from(be32(head, 20)?);
    let bytes = real(recording.size.checked_sub(begin)?);
    Some(bytes * 8.0 / (f64::from(bits) * rate * channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_samples_are_measured_whatever_the_header_size() {
        for (size, encoding, channels, expected) in [
            (80_000u32, 3u32, 1u32, Some(5.0)),
            (u32::MAX, 3, 1, Some(5.0)),
            (0, 1, 1, Some(10.0)),
            (16, 6, 2, Some(1.25)),
            (80_000, 23, 1, Some(20.0)),
            (80_000, 99, 1, None),
        ] {
            let header = [28, size, encoding, 8_000, channels, 0].map(u32::to_be_bytes);
            let file = [&b".snd"[..], &header.concat(), &[3; 80_000]].concat();
            assert_eq!(seconds(Recording::whole(&file)), expected, "{encoding}");
        }
    }
}
