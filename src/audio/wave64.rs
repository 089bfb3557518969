//! Sony's Wave64: RIFF with 16-byte names and 64-bit sizes.

use super::bytes::le64;
use super::recording::Recording;
use super::wave;

/// The maximum number of chunks read. Real files have fewer than ten.
const MOST_CHUNKS: usize = 256;

/// The length of a chunk's name and size, which the size includes.
const HEAD: u64 = 24;

/// The suffix of the name `riff`.
const RIFF: [u8; 12] = [
    0x2e, 0x91, 0xcf, 0x11, 0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0, 0,
];

/// The suffix of all other names.
const OTHER: [u8; 12] = [
    0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a,
];

/// The duration in seconds.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let head = recording.head;
    if head.get(4..16)? != RIFF || head.get(24..28)? != b"wave" || head.get(28..40)? != OTHER {
        return None;
    }
    let mut at = 40;
    let mut format = None;
    for _ in 0..MOST_CHUNKS {
        let id = recording.at(at, 16)?;
        let size = le64(recording.at(at + 16, 8)?, 0)?;
        let body = at + HEAD;
        match id.get(..4)? {
            _ if id.get(4..)? != OTHER => return None,
            b"fmt " => format = Some(body),
            b"data" => {
                let left = recording.size.checked_sub(body)?;
                // A writer that cannot seek leaves the size of the head alone, or none.
                let said = size.saturating_sub(HEAD);
                let there = if said == 0 { left } else { said.min(left) };
                return wave::seconds_of(recording, (format?, body, there));
            }
            _ => {}
        }
        // Chunks are aligned to eight bytes.
        at = at
            .checked_add(size.max(HEAD))?
            .checked_next_multiple_of(8)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::measured::{seconds, seconds_of_ends};

    fn wave64(data_size: u64, samples: usize) -> Vec<u8> {
        const OTHER: [u8; 12] = [
            0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a,
        ];
        let chunk = |name: &[u8; 4], size: u64, body: &[u8]| {
            let mut chunk = [&name[..], &OTHER, &size.to_le_bytes(), body].concat();
            chunk.resize(chunk.len().next_multiple_of(8), 0);
            chunk
        };
        let mut format = vec![1, 0, 1, 0];
        format.extend(8_000u32.to_le_bytes());
        format.extend(16_000u32.to_le_bytes());
        format.extend([2, 0, 16, 0]);
        let mut bytes = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0".to_vec();
        bytes.extend([0; 8]);
        bytes.extend([&b"wave"[..], &OTHER].concat());
        bytes.extend(chunk(b"fmt ", 24 + 16, &format));
        bytes.extend(chunk(b"junk", 24 + 5, b"12345"));
        bytes.extend(chunk(b"data", data_size, &vec![0; samples * 2]));
        bytes
    }

    #[test]
    fn wave64_is_measured_by_its_available_samples() {
        for size in [24 + 16_000, 0, 24, u64::MAX] {
            assert_eq!(seconds(&wave64(size, 8_000)), Some(1.0), "{size}");
        }
        let more = [wave64(24 + 16_000, 8_000), vec![0; 800]].concat();
        assert_eq!(seconds(&more), Some(1.0));
        assert_eq!(seconds_of_ends(&wave64(24 + 16_000, 8_000), 300), Some(1.0));
    }
}
