//! Repairs WAV files as recorders write them: `audio/wave.rs` reads the header leniently, as
//! DashScope's decoder does, and it is rebuilt with the actual sizes for a decoder that trusts
//! them.

use bytes::Bytes;

use crate::audio::recording::Recording;
use crate::audio::wave::{self, Layout, tag};

/// The longest `fmt ` chunk that is kept, in bytes.
const FORMAT_BYTES: u64 = 512;

/// The bytes of the fields that every `fmt ` chunk has.
const FIELDS: u64 = 16;

/// The `fmt ` chunk, with derived fields corrected.
#[derive(Debug)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    block: u16,
    bits: u16,
    /// The bytes after these fields, for formats that are not rebuilt.
    rest: Bytes,
}

/// Rebuilds a WAV file (RIFF, RIFX, RF64 or BW64) of at most `seconds`, with its actual sizes.
///
/// Returns `None` if it is no WAV file, or has no format or data.
pub(super) fn rebuilt(file: &Bytes, seconds: u64) -> Option<Bytes> {
    let layout = wave::layout(Recording::whole(file))?;
    let format = Format::of(&layout, file)?;
    let rate = u64::from(format.rate) * u64::from(format.block);
    let (at, length) = layout.data;
    let data = part(file, at, length.min(rate.saturating_mul(seconds)))?;
    if data.is_empty() {
        return None;
    }
    Some(format.write(&data, layout.big))
}

/// Up to `length` bytes from an offset on.
fn part(file: &Bytes, at: u64, length: u64) -> Option<Bytes> {
    let begin = usize::try_from(at).ok()?;
    let end = usize::try_from(at.checked_add(length)?).ok()?;
    (begin <= file.len()).then(|| file.slice(begin..end.min(file.len())))
}

impl Format {
    fn of(layout: &Layout, file: &Bytes) -> Option<Self> {
        let said = layout.format;
        let (at, size) = layout.format_at;
        let short = |number: u32| u16::try_from(number).ok();
        let size = size.clamp(FIELDS, FORMAT_BYTES);
        let mut format = Self {
            tag: said.tag,
            channels: short(said.channels)?,
            rate: said.rate,
            block: short(said.block)?,
            bits: short(said.bits)?,
            rest: part(file, at + FIELDS, size - FIELDS)?,
        };
        if matches!(said.tag, tag::PCM | tag::FLOAT | tag::A_LAW | tag::MU_LAW) {
            format.block = short(said.frame())?;
            format.bits = format.block / format.channels * 8;
        }
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
    use super::super::audio_decoder::{DecodedAudio, decode};
    use super::super::decode_budget::Budget;
    use super::*;

    /// One second at 8000 Hz in 16 bits.
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
    fn decoded(file: &Bytes) -> DecodedAudio {
        let recording = decode(file.clone(), 30, &mut Budget::default());
        recording.unwrap_or_else(|| panic!("{:?} is not decoded", file.slice(..48)))
    }

    #[track_caller]
    fn is_a_second(file: &Bytes, about: &str) {
        let recording = decoded(file);
        assert_eq!((recording.rate, recording.channels), (8000, 1), "{about}");
        assert!(
            (recording.seconds() - 1.0).abs() < 0.01,
            "{about}: {}",
            recording.seconds()
        );
    }

    #[test]
    fn headers_of_all_recorders_are_read() {
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
    fn wrong_sizes_are_ignored() {
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
    fn other_chunks_are_not_decoded() {
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
    fn big_endian_files_decode_like_little_endian_ones() {
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
        assert_eq!(decoded(&Bytes::from(big)).samples, decoded(&little).samples);
    }

    #[test]
    fn other_formats_are_not_rebuilt() {
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
