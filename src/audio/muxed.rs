//! Containers of audio and video: AVI and FLV.

use super::bytes::{be32, le32, real};
use super::recording::Recording;

/// The maximum number of chunks read of an AVI. Each of its few streams has a handful.
const MOST_CHUNKS: usize = 256;

/// The minimum plausible number of bytes per second. Speech at the lowest rates has five times as
/// many.
const LEAST_RATE: f64 = 100.0;

/// AVI: the header of its audio stream, or else the number of its video frames. A writer to a pipe
/// leaves a length there that exceeds the file.
pub(super) fn avi(recording: Recording<'_>) -> Option<f64> {
    let holds = |seconds: &f64| *seconds > 0.0 && *seconds * LEAST_RATE <= real(recording.size);
    let head = recording.head;
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
                if holds(&seconds) {
                    return Some(seconds);
                }
            }
            _ => {}
        }
    }
    pictures.filter(holds)
}

/// FLV: from the timestamp of its first tag to that of its last, located by the last four bytes.
/// Recordings of live streams do not begin at zero.
pub(super) fn flv(recording: Recording<'_>) -> Option<f64> {
    const TAG_HEAD: u64 = 11;
    let end = recording.size.checked_sub(4)?;
    let size = u64::from(be32(recording.at(end, 4)?, 0)?);
    let tag = recording.at(end.checked_sub(size)?, 11)?;
    let content = u64::from(be32(tag, 0)? & 0xff_ffff);
    let is_tag = matches!(tag.first()?, 8 | 9) && content + TAG_HEAD == size;
    let played = flv_time(tag)?.checked_sub(flv_begin(recording.head)?)?;
    is_tag.then(|| f64::from(played) / 1e3)
}

/// The timestamp of the first tag with audio or video, after those with metadata.
fn flv_begin(head: &[u8]) -> Option<u32> {
    const MOST_TAGS: usize = 16;
    let mut at = usize::try_from(be32(head, 5)?).ok()?.checked_add(4)?;
    for _ in 0..MOST_TAGS {
        let tag = head.get(at..)?;
        if matches!(tag.first()?, 8 | 9) {
            return flv_time(tag);
        }
        let content = usize::try_from(be32(tag, 0)? & 0xff_ffff).ok()?;
        at = at.checked_add(content)?.checked_add(15)?;
    }
    None
}

/// The timestamp of a tag, in milliseconds.
fn flv_time(tag: &[u8]) -> Option<u32> {
    Some(be32(tag, 4)? >> 8 | u32::from(*tag.get(7)?) << 24)
}

#[cfg(test)]
mod tests {
    use super::super::measured::{seconds, seconds_of_ends};

    fn chunk(id: &[u8], body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32).to_le_bytes();
        [id, &size, body].concat()
    }

    #[test]
    fn avi_is_measured_by_its_audio_stream() {
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
            let movie = chunk(b"LIST", &[b"movi".to_vec(), vec![7; 4096]].concat());
            [b"RIFF\0\0\0\0AVI ".to_vec(), list, movie].concat()
        };
        assert_eq!(seconds(&avi(250, 441)), Some(1_152.0 / 100.0));
        assert_eq!(seconds(&avi(250, 0)), Some(10.0), "by its pictures");
        assert_eq!(seconds(&avi(0, 0)), None, "written by a pipe");
        for placeholder in [u32::MAX, 0x7fff_ffff, 1 << 30] {
            assert_eq!(seconds(&avi(0, placeholder)), None, "{placeholder}");
        }
    }

    #[test]
    fn flv_is_measured_by_its_last_tag() {
        let tag = |kind: u8, at: u32, size: usize| {
            let [_, a, b, c] = (size as u32).to_be_bytes();
            let [high, x, y, z] = at.to_be_bytes();
            let mut tag = vec![kind, a, b, c, x, y, z, high, 0, 0, 0];
            tag.resize(11 + size, 7);
            tag.extend((11 + size as u32).to_be_bytes());
            tag
        };
        let begin = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        let tags = |begin| {
            let last = tag(8, begin + 20_000_000, 300);
            [tag(18, 0, 100), tag(8, begin, 400), last].concat()
        };
        let whole = [begin.clone(), tags(0)].concat();
        assert_eq!(seconds(&whole), Some(20_000.0));
        assert_eq!(seconds_of_ends(&whole, 330), Some(20_000.0));
        let cut_from_live = [begin, tags(600_000)].concat();
        assert_eq!(seconds(&cut_from_live), Some(20_000.0));
        assert_eq!(seconds(&whole[..whole.len() - 9]), None, "it was cut");
    }
}
