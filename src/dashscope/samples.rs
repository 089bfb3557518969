//! The form of audio that a server sends without naming it: samples, with or without the header of
//! a WAVE file, or a file in another format.
//!
//! Samples become those of streamed audio, 16-bit little-endian. A file is passed on as it is, and
//! its format is named by keys, so that it is never taken for samples.

use bytes::Bytes;

use crate::audio::frames;
use crate::audio::recording::Recording;
use crate::audio::wave::{self, tag};
use crate::chat::document::{Document, Object, Real};
use crate::chat::media::MIME_TYPE;

/// The most bytes that are withheld until their form is known. Real headers have less than a
/// hundred bytes, up to a few hundred with lists of names; a frame of MPEG audio has at most 1,728.
const MAX_WITHHELD: usize = 4096;

/// The type of a WAVE file.
const WAVE: &str = "audio/wav";

/// The type of samples, to which an unusual rate is added.
const SAMPLES: &str = "audio/pcm";

/// The rate of streamed audio.
const USUAL_RATE: u32 = 24_000;

/// The number of channels of streamed audio.
const USUAL_CHANNELS: u32 = 1;

/// The first bytes of files, in which `?` is any byte, and their type.
const SIGNATURES: [(&[u8], &str); 8] = [
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"caff", "audio/x-caf"),
    (b"#!AMR", "audio/amr"),
    (b"ADIF", "audio/aac"),
    (b"\x1a\x45\xdf\xa3", "audio/webm"),
    (b"\0\0??ftyp", "audio/mp4"),
];

/// Reads the audio of one part.
#[derive(Debug, Default)]
pub(super) struct SampleReader {
    form: Form,
    /// Bytes whose form is not known yet.
    withheld: Vec<u8>,
    /// The beginning of a sample whose rest has not come yet.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Unknown,
    Samples(Encoding),
    /// A file, of which these bytes are the next.
    File,
}

/// The encoding of samples, all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Unsigned8,
    /// Integers of this many bytes, of which the last two are the highest.
    Signed(usize),
    Float32,
    Float64,
}

/// What bytes begin with.
enum Beginning {
    /// Too few bytes to know it.
    Incomplete,
    /// The header of a WAVE file, before these samples.
    Header(Bytes, wave::Format, Encoding),
    /// A file of this type.
    File(&'static str),
    Samples,
}

impl Encoding {
    fn of(format: wave::Format) -> Option<Self> {
        let width = usize::try_from(format.frame() / format.channels).ok()?;
        match (format.tag, width) {
            (tag::PCM, 1) => Some(Self::Unsigned8),
            (tag::PCM, 2..=4) => Some(Self::Signed(width)),
            (tag::FLOAT, 4) => Some(Self::Float32),
            (tag::FLOAT, 8) => Some(Self::Float64),
            _ => None,
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Unsigned8 => 1,
            Self::Signed(width) => width,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// A sample as a 16-bit integer.
    fn convert(self, sample: &[u8]) -> i16 {
        match self {
            Self::Unsigned8 => {
                let sample = sample.first().copied().unwrap_or(0x80);
                i16::from_be_bytes([sample ^ 0x80, 0])
            }
            Self::Signed(_) => sample
                .last_chunk()
                .map_or(0, |high| i16::from_le_bytes(*high)),
            Self::Float32 => {
                let sample = sample
                    .first_chunk()
                    .map_or(0.0, |all| f32::from_le_bytes(*all));
                of_float(f64::from(sample))
            }
            Self::Float64 => of_float(
                sample
                    .first_chunk()
                    .map_or(0.0, |all| f64::from_le_bytes(*all)),
            ),
        }
    }
}

/// Full scale is 1; what is beyond it is cut.
fn of_float(sample: f64) -> i16 {
    // A cast from a float saturates.
    (sample * 32_767.0).round() as i16
}

impl SampleReader {
    /// The audio in the bytes of one event. Keys that name its format are added to `extra`.
    pub(super) fn read(&mut self, bytes: Bytes, extra: &mut Object) -> Bytes {
        if self.form == Form::File {
            return bytes;
        }
        let bytes = joined(&mut self.withheld, bytes);
        if bytes.is_empty() {
            return bytes;
        }
        match beginning(&bytes, self.form == Form::Unknown) {
            Beginning::Incomplete if bytes.len() < MAX_WITHHELD => {
                self.withheld = bytes.into();
                Bytes::new()
            }
            Beginning::Header(samples, format, encoding) => {
                name_unusual(format, extra);
                self.partial.clear();
                self.form = Form::Samples(encoding);
                self.samples(samples, encoding)
            }
            Beginning::File(mime_type) => {
                name(mime_type.to_owned(), extra);
                self.form = Form::File;
                bytes
            }
            Beginning::Incomplete | Beginning::Samples => {
                let encoding = match self.form {
                    Form::Samples(encoding) => encoding,
                    Form::Unknown | Form::File => Encoding::Signed(2),
                };
                self.form = Form::Samples(encoding);
                self.samples(bytes, encoding)
            }
        }
    }

    /// Whether bytes are withheld until their form is known.
    pub(super) fn is_withholding(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// The bytes that were withheld, at the end of the audio: nothing followed that would make them
    /// anything but samples.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.withheld);
        let rest = match self.form {
            Form::Samples(encoding) => self.samples(rest.into(), encoding),
            Form::Unknown | Form::File => rest.into(),
        };
        (!rest.is_empty()).then_some(rest)
    }

    fn samples(&mut self, bytes: Bytes, encoding: Encoding) -> Bytes {
        if encoding == Encoding::Signed(2) {
            return bytes;
        }
        let bytes = joined(&mut self.partial, bytes);
        let samples = bytes.chunks_exact(encoding.width());
        self.partial = samples.remainder().to_vec();
        let converted = samples.flat_map(|sample| encoding.convert(sample).to_le_bytes());
        converted.collect()
    }
}

fn joined(before: &mut Vec<u8>, bytes: Bytes) -> Bytes {
    if before.is_empty() {
        return bytes;
    }
    let mut all = std::mem::take(before);
    all.extend_from_slice(&bytes);
    all.into()
}

/// What bytes begin with. Files other than WAVE are recognised only at the beginning of the audio.
fn beginning(bytes: &Bytes, is_first: bool) -> Beginning {
    if let Some(beginning) = wave_header(bytes) {
        return beginning;
    }
    if !is_first {
        return Beginning::Samples;
    }
    let mut is_incomplete = false;
    for (signature, mime_type) in SIGNATURES {
        let mut pairs = signature.iter().zip(bytes.iter());
        if pairs.all(|(wanted, byte)| *wanted == b'?' || wanted == byte) {
            if bytes.len() >= signature.len() {
                return Beginning::File(mime_type);
            }
            is_incomplete = true;
        }
    }
    match frames::begins(bytes) {
        frames::Begin::Mpeg => Beginning::File("audio/mpeg"),
        frames::Begin::Aac => Beginning::File("audio/aac"),
        frames::Begin::Incomplete => Beginning::Incomplete,
        frames::Begin::Other if is_incomplete => Beginning::Incomplete,
        frames::Begin::Other => Beginning::Samples,
    }
}

/// The header of a WAVE file, or a file whose samples are not read here. `None` for other bytes.
fn wave_header(bytes: &Bytes) -> Option<Beginning> {
    const RIFF: &[u8] = b"RIFF";
    const NAME: &[u8] = b"WAVE";
    let begins = |bytes: &[u8], name: &[u8]| bytes.iter().zip(name).all(|(one, two)| one == two);
    let is_little = begins(bytes, RIFF);
    let is_other = [b"RIFX", b"RF64", b"BW64"]
        .iter()
        .any(|name| bytes.starts_with(*name));
    if !(is_little || is_other) || !begins(bytes.get(8..).unwrap_or_default(), NAME) {
        return None;
    }
    let Some(layout) = wave::layout(Recording::whole(bytes)) else {
        let is_wave = bytes.len() >= MAX_WITHHELD;
        return Some(match is_wave {
            true => Beginning::File(WAVE),
            false => Beginning::Incomplete,
        });
    };
    let encoding = Encoding::of(layout.format).filter(|_| !layout.big);
    let Some(encoding) = encoding else {
        return Some(Beginning::File(WAVE));
    };
    let start = usize::try_from(layout.data.0).ok()?.min(bytes.len());
    let length = usize::try_from(layout.data.1).ok()?;
    let end = start.saturating_add(length).min(bytes.len());
    let samples = bytes.slice(start..end);
    Some(Beginning::Header(samples, layout.format, encoding))
}

/// Names a format other than that of streamed audio, which is 16-bit mono at 24 kHz.
fn name_unusual(format: wave::Format, extra: &mut Object) {
    let keys = [
        ("sample_rate", "rate", format.rate, USUAL_RATE),
        ("channels", "channels", format.channels, USUAL_CHANNELS),
    ];
    let mut mime_type = SAMPLES.to_owned();
    for (key, parameter, value, usual) in keys {
        mime_type = format!("{mime_type};{parameter}={value}");
        if value != usual {
            let value = Document::Number(Real(f64::from(value)));
            extra.0.push((key.to_owned(), value));
        }
    }
    if (format.rate, format.channels) != (USUAL_RATE, USUAL_CHANNELS) {
        name(mime_type, extra);
    }
}

/// Names a format, unless the server does.
fn name(mime_type: String, extra: &mut Object) {
    if extra.value(MIME_TYPE).is_none() {
        let mime_type = Document::String(mime_type);
        extra.0.push((MIME_TYPE.to_owned(), mime_type));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wave(tag: u16, bits: u16, samples: &[u8]) -> Vec<u8> {
        let size = u32::try_from(samples.len()).unwrap();
        let block = bits / 8;
        [
            &b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"[..],
            &tag.to_le_bytes(),
            &1_u16.to_le_bytes(),
            &24_000_u32.to_le_bytes(),
            &(24_000 * u32::from(block)).to_le_bytes(),
            &block.to_le_bytes(),
            &bits.to_le_bytes(),
            b"data",
            &size.to_le_bytes(),
            samples,
        ]
        .concat()
    }

    /// Reads pieces to the end. Returns the audio and the named type.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<String>) {
        let mut reader = SampleReader::default();
        let (mut audio, mut extra) = (Vec::new(), Object::default());
        for piece in pieces {
            audio.extend(reader.read(Bytes::copy_from_slice(piece), &mut extra));
        }
        audio.extend(reader.rest().unwrap_or_default());
        let named = extra.value(MIME_TYPE).map(|value| {
            let Document::String(text) = value else {
                panic!("{value:?}");
            };
            text.clone()
        });
        (audio, named)
    }

    fn of(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|one| one.to_le_bytes()).collect()
    }

    #[test]
    fn samples_of_every_width_become_16_bits() {
        let float = |samples: &[f32]| -> Vec<u8> {
            samples.iter().flat_map(|one| one.to_le_bytes()).collect()
        };
        let double: Vec<u8> = [0.5_f64, -1.0]
            .iter()
            .flat_map(|one| one.to_le_bytes())
            .collect();
        for (tag, bits, samples, expected) in [
            (
                3,
                32,
                float(&[0.0, 1.0, -1.0, 2.0, f32::NAN]),
                vec![0, 32_767, -32_767, 32_767, 0],
            ),
            (3, 64, double, vec![16_384, -32_767]),
            (1, 8, vec![0x80, 0xff, 0], vec![0, 0x7f00, -0x8000]),
            (1, 24, vec![9, 1, 0, 9, 0xff, 0xff], vec![1, -1]),
            (1, 32, vec![9, 9, 2, 0], vec![2]),
            (1, 16, of(&[7, -7]), vec![7, -7]),
        ] {
            let file = wave(tag, bits, &samples);
            for size in [1, 3, 45, 47, file.len()] {
                let got = read(file.chunks(size));
                assert_eq!(got, (of(&expected), None), "{tag} {bits} {size}");
            }
            // A header in each event.
            let twice = read([&file[..], &file[..]]);
            assert_eq!(twice.0, of(&[&expected[..], &expected[..]].concat()));
        }
    }

    #[test]
    fn files_are_passed_on_and_named() {
        // MPEG-1 layer III, 128 kbit/s at 44.1 kHz: 417 bytes; AAC of 9 bytes.
        let mpeg = [&[0xff, 0xfb, 0x90, 0][..], &[7; 413]].concat().repeat(3);
        let aac = [0xff, 0xf1, 0x58, 0x40, 1, 0x3f, 0xfc, 5, 5].repeat(4);
        let tagged = [&b"ID3\x04\0\0\0\0\0\0"[..], &mpeg].concat();
        for (file, expected) in [
            (mpeg.clone(), "audio/mpeg"),
            (tagged, "audio/mpeg"),
            (aac, "audio/aac"),
            (b"fLaC and more".to_vec(), "audio/flac"),
            (b"OggS and more".to_vec(), "audio/ogg"),
            (b"\0\0\0\x18ftypM4A and more".to_vec(), "audio/mp4"),
            (wave(0x55, 0, &mpeg), "audio/wav"),
            (wave(7, 8, &[1; 99]), "audio/wav"),
        ] {
            for size in [1, 2, 5, 420, 5_000] {
                let (audio, named) = read(file.chunks(size));
                assert_eq!(named.as_deref(), Some(expected), "{size}");
                assert_eq!(audio, file, "{expected} {size}");
            }
        }
    }

    #[test]
    fn samples_that_resemble_files_stay_samples() {
        for samples in [
            &b"RIFF"[..],
            b"Ogg",
            b"\0\0\0\0\0\0\0\0\0\0",
            &[0xff, 0xfb, 0x90, 0, 1, 2, 3, 4],
            &[0xff, 0xff, 0xff, 0xff, 0xfe, 0xff],
        ] {
            for size in [1, 2, 100] {
                assert_eq!(read(samples.chunks(size)), (samples.to_vec(), None));
            }
        }
    }

    proptest! {
        #[test]
        fn the_division_into_events_changes_nothing(
            samples in proptest::collection::vec(any::<u8>(), 0..300),
            kind in 0..4_usize,
            sizes in proptest::collection::vec(1..64_usize, 1..8),
        ) {
            let file = match kind {
                0 => samples,
                1 => wave(1, 16, &samples),
                2 => wave(3, 32, &samples),
                _ => wave(7, 8, &samples),
            };
            let mut sizes = sizes.iter().cycle();
            let (mut rest, mut pieces) = (&file[..], Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(read(pieces), read([&file[..]]));
        }
    }
}
