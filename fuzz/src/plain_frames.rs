//! HTTP/2 frames, found in memory in the plainest way, to compare the connection guard's with.

use dashgate::server::http2_frames::Head;

/// What a client sends before its first frame: RFC 9113, section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The heads of all frames after the preface, and whether the last frame is complete. `None` if the
/// bytes do not begin as HTTP/2 does.
pub fn read(bytes: &[u8]) -> Option<(Vec<Head>, bool)> {
    let begun = &PREFACE[..PREFACE.len().min(bytes.len())];
    let mut rest = bytes.strip_prefix(begun)?;
    if begun.len() < PREFACE.len() {
        return Some((Vec::new(), false));
    }
    let mut heads = Vec::new();
    loop {
        let Some((&[a, b, c, kind, flags, s0, s1, s2, s3], payload)) = rest.split_first_chunk()
        else {
            return Some((heads, rest.is_empty()));
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        heads.push(Head {
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
            length,
        });
        match payload.get(length..) {
            Some(next) => rest = next,
            None => return Some((heads, false)),
        }
    }
}
