//! WAV files as recorders write them: the header is read leniently, as DashScope's decoder does,
//! and rebuilt with the sizes that are true.
//!
//! A recorder that streams cannot know the sizes and writes 0, 0x7FFFFFFF, 0xFFFFFFFF or another
//! placeholder; telephony writes mu-law with any `fmt` size; old recorders leave out the pad byte
//! of a chunk of odd size.

use bytes::Bytes;

/// The longest header of a rebuilt file: `RIFF`, `fmt ` with all extensions that are kept, `data`.
const FORMAT_BYTES: usize = 512;
/// `data` stands within this many bytes when the chunks before it cannot be followed.
const SEARCHED_BYTES: usize = 64 * 1024;
/// Chunks of a file that are followed; recorders write a handful.
const CHUNKS: usize = 64;

/// The codes of the formats that are rebuilt.
mod tag {
    pub(super) const PCM: u16 = 1;
    pub(super) const FLOAT: u16 = 3;
    pub(super) const A_LAW: u16 = 6;
    pub(super) const MU_LAW: u16 = 7;
    pub(super) const EXTENSIBLE: u16 = 0xfffe;
}

/// The end that the sub-formats of an extensible format share (`KSDATAFORMAT_SUBTYPE_*`).
const SUB_FORMAT: [u8; 14] = [0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113];
/// The same in a big-endian file.
const SUB_FORMAT_BIG: [u8; 14] = [0, 0, 0, 0, 0, 16, 128, 0, 0, 170, 0, 56, 155, 113];

/// Where things stand in a file.
#[derive(Debug, Default)]
struct Layout {
    format: Option<(usize, usize)>,
    data: Option<(usize, usize)>,
}

/// The `fmt ` chunk, with what can be derived put right.
#[derive(Debug)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    block: u16,
    bits: u16,
    /// What follows these fields, for formats that are not rebuilt.
    rest: Bytes,
}

/// Rebuilds a WAV file (RIFF, RIFX, RF64 or BW64) of at most `seconds`, with true sizes.
///
/// None if it is no WAV file, or has no format or no data.
pub(super) fn rebuilt(file: &Bytes, seconds: u64) -> Option<Bytes> {
    let big = match file.get(..4)? {
        b"RIFF" | b"RF64" | b"BW64" => false,
        b"RIFX" => true,
        _ => return None,
    };
    if file.get(8..12)? != b"WAVE" {
        return None;
    }
    let layout = layout(file, big);
    let (at, length) = layout.format?;
    let format = Format::read(&file.slice(at..at.checked_add(length)?), big)?;
    let (at, length) = layout.data?;
    let rate = u64::from(format.rate) * u64::from(format.block);
    let most = usize::try_from(rate.saturating_mul(seconds)).unwrap_or(usize::MAX);
    let data = file.slice(at..at.checked_add(length.min(most))?);
    if data.is_empty() {
        return None;
    }
    Some(format.write(&data, big))
}

fn number(file: &[u8], at: usize, big: bool) -> Option<u32> {
    let bytes: [u8; 4] = file.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(match big {
        true => u32::from_be_bytes(bytes),
        false => u32::from_le_bytes(bytes),
    })
}

fn short(file: &[u8], at: usize, big: bool) -> Option<u16> {
    let bytes: [u8; 2] = file.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(match big {
        true => u16::from_be_bytes(bytes),
        false => u16::from_le_bytes(bytes),
    })
}

/// A chunk at this place: its name, and where its content begins and how long it says that it is.
fn chunk(file: &[u8], at: usize, big: bool) -> Option<(&[u8], usize, usize)> {
    let name = file.get(at..at.checked_add(4)?)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'_');
    let size = number(file, at + 4, big)?;
    let named = name.iter().all(plain) && name.first() != Some(&b' ');
    named.then_some((name, at + 8, usize::try_from(size).ok()?))
}

fn layout(file: &[u8], big: bool) -> Layout {
    let mut layout = Layout::default();
    let mut long = None;
    let mut at = 12;
    for _ in 0..CHUNKS {
        let Some((name, body, size)) = chunk(file, at, big) else {
            break;
        };
        match name {
            b"ds64" => {
                let low = number(file, body + 8, big).unwrap_or(0);
                let high = number(file, body + 12, big).unwrap_or(0);
                let size = u64::from(high) << 32 | u64::from(low);
                long = usize::try_from(size).ok();
            }
            b"fmt " => layout.format = Some(format_extent(file, body, size)),
            b"data" => {
                let size = match (size, long) {
                    (0xffff_ffff, Some(long)) => long,
                    (size, _) => size,
                };
                layout.data = Some((body, data_length(file, body, size, big)));
                break;
            }
            _ => {}
        }
        at = next(file, body, size, big);
    }
    if layout.data.is_none() && layout.format.is_some() {
        let head = file.get(..SEARCHED_BYTES).unwrap_or(file);
        let found = head.windows(4).position(|four| four == b"data");
        let found = found.map(|at| at + 8).filter(|at| *at < file.len());
        layout.data = found.map(|at| (at, file.len() - at));
    }
    layout
}

/// The format is at least what PCM needs, whatever its size says.
fn format_extent(file: &[u8], body: usize, size: usize) -> (usize, usize) {
    let left = file.len().saturating_sub(body);
    (body, size.clamp(16, FORMAT_BYTES).min(left))
}

/// Where the chunk after this one begins: odd sizes are padded, except by recorders that forget it.
fn next(file: &[u8], body: usize, size: usize, big: bool) -> usize {
    let end = body.saturating_add(size);
    let padded = end.saturating_add(size % 2);
    let forgotten = file.get(end).is_some_and(|pad| *pad != 0) && chunk(file, end, big).is_some();
    if forgotten { end } else { padded }
}

/// How much of what follows is audio: what the size says, unless it is a placeholder (0 or more
/// than there is) or is followed by what cannot be chunks.
fn data_length(file: &[u8], body: usize, size: usize, big: bool) -> usize {
    let left = file.len().saturating_sub(body);
    if size == 0 || size >= left {
        return left;
    }
    let mut at = next(file, body, size, big);
    for _ in 0..CHUNKS {
        if file.len().saturating_sub(at) < 8 {
            return size;
        }
        match chunk(file, at, big) {
            Some((_, body, size)) if body.saturating_add(size) <= file.len() => {
                at = next(file, body, size, big);
            }
            Some(_) | None => return left,
        }
    }
    size
}

/// The format that an extensible one extends: the first two bytes of its sub-format, which is
/// found by its constant end, because not all recorders write it at its place.
fn extended(chunk: &[u8], big: bool) -> u16 {
    let end = match big {
        true => &SUB_FORMAT_BIG,
        false => &SUB_FORMAT,
    };
    let at = chunk.windows(end.len()).position(|found| found == end);
    let tag = at.and_then(|at| short(chunk, at.checked_sub(2)?, big));
    tag.unwrap_or(tag::PCM)
}

impl Format {
    fn read(chunk: &Bytes, big: bool) -> Option<Self> {
        let said = short(chunk, 0, big)?;
        let channels = short(chunk, 2, big)?.max(1);
        let rate = number(chunk, 4, big)?;
        let block = short(chunk, 12, big)?;
        let bits = short(chunk, 14, big)?;
        let tag = match said {
            tag::EXTENSIBLE => extended(chunk, big),
            tag => tag,
        };
        let rest = chunk.slice(16.min(chunk.len())..);
        let mut format = Self {
            tag,
            channels,
            rate,
            block,
            bits,
            rest,
        };
        let sample = match tag {
            tag::A_LAW | tag::MU_LAW => 1,
            tag::PCM | tag::FLOAT => match (bits.div_ceil(8), block / channels) {
                // 20 bits in 4 bytes: the block says how wide a sample is stored.
                (said, stored) if stored >= said && stored <= 8 && stored > 0 => stored,
                (0, _) => 2,
                (said, _) => said,
            },
            _ => return Some(format),
        };
        format.bits = sample * 8;
        format.block = sample.checked_mul(channels)?;
        Some(format)
    }

    fn write(&self, data: &[u8], big: bool) -> Bytes {
        let rest: &[u8] = match self.tag {
            tag::PCM | tag::FLOAT => &[],
            tag::A_LAW | tag::MU_LAW => &[0, 0],
            _ => &self.rest,
        };
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut file = Vec::with_capacity(data.len() + rest.len() + 46);
        file.extend(b"RIFF");
        file.extend(size(4 + 8 + 16 + rest.len() + 8 + data.len()));
        file.extend(b"WAVEfmt ");
        file.extend(size(16 + rest.len()));
        file.extend(self.tag.to_le_bytes());
        file.extend(self.channels.to_le_bytes());
        file.extend(self.rate.to_le_bytes());
        let bytes = self.rate.saturating_mul(u32::from(self.block));
        file.extend(bytes.to_le_bytes());
        file.extend(self.block.to_le_bytes());
        file.extend(self.bits.to_le_bytes());
        file.extend(rest);
        file.extend(b"data");
        file.extend(size(data.len()));
        let from = file.len();
        file.extend(data);
        let width = usize::from(self.bits / 8);
        if big && width > 1 {
            for sample in file.get_mut(from..).unwrap_or_default().chunks_mut(width) {
                sample.reverse();
            }
        }
        Bytes::from(file)
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::sound::{Sound, decode};
    use super::*;

    /// A second at 8000 Hz in 16 bits.
    fn samples() -> Vec<u8> {
        let sample = |n: i16| (n % 80 * 100 - 4000).to_le_bytes();
        (0..8000).flat_map(sample).collect()
    }

    fn format(tag: u16, block: u16, bits: u16, rest: &[u8]) -> Vec<u8> {
        let mut fmt = Vec::new();
        fmt.extend(tag.to_le_bytes());
        fmt.extend(1_u16.to_le_bytes());
        fmt.extend(8000_u32.to_le_bytes());
        fmt.extend((8000 * u32::from(block)).to_le_bytes());
        fmt.extend(block.to_le_bytes());
        fmt.extend(bits.to_le_bytes());
        fmt.extend(rest);
        fmt
    }

    fn chunk(name: &[u8; 4], size: u32, content: &[u8]) -> Vec<u8> {
        [name, &size.to_le_bytes()[..], content].concat()
    }

    fn riff(name: &[u8; 4], size: u32, chunks: &[Vec<u8>]) -> Bytes {
        let head = [&name[..], &size.to_le_bytes(), b"WAVE"].concat();
        Bytes::from([head, chunks.concat()].concat())
    }

    #[track_caller]
    fn heard(file: &Bytes) -> Sound {
        let sound = decode(file.clone(), 30, &mut Budget::default());
        sound.unwrap_or_else(|| panic!("{:?} is not decoded", file.slice(..48)))
    }

    #[track_caller]
    fn is_a_second(file: &Bytes, about: &str) {
        let sound = heard(file);
        assert_eq!((sound.rate, sound.channels), (8000, 1), "{about}");
        assert!(
            (sound.seconds() - 1.0).abs() < 0.01,
            "{about}: {}",
            sound.seconds()
        );
    }

    #[test]
    fn every_recorders_header_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "wav") {
                let name = path.display().to_string();
                is_a_second(&Bytes::from(std::fs::read(path).unwrap()), &name);
                count += 1;
            }
        }
        assert!(count >= 11, "{count} samples");
    }

    #[test]
    fn sizes_that_are_wrong_are_not_believed() {
        let pcm = samples();
        let fmt = format(1, 2, 16, &[]);
        let true_size = 16_000;
        for riff_size in [0, 36, 0x7fff_ffbf, 0x7fff_ffff, 0xffff_ffff, 0x8000_0000] {
            for data_size in [0, 100, 0x7fff_ff9b, 0x7fff_ffff, 0xffff_ffff, true_size] {
                let chunks = [chunk(b"fmt ", 16, &fmt), chunk(b"data", data_size, &pcm)];
                let about = format!("{riff_size:x} {data_size:x}");
                is_a_second(&riff(b"RIFF", riff_size, &chunks), &about);
            }
        }
    }

    #[test]
    fn chunks_beside_the_audio_are_not_heard() {
        let (fmt, pcm) = (chunk(b"fmt ", 16, &format(1, 2, 16, &[])), samples());
        let data = chunk(b"data", 16_000, &pcm);
        for (about, chunks) in [
            (
                "odd and padded",
                vec![fmt.clone(), chunk(b"LIST", 5, b"INFOx\0"), data.clone()],
            ),
            (
                "odd, no pad",
                vec![fmt.clone(), chunk(b"LIST", 5, b"INFOx"), data.clone()],
            ),
            (
                "junk first",
                vec![chunk(b"JUNK", 28, &[0; 28]), fmt.clone(), data.clone()],
            ),
            (
                "a list last",
                vec![fmt.clone(), data.clone(), chunk(b"LIST", 4, b"INFO")],
            ),
            (
                "a size too large",
                vec![fmt.clone(), chunk(b"LIST", 900_000, b"INFO"), data.clone()],
            ),
            (
                "bytes after it",
                vec![fmt.clone(), data.clone(), vec![0; 3]],
            ),
        ] {
            is_a_second(&riff(b"RIFF", 0, &chunks), about);
        }
    }

    #[test]
    fn formats_are_read_whatever_their_size() {
        let extended = |sub: u16| {
            let guid = [
                &sub.to_le_bytes()[..],
                &[0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113],
            ];
            [&[22, 0, 16, 0, 4, 0, 0, 0][..], &guid.concat()].concat()
        };
        let law = vec![0x7f; 8000];
        let floats: Vec<u8> = (0..8000_u16)
            .flat_map(|n| (f32::from(n % 80) / 99.0).to_le_bytes())
            .collect();
        let wide: Vec<u8> = samples()
            .chunks(2)
            .flat_map(|two| [0, two[0], two[1]])
            .collect();
        for (about, fmt, size, data) in [
            ("mu-law of 16", format(7, 1, 8, &[]), 16, law.clone()),
            ("mu-law of 18", format(7, 1, 8, &[0, 0]), 18, law.clone()),
            (
                "mu-law of 20",
                format(7, 1, 8, &[0, 0, 0, 0]),
                20,
                law.clone(),
            ),
            ("A-law without bits", format(6, 0, 0, &[]), 16, law.clone()),
            (
                "A-law that says 16 bits",
                format(6, 2, 16, &[]),
                16,
                law.clone(),
            ),
            ("PCM of 20", format(1, 2, 16, &[0, 0, 0, 0]), 20, samples()),
            ("PCM without bits", format(1, 2, 0, &[]), 16, samples()),
            (
                "PCM with a wrong block",
                format(1, 0, 16, &[]),
                16,
                samples(),
            ),
            ("24 bits", format(1, 3, 24, &[]), 16, wide),
            (
                "extensible PCM",
                format(0xfffe, 2, 16, &extended(1)),
                40,
                samples(),
            ),
            (
                "extensible mu-law",
                format(0xfffe, 1, 8, &extended(7)),
                40,
                law.clone(),
            ),
            ("extensible, cut", format(0xfffe, 2, 16, &[]), 16, samples()),
            ("floats", format(3, 4, 32, &[]), 16, floats),
        ] {
            let chunks = [chunk(b"fmt ", size, &fmt), chunk(b"data", 0, &data)];
            is_a_second(&riff(b"RIFF", 0, &chunks), about);
        }
    }

    #[test]
    fn big_endian_files_sound_like_little_endian_ones() {
        let pcm = samples();
        let little = riff(
            b"RIFF",
            0,
            &[
                chunk(b"fmt ", 16, &format(1, 2, 16, &[])),
                chunk(b"data", 16_000, &pcm),
            ],
        );
        let swap = |bytes: &[u8], width: usize| -> Vec<u8> {
            bytes
                .chunks(width)
                .flat_map(|one| one.iter().rev().copied())
                .collect()
        };
        let fmt = format(1, 2, 16, &[]);
        let fmt = [
            swap(&fmt[..4], 2),
            swap(&fmt[4..12], 4),
            swap(&fmt[12..], 2),
        ]
        .concat();
        let big = [
            &b"RIFX\0\0\0\0WAVEfmt \0\0\0\x10"[..],
            &fmt,
            b"data\0\0\x3e\x80",
            &swap(&pcm, 2),
        ]
        .concat();
        assert_eq!(heard(&Bytes::from(big)).samples, heard(&little).samples);
    }

    #[test]
    fn what_is_no_wav_is_left_alone() {
        for bytes in [
            &b""[..],
            b"RIFF",
            b"RIFF....AVI LIST",
            b"RIFF....WAVE",
            b"fLaC............",
        ] {
            assert!(rebuilt(&Bytes::copy_from_slice(bytes), 9).is_none());
        }
    }
}
