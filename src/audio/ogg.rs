//! Ogg with Opus, Vorbis, FLAC or Speex: the position of the last page.

use memchr::memmem;

use super::bytes::{le32, le64, real};
use super::flac;
use super::recording::Recording;

/// How much of the end is searched for the last page. A page has at most 65,307 bytes.
const LAST_PAGE_WITHIN: usize = 128 * 1024;

/// The rate of Opus positions, independent of the recording's.
const OPUS_RATE: u32 = 48_000;

/// The stream parameters of the first packet: the rate of positions, and the number of samples to
/// skip.
struct Stream {
    serial: u32,
    rate: u32,
    skip: u64,
}

pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let stream = stream(recording.head)?;
    let tail = recording.tail;
    let tail = tail.get(tail.len().saturating_sub(LAST_PAGE_WITHIN)..)?;
    let last = memmem::rfind_iter(tail, b"OggS").find_map(|at| {
        let position = le64(tail, at + 6)?;
        // All ones: no packet ends on this page.
        (le32(tail, at + 14)? == stream.serial && position != u64::MAX).then_some(position)
    })?;
    Some(real(last.saturating_sub(stream.skip)) / f64::from(stream.rate))
}

fn stream(head: &[u8]) -> Option<Stream> {
    let segments = usize::from(*head.get(26)?);
    let packet = head.get(27 + segments..)?;
    let (rate, skip) = if packet.starts_with(b"OpusHead") {
        let skip = packet.get(10..12)?;
        let skip: [u8; 2] = skip.try_into().ok()?;
        (OPUS_RATE, u64::from(u16::from_le_bytes(skip)))
    } else if packet.starts_with(b"\x01vorbis") {
        (le32(packet, 12)?, 0)
    } else if packet.starts_with(b"\x7fFLAC") {
        // The native stream information follows 13 bytes of the mapping.
        (flac::rate(packet.get(13..)?)?, 0)
    } else if packet.starts_with(b"Speex   ") {
        (le32(packet, 36)?, 0)
    } else {
        return None;
    };
    let serial = le32(head, 14)?;
    (rate > 0).then_some(Stream { serial, rate, skip })
}
