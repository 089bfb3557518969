//! FLAC: the stream information, and the last frames if it has no length.

use super::bytes::{array, be16, be32, real};
use super::recording::Recording;

/// The offset of the eight bytes with the rate, channels, sample size and number of samples: after
/// the block's header and the sizes of blocks and frames.
const PACKED: usize = 4 + 10;

/// How much of the end is searched for the last frames. Frames are seldom longer than 16 KiB.
const LAST_FRAMES_WITHIN: usize = 256 * 1024;

/// The maximum length of a frame header.
const HEADER: usize = 16;

/// The duration in seconds of a file that begins with `fLaC`. An encoder that writes to a pipe
/// leaves 0 for the number of samples; the last frame is then used.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let info = recording.head.strip_prefix(b"fLaC")?;
    let packed = u64::from_be_bytes(array(info, PACKED)?);
    let samples = match packed & 0xf_ffff_ffff {
        0 => last_sample(info, recording.tail)?,
        samples => samples,
    };
    Some(real(samples) / f64::from(rate(info)?))
}

/// The sample rate, from the first metadata block, which is always the stream information.
pub(super) fn rate(bytes: &[u8]) -> Option<u32> {
    Some(be32(bytes, PACKED)? >> 12).filter(|rate| *rate > 0)
}

/// A frame: its first sample, and the first one after it.
#[derive(Clone, Copy)]
struct Frame {
    begin: u64,
    end: u64,
}

/// The number of samples before the end. Sample data may look like a header, so a frame counts only
/// if it begins where the previous one ends.
fn last_sample(info: &[u8], tail: &[u8]) -> Option<u64> {
    let tail = tail.get(tail.len().saturating_sub(LAST_FRAMES_WITHIN)..)?;
    let (mut before, mut end): (Option<Frame>, _) = (None, None);
    for at in memchr::memchr_iter(0xff, tail) {
        let Some(found) = tail.get(at..).and_then(|bytes| frame(info, bytes)) else {
            continue;
        };
        let follows = found.begin == before.map_or(0, |before| before.end);
        if follows || Some(found.begin) == end {
            end = Some(found.end);
        }
        before = Some(found);
    }
    end
}

/// The frame whose header begins here, if it belongs to this stream.
fn frame(info: &[u8], bytes: &[u8]) -> Option<Frame> {
    let header = be32(bytes, 0)?;
    let is_sync = header >> 17 == 0x7ffc && header & 1 == 0;
    let channels = match (header >> 4) & 15 {
        code @ 0..=7 => code,
        8..=10 => 1,
        _ => return None,
    };
    // Rate and channels minus one, in their packed form.
    if !is_sync || channels != (be32(info, PACKED)? >> 9) & 7 {
        return None;
    }
    let (number, mut at) = number(bytes.get(4..HEADER.min(bytes.len()))?)?;
    at += 4;
    let code = (header >> 12) & 15;
    let size = match code {
        0 => return None,
        1 => 192,
        2..=5 => 576 << (code - 2),
        6 => u32::from(*bytes.get(at)?) + 1,
        7 => u32::from(be16(bytes, at)?) + 1,
        _ => 256 << (code - 8),
    };
    at += match code {
        6 => 1,
        7 => 2,
        _ => 0,
    };
    at += match (header >> 8) & 15 {
        12 => 1,
        13 | 14 => 2,
        15 => return None,
        _ => 0,
    };
    if crc8(bytes.get(..at)?) != *bytes.get(at)? {
        return None;
    }
    let is_variable = header >> 16 & 1 == 1;
    let begin = match is_variable {
        true => number,
        // The frame number times the fixed block size. The last block may be shorter, so without a
        // fixed size its position is unknown.
        false => number * u64::from(be16(info, 6).filter(|size| *size > 0)?),
    };
    Some(Frame {
        begin,
        end: begin + u64::from(size),
    })
}

/// A number in FLAC's UTF-8 coding of up to seven bytes, and its length.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = match usize::try_from(first.leading_ones()).ok()? {
        0 => return Some((u64::from(first), 1)),
        length @ 2..=7 => length,
        _ => return None,
    };
    let begin = u64::from(first) & (0x7f >> length);
    let rest = bytes.get(1..length)?;
    let number = rest.iter().try_fold(begin, |number, byte| {
        (byte & 0xc0 == 0x80).then_some(number << 6 | u64::from(byte & 0x3f))
    });
    Some((number?, length))
}

/// The checksum of a frame header.
fn crc8(bytes: &[u8]) -> u8 {
    const POLYNOMIAL: u8 = 0x07;
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ byte, |sum, _| match sum & 0x80 {
            0 => sum << 1,
            _ => sum << 1 ^ POLYNOMIAL,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream from a pipe: mono of 16 bits at 16 kHz in frames of 4096 samples.
    fn stream(frames: u64, variable: bool, last: u16) -> Vec<u8> {
        let mut file = b"fLaC\x80\0\0\x22\x10\0\x10\0\0\0\0\0\0\0".to_vec();
        file.extend((16_000u64 << 44 | 15 << 36).to_be_bytes());
        file.extend([0; 16]);
        for n in 0..frames {
            let mut header = vec![0xff, 0xf8 | u8::from(variable), 0xc5, 0x08];
            let is_last = n + 1 == frames;
            if is_last {
                header[2] = 0x75;
            }
            let number = if variable { n * 4096 } else { n };
            let text = char::from_u32(number as u32).unwrap();
            header.extend(text.encode_utf8(&mut [0; 4]).as_bytes());
            if is_last {
                header.extend((last - 1).to_be_bytes());
            }
            header.push(crc8(&header));
            file.extend(&header);
            if n % 3 == 0 {
                // Samples that look like the header of another frame.
                let mut decoy = vec![0xff, 0xf8, 0xc5, 0x08, 0x7f];
                decoy.push(crc8(&decoy));
                file.extend(decoy);
            }
            file.extend([0x55; 500]);
        }
        file
    }

    #[test]
    fn a_piped_stream_is_measured_by_its_last_frames() {
        for variable in [false, true] {
            let file = stream(200, variable, 1000);
            let expected = (199.0 * 4096.0 + 1000.0) / 16_000.0;
            assert_eq!(seconds(Recording::whole(&file)), Some(expected));
            let ends = Recording {
                head: &file[..1000],
                tail: &file[file.len() - 5_000..],
                size: file.len() as u64,
            };
            assert_eq!(seconds(ends), Some(expected));
        }
        let one = stream(1, false, 800);
        assert_eq!(seconds(Recording::whole(&one)), Some(0.05));
    }

    #[test]
    fn a_piped_stream_without_its_frames_has_no_duration() {
        let file = stream(200, false, 1000);
        let ends = Recording {
            head: &file[..1000],
            tail: &file[file.len() - 400..],
            size: file.len() as u64,
        };
        assert_eq!(seconds(ends), None);
    }
}
