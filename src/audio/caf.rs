//! Apple's Core Audio Format.

use super::bytes::{array, be32, be64, real};
use super::recording::Recording;

/// The maximum number of chunks read.
const MOST_CHUNKS: usize = 64;

/// The duration in seconds: from the packet table if present, else from the size of constant-rate
/// data.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let head = recording.head;
    let mut at: usize = 8;
    let mut described = None;
    let mut data = None;
    for _ in 0..MOST_CHUNKS {
        let (Some(id), Some(size)) = (head.get(at..at + 4), be64(head, at + 4)) else {
            break;
        };
        let body = at + 12;
        match id {
            b"desc" => {
                let rate = f64::from_be_bytes(array(head, body)?);
                let packet = f64::from(be32(head, body + 16)?);
                let frames = f64::from(be32(head, body + 20)?);
                described = Some((rate, packet, frames));
            }
            b"pakt" => {
                let frames = real(be64(head, body + 8)?);
                let (rate, ..) = described?;
                return (rate > 0.0).then(|| frames / rate);
            }
            b"data" => {
                let there = recording.size.saturating_sub(u64::try_from(body).ok()?);
                // -1: to the end of the file. Four bytes of it are an edit count.
                data = Some(size.min(there).saturating_sub(4));
            }
            _ => {}
        }
        let next = usize::try_from(size).ok().and_then(|n| body.checked_add(n));
        let Some(next) = next else { break };
        at = next;
    }
    let (rate, packet, frames) = described?;
    let constant = rate > 0.0 && packet > 0.0;
    constant.then(|| real(data.unwrap_or(0)) / packet * frames / rate)
}
