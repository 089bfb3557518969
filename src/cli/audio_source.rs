//! The audio that `dashgate live` sends: a file, a named pipe or stdin, in pieces.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::audio::recording::Recording;
use crate::audio::wave::{self, Format, tag};
use crate::chat::sniffing::{self, Modality};

use super::error::Failure;
use super::stdin;

/// The rate of raw samples unless another is given: what the models use.
pub(crate) const DEFAULT_RATE: u32 = 16_000;

/// The first bytes that distinguish files from raw samples.
const HEAD_BYTES: usize = 12;

/// The longest header of a WAVE file.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The first bytes that distinguish text from raw samples.
const TEXT_BYTES: usize = 256;

/// The bytes that are read at once, at most.
const READ_BYTES: usize = 32 << 10;

/// The bytes of one sample.
const SAMPLE_BYTES: usize = 2;

/// How to get samples from any other file.
const CONVERT: &str = "ffmpeg -i FILE -ac 1 -ar 16000 -f wav - | dashgate live --audio -";

/// The type of raw samples, by the name of a file.
const RAW: &str = "audio/pcm";

/// The extensions of files with raw samples.
const RAW_EXTENSIONS: [&str; 4] = ["pcm", "raw", "s16", "s16le"];

/// The first bytes of a program.
const ELF: &[u8] = b"\x7fELF";

/// A source of 16-bit samples in one channel.
pub(crate) struct AudioSource {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    name: String,
    /// Bytes that were read and not returned yet.
    ahead: BytesMut,
    /// The bytes of samples that were not read yet.
    left: u64,
    channels: usize,
    /// The sample rate in Hz.
    pub(crate) rate: u32,
}

impl AudioSource {
    /// Opens a file, or stdin for `-`. `rate` is that of raw samples.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is empty, or holds anything but 16-bit samples.
    pub(crate) async fn open(argument: &str, rate: Option<u32>) -> Result<Self, Failure> {
        if argument == "-" {
            if io::stdin().is_terminal() {
                return Err(
                    Failure::usage("--audio - reads audio from stdin, a terminal here")
                        .with_advice(
                            "arecord -f S16_LE -r 16000 -c 1 -t raw | dashgate live --audio -",
                        ),
                );
            }
            let stdin = stdin::open()
                .map_err(|error| Failure::usage(format!("cannot read stdin: {error}")))?;
            return Self::read(Box::new(stdin), "stdin", u64::MAX, rate).await;
        }
        let unreadable =
            |error: io::Error| Failure::usage(format!("cannot read {argument}: {error}"));
        let file = File::open(argument).await.map_err(unreadable)?;
        let about = file.metadata().await.map_err(unreadable)?;
        if about.is_dir() {
            return Err(Failure::usage(format!("{argument} is a folder")));
        }
        // A pipe has no size.
        let size = if about.is_file() {
            about.len()
        } else {
            u64::MAX
        };
        Self::read(Box::new(file), argument, size, rate).await
    }

    async fn read(
        reader: Box<dyn AsyncRead + Send + Unpin>,
        name: &str,
        size: u64,
        rate: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut source = Self {
            reader,
            name: name.to_owned(),
            ahead: BytesMut::new(),
            left: u64::MAX,
            channels: 1,
            rate: rate.unwrap_or(DEFAULT_RATE),
        };
        source.fill(HEAD_BYTES).await?;
        if source.ahead.is_empty() {
            return Err(Failure::usage(format!("{name} is empty")));
        }
        let is_wave = source.ahead.get(8..12) == Some(b"WAVE");
        match is_wave {
            true => source.skip_header(size, rate).await?,
            false => source.check_raw(size != u64::MAX && rate.is_none())?,
        }
        Ok(source)
    }

    /// Reads until this many bytes are there, or the end.
    async fn fill(&mut self, bytes: usize) -> Result<(), Failure> {
        while self.ahead.len() < bytes {
            self.ahead.reserve(READ_BYTES);
            let read = self.reader.read_buf(&mut self.ahead).await;
            if read.map_err(|error| self.unreadable(&error))? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::usage(format!("cannot read {}: {error}", self.name))
    }

    /// Reads the header of a WAVE file.
    async fn skip_header(&mut self, size: u64, rate: Option<u32>) -> Result<(), Failure> {
        let name = self.name.clone();
        let layout = loop {
            let head = self.ahead.get(..MAX_HEADER_BYTES).unwrap_or(&self.ahead);
            let recording = Recording {
                head,
                tail: &[],
                size,
            };
            if let Some(layout) = wave::layout(recording) {
                break layout;
            }
            let before = self.ahead.len();
            if before < MAX_HEADER_BYTES {
                self.fill(before + 1).await?;
            }
            if self.ahead.len() == before {
                let message = format!("{name} has an invalid WAVE header");
                return Err(Failure::usage(message).with_advice(CONVERT));
            }
        };
        let Format { tag, rate: own, .. } = layout.format;
        let channels = usize::try_from(layout.format.channels).unwrap_or(usize::MAX);
        let frame = usize::try_from(layout.format.frame()).unwrap_or(usize::MAX);
        if layout.big || tag != tag::PCM || frame != channels.saturating_mul(SAMPLE_BYTES) {
            let message = format!("{name} does not hold PCM of 16 bits per sample");
            return Err(Failure::usage(message).with_advice(CONVERT));
        }
        if rate.is_some_and(|rate| rate != own) {
            let message = format!("--rate is for raw samples: {name} is a WAVE file at {own} Hz");
            return Err(Failure::usage(message));
        }
        let (begin, length) = layout.data;
        let begin = usize::try_from(begin).unwrap_or(usize::MAX);
        self.fill(begin).await?;
        self.ahead.advance(begin.min(self.ahead.len()));
        (self.rate, self.channels, self.left) = (own, channels, length);
        self.fill(1).await?;
        match length == 0 || self.ahead.is_empty() {
            true => Err(Failure::usage(format!("{name} has no audio"))),
            false => Ok(()),
        }
    }

    /// Refuses what is not raw samples. A file whose extension must say so may have anything.
    fn check_raw(&self, by_extension: bool) -> Result<(), Failure> {
        let path = Path::new(&self.name);
        let named = path.file_name().unwrap_or_default();
        let named = sniffing::mime_type(&[], &named.to_string_lossy(), None);
        let found = sniffing::contradiction(&self.ahead, Modality::Audio).or_else(|| {
            let found = sniffing::mime_type(&self.ahead, "", Some(Modality::Audio));
            found.filter(|found| !sniffing::may_begin_with_anything(found))
        });
        let found = found.or_else(|| self.ahead.starts_with(ELF).then_some("a program"));
        let first = self.ahead.get(..TEXT_BYTES).unwrap_or(&self.ahead);
        let found = found.or_else(|| is_text(first).then_some("text"));
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let is_raw = RAW_EXTENSIONS.iter().any(|raw| extension == *raw);
        let failure = match (found, named) {
            (None, None | Some(RAW)) if is_raw || !by_extension => return Ok(()),
            (Some(found), _) => format!("{} is {found}, not WAVE or raw samples", self.name),
            (None, _) => format!("{} is neither WAVE nor raw samples (.pcm, .raw)", self.name),
        };
        let failure = Failure::usage(failure).with_advice(CONVERT);
        Err(match (found, named) {
            (None, None) => failure.with_advice(format!(
                "--rate {DEFAULT_RATE}, if the file has raw 16-bit samples in one channel"
            )),
            _ => failure,
        })
    }

    /// The next samples: what is there, at most this many bytes. `None` at the end.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Option<Bytes>, Failure> {
        let frame = self.channels.saturating_mul(SAMPLE_BYTES);
        let most = (most / SAMPLE_BYTES).max(1).saturating_mul(frame);
        self.fill(frame).await?;
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let whole = self.ahead.len().min(most).min(left) / frame * frame;
        if whole == 0 {
            return Ok(None);
        }
        self.left -= whole as u64;
        let samples = self.ahead.split_to(whole).freeze();
        Ok(Some(match self.channels {
            1 => samples,
            channels => mixed(&samples, channels),
        }))
    }
}

/// Whether the first bytes of a file are those of a text in UTF-8.
fn is_text(first: &[u8]) -> bool {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        // The last character may be cut off.
        Err(error) if error.error_len().is_none() => {
            let whole = first.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_of_text = |c: char| !c.is_control() || c.is_ascii_whitespace();
    !text.is_empty() && text.chars().all(is_of_text)
}

/// The mean of all channels.
fn mixed(samples: &[u8], channels: usize) -> Bytes {
    let frames = samples.chunks_exact(channels * SAMPLE_BYTES);
    let mut out = BytesMut::with_capacity(samples.len() / channels);
    for frame in frames {
        let (samples, _) = frame.as_chunks::<SAMPLE_BYTES>();
        let sum: i64 = samples
            .iter()
            .map(|one| i64::from(i16::from_le_bytes(*one)))
            .sum();
        let mean = sum / i64::try_from(channels).unwrap_or(i64::MAX);
        out.extend(i16::try_from(mean).unwrap_or_default().to_le_bytes());
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::wave_header;
    use super::*;

    async fn read(bytes: Vec<u8>, name: &str) -> Result<AudioSource, Failure> {
        let size = match name {
            "stdin" => u64::MAX,
            _ => bytes.len() as u64,
        };
        AudioSource::read(Box::new(io::Cursor::new(bytes)), name, size, None).await
    }

    async fn all(source: &mut AudioSource) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = source.next(3).await.unwrap() {
            assert_eq!(piece.len(), 2);
            all.extend(piece);
        }
        all
    }

    #[tokio::test]
    async fn a_wave_file_and_raw_samples_give_whole_samples() {
        let samples = [1, 2, 3, 4, 5, 6];
        let mut wave = wave_header::bytes(24_000, samples.len());
        wave.extend(samples);
        wave.extend(b"LIST\x02\0\0\0ab");
        let mut source = read(wave, "a.wav").await.unwrap();
        assert_eq!(
            (all(&mut source).await, source.rate),
            (samples.to_vec(), 24_000)
        );
        let mut streamed = wave_header::bytes(8_000, wave_header::UNKNOWN);
        streamed.extend([1, 2, 3]);
        let mut source = read(streamed, "stdin").await.unwrap();
        assert_eq!((all(&mut source).await, source.rate), (vec![1, 2], 8_000));
        let mut source = read(vec![7; 15], "a.pcm").await.unwrap();
        assert_eq!((all(&mut source).await, source.rate), (vec![7; 14], 16_000));
    }

    #[tokio::test]
    async fn two_channels_are_mixed() {
        let mut wave = wave_header::bytes(16_000, 8);
        wave[22] = 2;
        wave[32] = 4;
        for sample in [100_i16, 300, -2, -4] {
            wave.extend(sample.to_le_bytes());
        }
        let mut source = read(wave, "a.wav").await.unwrap();
        let expected = [200_i16.to_le_bytes(), (-3_i16).to_le_bytes()].concat();
        assert_eq!(all(&mut source).await, expected);
    }

    #[tokio::test]
    async fn what_is_not_16_bit_audio_is_refused_with_a_command_that_converts_it() {
        let mut float = wave_header::bytes(16_000, 8);
        float[20] = 3;
        float.extend([0; 8]);
        let mut silent = wave_header::bytes(16_000, 0);
        silent[40..].fill(0);
        for (bytes, name, words) in [
            (vec![], "a.wav", "is empty"),
            (float, "a.wav", "PCM of 16 bits"),
            (silent, "a.wav", "has no audio"),
            (b"Examples of audio".to_vec(), "a", "is text"),
            (
                "\u{4f60}\u{597d}, README".repeat(100).into(),
                "a.pcm",
                "is text",
            ),
            ("\u{4f60}\u{597d}".into(), "stdin", "is text"),
            (b"\x7fELF\x02\x01\x01\0".to_vec(), "stdin", "is a program"),
            (
                b"%PDF-1.7\n%\xe2\xe3\xcf\xd3".to_vec(),
                "a",
                "is application/pdf",
            ),
            (vec![1, 0, 2, 0, 0xff, 0xff], "a.bin", "--rate 16000"),
            (vec![1, 0, 2, 0, 0xff, 0xff], "a", "is neither WAVE nor raw"),
            (
                b"RIFF\0\0\0\0WAVEfmt ".to_vec(),
                "a.wav",
                "invalid WAVE header",
            ),
            (
                b"OggS\0\x02\0\0\0\0\0\0\0\0".to_vec(),
                "stdin",
                "is audio/ogg",
            ),
            (
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(),
                "a.pcm",
                "is image/png",
            ),
            (
                vec![0xff, 0xfb, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                "a.mp3",
                "is neither WAVE nor raw",
            ),
        ] {
            let Err(failure) = read(bytes, name).await else {
                panic!("{name}: {words}");
            };
            assert!(
                failure.text().contains(words),
                "{words} in {}",
                failure.text()
            );
        }
        let raw = vec![0xff, 0xfb, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(read(raw.clone(), "stdin").await.is_ok());
        for (name, rate) in [("a.RAW", None), ("a.s16le", None), ("a.bin", Some(8_000))] {
            let raw = io::Cursor::new(raw.clone());
            let source = AudioSource::read(Box::new(raw), name, 12, rate).await;
            assert!(source.is_ok(), "{name}");
        }
    }
}
