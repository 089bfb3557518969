//! Containers of chunks and objects: AIFF, ASF.

use super::bytes::{array, be16, be32, le64, real};

/// The maximum number of chunks read. Real files have fewer than ten before their samples.
const MOST_CHUNKS: usize = 256;

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

/// The 80-bit floating-point number of AIFF's rate, which is always a positive integer.
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
