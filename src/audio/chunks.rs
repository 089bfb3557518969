//! Containers of chunks and objects: WAVE in its three spellings, AIFF, ASF.

use super::bytes::{array, be16, be32, le32, le64, real};
use super::recording::Recording;

/// How many chunks are looked at. Real files have fewer than ten before their samples.
const MOST_CHUNKS: usize = 256;

/// Sizes that recorders write when they do not know the length, and DashScope's speech streams
/// write always, are at least this large.
const PLACEHOLDER: u64 = 0x7fff_0000;

/// RIFF, RF64 and BW64. The size of the samples is what the file really holds where the header
/// says nothing useful: recorders that stream write 0 or a placeholder.
pub(super) fn wave(recording: Recording<'_>) -> Option<f64> {
    let head = recording.head;
    if head.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut at = 12;
    let (mut rate, mut large) = (None, None);
    for _ in 0..MOST_CHUNKS {
        let id = head.get(at..at + 4)?;
        let size = le32(head, at + 4)?;
        let body = at + 8;
        match id {
            b"fmt " => rate = le32(head, body + 8).filter(|rate| *rate > 0),
            b"ds64" => large = le64(head, body + 8),
            b"data" => {
                let there = recording.size.saturating_sub(u64::try_from(body).ok()?);
                let said = match size {
                    u32::MAX => large.unwrap_or(there),
                    size => u64::from(size),
                };
                let held = match said {
                    0 | PLACEHOLDER.. => there,
                    said => said.min(there),
                };
                return Some(real(held) / f64::from(rate?));
            }
            _ => {}
        }
        let size = usize::try_from(size).ok()?;
        // Chunks are padded to an even size.
        at = body.checked_add(size)?.checked_add(size & 1)?;
    }
    None
}

/// AIFF and AIFC: the COMM chunk has the number of sample frames and the rate.
pub(super) fn aiff(head: &[u8]) -> Option<f64> {
    if !matches!(head.get(8..12)?, b"AIFF" | b"AIFC") {
        return None;
    }
    let mut at = 12;
    for _ in 0..MOST_CHUNKS {
        let size = usize::try_from(be32(head, at + 4)?).ok()?;
        if head.get(at..at + 4)? == b"COMM" {
            let frames = f64::from(be32(head, at + 10)?);
            return Some(frames / extended(head, at + 16)?);
        }
        at = at
            .checked_add(8)?
            .checked_add(size)?
            .checked_add(size & 1)?;
    }
    None
}

/// The 80-bit number in which AIFF writes its rate: always a positive integer there.
fn extended(bytes: &[u8], at: usize) -> Option<f64> {
    const BIAS: i32 = 16383;
    let exponent = i32::from(be16(bytes, at)? & 0x7fff) - BIAS;
    let mantissa = u64::from_be_bytes(array(bytes, at + 2)?);
    let rate = real(mantissa) * 2f64.powi(exponent - 63);
    (rate > 0.0).then_some(rate)
}

/// ASF, the container of WMA: its file properties object.
pub(super) fn asf(head: &[u8]) -> Option<f64> {
    const FILE_PROPERTIES: [u8; 16] = [
        0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11, 0x8e, 0xe4, 0x00, 0xc0, 0x0c, 0x20, 0x53,
        0x65,
    ];
    const TICKS_PER_SECOND: f64 = 1e7;
    let mut at = 30;
    for _ in 0..MOST_CHUNKS {
        let size = usize::try_from(le64(head, at + 16)?).ok()?;
        if head.get(at..at + 16)? == FILE_PROPERTIES {
            let play = real(le64(head, at + 64)?) / TICKS_PER_SECOND;
            let preroll = real(le64(head, at + 80)?) / 1e3;
            return Some((play - preroll).max(0.0));
        }
        at = at.checked_add(size.max(24))?;
    }
    None
}
