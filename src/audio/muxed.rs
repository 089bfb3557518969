//! Containers of audio and video: AVI, FLV, MPEG program streams.

use memchr::memmem;

use super::bytes::{be32, le32, real};
use super::recording::Recording;

/// How many chunks of an AVI are looked at. Each of its few streams has a handful.
const MOST_CHUNKS: usize = 256;

/// AVI: the header of its audio stream, or else the number of its pictures.
pub(super) fn avi(head: &[u8]) -> Option<f64> {
    let mut at = 12;
    let mut pictures = None;
    for _ in 0..MOST_CHUNKS {
        let Some(id) = head.get(at..at + 4) else {
            break;
        };
        let size = usize::try_from(le32(head, at + 4)?).ok()?;
        let body = at + 8;
        at = match id {
            // Their content is chunks again.
            b"LIST" if matches!(head.get(body..body + 4)?, b"hdrl" | b"strl") => body + 4,
            b"LIST" => break,
            _ => body.checked_add(size)?.checked_add(size & 1)?,
        };
        let number = |at: usize| le32(head, body + at).map(f64::from);
        match id {
            b"avih" => pictures = Some(number(0)? * number(16)? / 1e6),
            b"strh" if head.get(body..body + 4)? == b"auds" => {
                let (scale, rate, length) = (number(20)?, number(24)?, number(32)?);
                let seconds = length * scale / rate;
                if seconds.is_finite() && seconds > 0.0 {
                    return Some(seconds);
                }
            }
            _ => {}
        }
    }
    // A writer that cannot go back leaves them empty.
    pictures.filter(|seconds| *seconds > 0.0)
}

/// FLV: the time of its last tag, which the last four bytes lead to.
pub(super) fn flv(recording: Recording<'_>) -> Option<f64> {
    const TAG_HEAD: u64 = 11;
    let end = recording.size.checked_sub(4)?;
    let size = u64::from(be32(recording.at(end, 4)?, 0)?);
    let tag = recording.at(end.checked_sub(size)?, 11)?;
    let content = u64::from(be32(tag, 0)? & 0xff_ffff);
    let is_tag = matches!(tag.first()?, 8 | 9) && content + TAG_HEAD == size;
    let milliseconds = be32(tag, 4)? >> 8 | u32::from(*tag.get(7)?) << 24;
    is_tag.then(|| f64::from(milliseconds) / 1e3)
}

/// A program stream of MPEG-1 or MPEG-2: from the clock of its first pack to that of its last.
pub(super) fn program_stream(recording: Recording<'_>) -> Option<f64> {
    /// Packs are a few kilobytes.
    const LAST_PACK_WITHIN: usize = 256 * 1024;
    const PACK: [u8; 4] = [0, 0, 1, 0xba];
    let tail = recording.tail;
    let tail = tail.get(tail.len().saturating_sub(LAST_PACK_WITHIN)..)?;
    let last = tail.get(memmem::rfind(tail, &PACK)?..)?;
    let played = clock(last)?.checked_sub(clock(recording.head)?)?;
    Some(real(played) / 90_000.0)
}

/// The clock of a pack: 33 bits at 90 kHz, between marker bits.
fn clock(pack: &[u8]) -> Option<u64> {
    let bytes = pack.get(4..10)?;
    let word = bytes
        .iter()
        .fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let bits = |from: u32, count: u32| word >> (48 - from - count) & ((1 << count) - 1);
    let at = match (bits(0, 2), bits(0, 4)) {
        (1, _) => 2,
        (_, 2) => 4,
        _ => return None,
    };
    Some(bits(at, 3) << 30 | bits(at + 4, 15) << 15 | bits(at + 20, 15))
}

#[cfg(test)]
mod tests {
    use super::super::duration;
    use super::super::recording::Recording;

    fn seconds(bytes: &[u8]) -> Option<f64> {
        duration(Recording::whole(bytes)).map(|found| found.as_secs_f64())
    }

    fn seconds_of_ends(bytes: &[u8], kept: usize) -> Option<f64> {
        let recording = Recording {
            head: &bytes[..kept],
            tail: &bytes[bytes.len() - kept..],
            size: bytes.len() as u64,
        };
        duration(recording).map(|found| found.as_secs_f64())
    }

    fn chunk(id: &[u8], body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32).to_le_bytes();
        [id, &size, body].concat()
    }

    #[test]
    fn avi_says_the_length_of_its_audio() {
        let avi = |pictures: u32, length: u32| {
            let numbers = |numbers: &[u32]| -> Vec<u8> {
                numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
            };
            let main = chunk(
                b"avih",
                &numbers(&[40_000, 0, 0, 0, pictures, 0, 2, 0, 0, 0]),
            );
            let stream = |kind: &[u8], length: u32| {
                let rest = numbers(&[0, 0, 0, 0, 1152, 44_100, 0, length, 0]);
                let head = chunk(b"strh", &[kind, &rest].concat());
                chunk(
                    b"LIST",
                    &[b"strl".to_vec(), head, chunk(b"strf", &[0; 40])].concat(),
                )
            };
            let list = [
                b"hdrl".to_vec(),
                main,
                stream(b"vids", 99),
                stream(b"auds", length),
            ];
            let list = chunk(b"LIST", &list.concat());
            [b"RIFF\0\0\0\0AVI ".to_vec(), list, chunk(b"LIST", b"movi")].concat()
        };
        assert_eq!(seconds(&avi(250, 441)), Some(1_152.0 / 100.0));
        assert_eq!(seconds(&avi(250, 0)), Some(10.0), "by its pictures");
        assert_eq!(seconds(&avi(0, 0)), None, "written by a pipe");
    }

    #[test]
    fn flv_says_the_time_of_its_last_tag() {
        let tag = |kind: u8, at: u32, size: usize| {
            let [_, a, b, c] = (size as u32).to_be_bytes();
            let [high, x, y, z] = at.to_be_bytes();
            let mut tag = vec![kind, a, b, c, x, y, z, high, 0, 0, 0];
            tag.resize(11 + size, 7);
            tag.extend((11 + size as u32).to_be_bytes());
            tag
        };
        let begin = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        let tags = [tag(18, 0, 100), tag(8, 0, 400), tag(8, 20_000_000, 300)].concat();
        let whole = [begin, tags].concat();
        assert_eq!(seconds(&whole), Some(20_000.0));
        assert_eq!(seconds_of_ends(&whole, 330), Some(20_000.0));
        assert_eq!(seconds(&whole[..whole.len() - 9]), None, "it was cut");
    }

    #[test]
    fn a_program_stream_is_measured_by_its_clock() {
        let pack = |ticks: u64, two: bool| {
            let field = |from: u32, count: u32| ticks >> from & ((1 << count) - 1);
            let parts = field(30, 3) << 32 | 1 << 31 | field(15, 15) << 16 | 1 << 15 | field(0, 15);
            let word: u64 = match two {
                true => 1 << 46 | parts << 11 | 1 << 10,
                false => 2 << 44 | parts << 9 | 1 << 8,
            };
            let bytes = word.to_be_bytes();
            [&[0, 0, 1, 0xba][..], &bytes[2..], &[0xff; 500]].concat()
        };
        for two in [true, false] {
            let ticks = |seconds: u64| (1 << 32) + seconds * 90_000;
            let file = [
                pack(ticks(0), two),
                pack(ticks(7), two),
                pack(ticks(75), two),
            ]
            .concat();
            assert_eq!(seconds(&file), Some(75.0));
            assert_eq!(seconds_of_ends(&file, 600), Some(75.0));
        }
    }
}
