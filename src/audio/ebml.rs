//! Matroska and WebM. Browsers record without a duration; the time of the last block is then used.

use super::bytes::{array, be16, real};
use super::recording::Recording;

/// The maximum number of elements read. An hour of 20 ms blocks has 180,000.
const MOST_ELEMENTS: usize = 1 << 20;

const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TIMESTAMP_SCALE: u32 = 0x002a_d7b1;
const DURATION: u32 = 0x4489;
const CLUSTER: u32 = 0x1f43_b675;
const CLUSTER_TIMESTAMP: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;

/// The default nanoseconds per tick.
const DEFAULT_SCALE: u64 = 1_000_000;

/// The duration in seconds. Elements are read in order, and containers entered, whatever their
/// size.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let head = recording.head;
    let (mut at, mut scale, mut cluster) = (0, DEFAULT_SCALE, 0);
    let mut last = None;
    for _ in 0..MOST_ELEMENTS {
        let Some((id, size, body)) = element(head, at) else {
            break;
        };
        let enter = matches!(id, SEGMENT | INFO | CLUSTER | BLOCK_GROUP);
        let content = usize::try_from(size)
            .ok()
            .and_then(|size| head.get(body..body.checked_add(size)?));
        match (id, content) {
            (TIMESTAMP_SCALE, Some(content)) => scale = unsigned(content),
            (DURATION, Some(content)) => {
                let ticks = match content.len() {
                    4 => f64::from(f32::from_be_bytes(array(content, 0)?)),
                    _ => f64::from_be_bytes(array(content, 0)?),
                };
                return Some(ticks * real(scale) / 1e9);
            }
            (CLUSTER_TIMESTAMP, Some(content)) => cluster = unsigned(content),
            (SIMPLE_BLOCK | BLOCK, Some(content)) => last = block(content, cluster).max(last),
            _ => {}
        }
        at = match enter {
            true => body,
            false => usize::try_from(size)
                .ok()
                .and_then(|n| body.checked_add(n))?,
        };
    }
    let read = u64::try_from(at.min(head.len())).ok()?;
    // Extrapolated to the bytes that are not available.
    let part = real(recording.size.max(read)) / real(read);
    last.map(|ticks| real(ticks) * real(scale) / 1e9 * part)
}

/// The timestamp of a block: its cluster's plus its own offset.
fn block(content: &[u8], cluster: u64) -> Option<u64> {
    let track = length(*content.first()?)?;
    let offset = be16(content, track)?.cast_signed();
    cluster.checked_add_signed(i64::from(offset))
}

/// An element: its id, its size, and the offset of its content.
fn element(bytes: &[u8], at: usize) -> Option<(u32, u64, usize)> {
    let id_length = length(*bytes.get(at)?).filter(|length| *length <= 4)?;
    let id = unsigned(bytes.get(at..at + id_length)?);
    let at = at + id_length;
    let size_length = length(*bytes.get(at)?)?;
    let size = unsigned(bytes.get(at..at + size_length)?);
    // Without the marker bit of the length.
    let size = size & !(1 << (7 * size_length));
    Some((u32::try_from(id).ok()?, size, at + size_length))
}

/// The length of a variable-length number, by its first byte.
fn length(first: u8) -> Option<usize> {
    let zeros = usize::try_from(first.leading_zeros()).ok()?;
    (zeros < 8).then_some(zeros + 1)
}

/// An unsigned number of at most eight bytes.
fn unsigned(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().take(8);
    bytes.fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}
