//! WAVE: RIFF, RIFX, RF64 and BW64, as written by real recorders.
//!
//! The duration is computed from the size of a sample in the format, not from the byte rate of the
//! header, which encoders of compressed formats write wrong.

use memchr::memmem;

use super::bytes::{array, real};
use super::frames;
use super::recording::Recording;

/// The maximum number of chunks read. Real files have fewer than ten.
const MOST_CHUNKS: usize = 256;

/// The least size that is a placeholder: recorders write such sizes when the length is unknown, and
/// DashScope's speech streams always do.
const PLACEHOLDER: u32 = 0x7fff_0000;

/// How far `data` is searched for if the chunks before it are invalid.
const DATA_WITHIN: usize = 64 * 1024;

/// The minimum plausible byte rate: below the narrowest speech codecs.
const LOWEST_BYTE_RATE: u32 = 64;

/// The common suffix of the sub-formats of an extensible format (`KSDATAFORMAT_SUBTYPE_*`).
const SUB_FORMAT: [u8; 14] = [0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113];
/// The suffix in a big-endian file.
const SUB_FORMAT_BIG: [u8; 14] = [0, 0, 0, 0, 0, 16, 128, 0, 0, 170, 0, 56, 155, 113];

/// Format codes (RFC 2361).
pub mod tag {
    /// Integers, uncompressed.
    pub const PCM: u16 = 1;
    pub(super) const MS_ADPCM: u16 = 2;
    /// Floating-point numbers, uncompressed.
    pub const FLOAT: u16 = 3;
    /// One byte per sample (G.711).
    pub const A_LAW: u16 = 6;
    /// One byte per sample (G.711).
    pub const MU_LAW: u16 = 7;
    pub(super) const IMA_ADPCM: u16 = 0x11;
    pub(super) const GSM: u16 = 0x31;
    pub(super) const MPEG: u16 = 0x50;
    pub(super) const MP3: u16 = 0x55;
    pub(super) const AAC: u16 = 0xff;
    pub(super) const AAC_ADTS: u16 = 0x1600;
    pub(super) const EXTENSIBLE: u16 = 0xfffe;
}

/// The layout of a WAVE file, and its format.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Whether its numbers are big-endian.
    pub big: bool,
    /// The format.
    pub format: Format,
    /// The offset of the `fmt ` chunk's content, and its declared size.
    pub format_at: (u64, u64),
    /// The offset of the samples, and their size in bytes, which may differ from the declared one.
    pub data: (u64, u64),
    /// The declared number of samples, if plausible.
    samples: Option<u32>,
}

/// Parses the header of a WAVE file (RIFF, RIFX, RF64 or BW64) as written by real recorders.
pub fn layout(recording: Recording<'_>) -> Option<Layout> {
    let head = recording.head;
    let big = match head.get(..4)? {
        b"RIFF" | b"RF64" | b"BW64" => false,
        b"RIFX" => true,
        _ => return None,
    };
    if head.get(8..12)? != b"WAVE" {
        return None;
    }
    let file = File { recording, big };
    let mut at = 12;
    let (mut format, mut samples, mut large) = (None, None, None);
    let found = |format: Option<(Format, u64, u64)>, data, samples| {
        let (format, begin, size) = format?;
        Some(Layout {
            big,
            format,
            format_at: (begin, size),
            data,
            samples,
        })
    };
    for _ in 0..MOST_CHUNKS {
        let Some(chunk) = file.chunk(at) else {
            break;
        };
        let body = chunk.body;
        match &chunk.id {
            b"fmt " => {
                let read = Format::read(file, body);
                format = read.map(|read| (read, body, u64::from(chunk.size)));
            }
            b"fact" => samples = file.long(body).filter(|n| (1..PLACEHOLDER).contains(n)),
            b"ds64" => large = file.longer(body + 8),
            b"data" => {
                let said = match chunk.size {
                    u32::MAX => large.unwrap_or(0),
                    PLACEHOLDER.. => 0,
                    size => u64::from(size),
                };
                let there = file.data(body, said);
                // The count of an incomplete recording is not used.
                let samples = samples.filter(|_| there == said);
                return found(format, (body, there), samples);
            }
            _ => {}
        }
        at = file.after(&chunk);
    }
    let searched = head.get(..DATA_WITHIN).unwrap_or(head);
    let body = u64::try_from(memmem::find(searched, b"data")? + 8).ok()?;
    let there = recording.size.checked_sub(body)?;
    found(format, (body, there), None)
}

/// The duration in seconds.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let layout = layout(recording)?;
    let big = layout.big;
    let file = File { recording, big };
    let (body, there) = layout.data;
    layout.format.seconds(file, body, there, layout.samples)
}

/// The duration in seconds of samples in a file of another layout with little-endian numbers: their
/// format, offset and size are given.
pub(super) fn seconds_of(
    recording: Recording<'_>,
    (format, body, size): (u64, u64, u64),
) -> Option<f64> {
    let big = false;
    let file = File { recording, big };
    Format::read(file, format)?.seconds(file, body, size, None)
}

/// A file of chunks, with its byte order.
#[derive(Clone, Copy)]
struct File<'a> {
    recording: Recording<'a>,
    big: bool,
}

/// The head of a chunk.
struct Chunk {
    id: [u8; 4],
    body: u64,
    size: u32,
}

impl File<'_> {
    fn short(self, at: u64) -> Option<u16> {
        let bytes = array(self.recording.at(at, 2)?, 0)?;
        Some(match self.big {
            true => u16::from_be_bytes(bytes),
            false => u16::from_le_bytes(bytes),
        })
    }

    fn long(self, at: u64) -> Option<u32> {
        let bytes = array(self.recording.at(at, 4)?, 0)?;
        Some(match self.big {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        })
    }

    /// A 64-bit number whose low half comes first.
    fn longer(self, at: u64) -> Option<u64> {
        Some(u64::from(self.long(at + 4)?) << 32 | u64::from(self.long(at)?))
    }

    /// The chunk at this offset, if valid.
    fn chunk(self, at: u64) -> Option<Chunk> {
        let id: [u8; 4] = array(self.recording.at(at, 4)?, 0)?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'_');
        let named = id.iter().all(plain) && id.first() != Some(&b' ');
        named.then_some(Chunk {
            id,
            body: at + 8,
            size: self.long(at + 4)?,
        })
    }

    /// The offset of the next chunk: odd sizes are padded, except by some recorders.
    fn after(self, chunk: &Chunk) -> u64 {
        let end = chunk.body + u64::from(chunk.size);
        self.padded(end, chunk.size % 2 == 1)
    }

    fn padded(self, end: u64, odd: bool) -> u64 {
        let pad = self.recording.at(end, 1).and_then(|pad| pad.first());
        let forgotten = pad.is_some_and(|pad| *pad != 0) && self.chunk(end).is_some();
        end + u64::from(odd && !forgotten)
    }

    /// The number of sample bytes from this offset: the declared size, unless that is 0, exceeds
    /// the file, or is followed by invalid chunks. Bytes that are not in memory are not checked.
    fn data(self, body: u64, said: u64) -> u64 {
        let size = self.recording.size;
        let left = size.saturating_sub(body);
        if said == 0 || said >= left {
            return left;
        }
        let mut at = self.padded(body + said, said % 2 == 1);
        for _ in 0..MOST_CHUNKS {
            if size.saturating_sub(at) < 8 || self.recording.at(at, 8).is_none() {
                return said;
            }
            match self.chunk(at) {
                Some(chunk) if chunk.body + u64::from(chunk.size) <= size => {
                    at = self.after(&chunk)
                }
                Some(_) | None => return left,
            }
        }
        said
    }
}

/// The `fmt ` chunk.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The format code, or the sub-format's for an extensible format.
    pub tag: u16,
    /// The number of channels, at least one.
    pub channels: u32,
    /// The sample rate in Hz.
    pub rate: u32,
    byte_rate: u32,
    /// The declared number of bytes per block.
    pub block: u32,
    /// The declared number of bits per sample.
    pub bits: u32,
}

impl Format {
    fn read(file: File<'_>, body: u64) -> Option<Self> {
        let tag = match file.short(body)? {
            tag::EXTENSIBLE => sub_format(file, body),
            tag => tag,
        };
        Some(Self {
            tag,
            channels: u32::from(file.short(body + 2)?.max(1)),
            rate: file.long(body + 4).filter(|rate| *rate > 0)?,
            byte_rate: file.long(body + 8)?,
            block: u32::from(file.short(body + 12)?),
            bits: u32::from(file.short(body + 14)?),
        })
    }

    /// The duration in seconds of this many bytes. `samples` is the declared number of samples.
    fn seconds(self, file: File<'_>, body: u64, size: u64, samples: Option<u32>) -> Option<f64> {
        let found = match self.tag {
            tag::PCM | tag::FLOAT | tag::A_LAW | tag::MU_LAW => {
                self.of_blocks(size, self.frame(), 1)
            }
            tag::MS_ADPCM => {
                let samples = self.in_block(7, 4, 2);
                samples.and_then(|samples| self.of_blocks(size, self.block, samples))
            }
            tag::IMA_ADPCM => {
                let bits = if (2..=5).contains(&self.bits) {
                    self.bits
                } else {
                    4
                };
                let samples = self.in_block(4, bits, 1);
                samples.and_then(|samples| self.of_blocks(size, self.block, samples))
            }
            tag::GSM => self.of_blocks(size, 65, 320),
            tag::MPEG | tag::MP3 | tag::AAC | tag::AAC_ADTS => {
                let begin = usize::try_from(body).ok()?;
                frames::mpeg(Recording {
                    head: file.recording.head.get(begin..).unwrap_or_default(),
                    tail: file.recording.tail,
                    size,
                })
            }
            _ => None,
        };
        found.or_else(|| {
            if let Some(samples) = samples {
                return Some(f64::from(samples) / f64::from(self.rate));
            }
            // No format takes more than 64 bits per sample.
            let highest = u64::from(self.rate) * u64::from(self.channels) * 8;
            let believed = u64::from(LOWEST_BYTE_RATE)..=highest;
            believed
                .contains(&u64::from(self.byte_rate))
                .then(|| real(size) / f64::from(self.byte_rate))
        })
    }

    /// The duration in seconds of blocks of this many bytes and samples.
    fn of_blocks(self, size: u64, bytes: u32, samples: u32) -> Option<f64> {
        let blocks = (bytes > 0).then(|| real(size) / f64::from(bytes))?;
        Some(blocks * f64::from(samples) / f64::from(self.rate))
    }

    /// The bytes of one sample of all channels, if samples are not coded in blocks.
    pub fn frame(self) -> u32 {
        let sample = match (self.tag, self.bits.div_ceil(8), self.block / self.channels) {
            (tag::A_LAW | tag::MU_LAW, _, _) => 1,
            // 20 bits in 4 bytes: the block size determines the stored width.
            (_, said, stored) if stored >= said && (1..=8).contains(&stored) => stored,
            (_, 0, _) => 2,
            (_, said, _) => said,
        };
        sample * self.channels
    }

    /// The samples of a block that begins with a header of this many bytes per channel, which
    /// contains the first samples.
    fn in_block(self, head: u32, bits: u32, first: u32) -> Option<u32> {
        let coded = self.block.checked_sub(head * self.channels)?;
        Some(coded * 8 / (bits * self.channels) + first)
    }
}

/// The sub-format of an extensible format. It precedes the constant suffix, which some recorders
/// misplace.
fn sub_format(file: File<'_>, body: u64) -> u16 {
    let end = match file.big {
        true => &SUB_FORMAT_BIG,
        false => &SUB_FORMAT,
    };
    /// An extensible format without private extensions.
    const SIZE: usize = 40;
    let chunk = file.recording.at(body, SIZE).unwrap_or_default();
    let at = memmem::find(chunk, end).and_then(|at| u64::try_from(at.checked_sub(2)?).ok());
    at.and_then(|at| file.short(body + at)).unwrap_or(tag::PCM)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `fmt ` chunk: code, channels, rate, byte rate, block, bits, and the rest.
    fn format(tag: u16, numbers: (u16, u32, u32, u16, u16), rest: &[u8]) -> Vec<u8> {
        let (channels, rate, byte_rate, block, bits) = numbers;
        let body = [
            &tag.to_le_bytes()[..],
            &channels.to_le_bytes(),
            &rate.to_le_bytes(),
            &byte_rate.to_le_bytes(),
            &block.to_le_bytes(),
            &bits.to_le_bytes(),
            rest,
        ];
        chunk(b"fmt ", &body.concat())
    }

    fn chunk(id: &[u8], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len()).unwrap().to_le_bytes();
        [id, &size, body].concat()
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        [&b"RIFF\0\0\0\0WAVE"[..], &chunks.concat()].concat()
    }

    #[track_caller]
    fn close(bytes: &[u8], expected: f64) {
        let whole = seconds(Recording::whole(bytes)).unwrap();
        assert!((whole - expected).abs() < 0.01, "{whole} is not {expected}");
        let kept = 4096.min(bytes.len());
        let ends = seconds(Recording {
            head: &bytes[..kept],
            tail: &bytes[bytes.len() - kept..],
            size: bytes.len() as u64,
        });
        let ends = ends.unwrap();
        assert!((ends - expected).abs() < 0.05, "{ends} is not {expected}");
    }

    #[test]
    fn compressed_samples_are_measured_by_their_blocks_and_not_by_the_byte_rate() {
        // 16 kHz: 1024 bytes hold 2041 samples of IMA ADPCM, 2036 of Microsoft's.
        let blocks = |count: usize| chunk(b"data", &vec![0x11; count * 1024]);
        for byte_rate in [0, 8_110, 16_000, u32::MAX] {
            let ima = format(0x11, (1, 16_000, byte_rate, 1024, 4), &[2, 0, 0xf9, 7]);
            close(&file(&[ima, blocks(353)]), 353.0 * 2041.0 / 16_000.0);
            let stereo = format(0x11, (2, 16_000, byte_rate, 1024, 4), &[2, 0, 0xf9, 3]);
            close(&file(&[stereo, blocks(353)]), 353.0 * 1017.0 / 16_000.0);
            let microsoft = format(2, (1, 16_000, byte_rate, 1024, 4), &[]);
            close(&file(&[microsoft, blocks(353)]), 353.0 * 2036.0 / 16_000.0);
            let gsm = format(0x31, (1, 8_000, byte_rate, 65, 0), &[2, 0, 0x40, 1]);
            close(&file(&[gsm, chunk(b"data", &[0; 65_000])]), 40.0);
        }
    }

    #[test]
    fn mpeg_audio_in_a_wave_is_counted_by_its_frames() {
        // MPEG-1 layer III, 128 kbit/s, 32 kHz: 576 bytes and 36 ms each.
        let mut frame = vec![0xff, 0xfb, 0x98, 0x00];
        frame.resize(576, 0);
        let mp3 = format(
            0x55,
            (1, 32_000, 0, 576, 0),
            &[12, 0, 1, 0, 2, 0, 0, 0, 0x40, 2, 1, 0],
        );
        close(&file(&[mp3, chunk(b"data", &frame.repeat(1_000))]), 36.0);
    }

    #[test]
    fn an_unknown_codec_is_measured_by_plausible_declared_values() {
        let codec = |byte_rate| format(0x1234, (1, 8_000, byte_rate, 0, 0), &[]);
        let data = chunk(b"data", &[0; 10_000]);
        let fact = |samples: u32| chunk(b"fact", &samples.to_le_bytes());
        close(&file(&[codec(1_000), data.clone()]), 10.0);
        close(&file(&[codec(0), fact(160_000), data.clone()]), 20.0);
        for file in [
            file(&[codec(0), data.clone()]),
            file(&[codec(u32::MAX), data.clone()]),
            file(&[codec(1), fact(u32::MAX), data.clone()]),
            // The counted samples are not all present.
            file(&[codec(0), fact(160_000), data[..5_000].to_vec()]),
        ] {
            assert_eq!(seconds(Recording::whole(&file)), None);
        }
    }

    #[test]
    fn plain_samples_are_measured_by_their_width_and_not_by_the_byte_rate() {
        for byte_rate in [0, 1, 16_000, u32::MAX] {
            for (tag, channels, block, bits, bytes) in [
                (1, 1, 2, 16, 16_000),
                (1, 1, 0, 16, 16_000),
                (1, 2, 4, 16, 32_000),
                (1, 1, 4, 20, 32_000),
                (1, 1, 0, 0, 16_000),
                (3, 1, 4, 32, 32_000),
                (6, 1, 1, 16, 8_000),
                (7, 1, 0, 0, 8_000),
            ] {
                let format = format(tag, (channels, 8_000, byte_rate, block, bits), &[]);
                close(&file(&[format, chunk(b"data", &vec![1; bytes])]), 1.0);
            }
        }
        let sub = [&[22, 0, 16, 0, 4, 0, 0, 0][..], &[3, 0], &SUB_FORMAT].concat();
        let extensible = format(0xfffe, (1, 8_000, 0, 4, 32), &sub);
        close(&file(&[extensible, chunk(b"data", &[1; 32_000])]), 1.0);
    }

    #[test]
    fn a_size_that_is_too_small_is_ignored_unless_chunks_follow() {
        let format = || format(1, (1, 8_000, 16_000, 2, 16), &[]);
        let mut short = chunk(b"data", &[0xa7; 80_000]);
        short[4..8].copy_from_slice(&16u32.to_le_bytes());
        close(&file(&[format(), short]), 5.0);
        let tags = || chunk(b"_PMX", &[b'x'; 1_001]);
        let data = || chunk(b"data", &[0xa7; 80_000]);
        close(&file(&[format(), data(), tags(), vec![0], tags()]), 5.0);
        // The pad byte is missing.
        close(&file(&[format(), data(), tags(), tags()]), 5.0);
    }

    #[test]
    fn big_endian_files_are_measured() {
        let file = [
            &b"RIFX\0\0\0\0WAVEfmt \0\0\0\x10\0\x01\0\x01\0\0\x1f\x40\0\0\x3e\x80\0\x02\0\x10data"
                [..],
            &32_000u32.to_be_bytes(),
            &[7; 32_000],
        ];
        close(&file.concat(), 2.0);
    }
}
