//! Writes audio output to a file.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::chat::sniffing::{self, Modality};

use super::answer::Answer;
use super::error::Failure;
use super::{output_file, wave_header};

/// The media types that are written.
const WAV: &str = "audio/wav";
const PCM: &str = "audio/pcm";

/// The rate of DashScope's streamed audio: PCM of 16 bits in one channel.
const RATE: u32 = 24_000;

/// The file for the audio of an answer. It is opened before the call, which is billed; a file that
/// was created for it is removed if nothing is written.
pub(crate) struct Recording {
    path: PathBuf,
    file: File,
    made: bool,
    /// The type by its file name; empty if unknown.
    named: &'static str,
    /// Whether an encoded format was requested, not PCM.
    encoded: bool,
}

impl Recording {
    /// Opens the file. `format` is that of `options.audio.format`.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or its name is for another format.
    pub(crate) async fn open(path: &Path, format: Option<&str>) -> Result<Self, Failure> {
        let shown = path.display();
        let named = named(path);
        let asked = format.map_or("", |format| by_name(&format!("a.{format}")));
        if !["", WAV, PCM].contains(&named) && named != asked {
            return Err(Failure::usage(format!(
                "{shown}: only WAV and raw samples (.pcm) can be written, not {named}"
            ))
            .with_advice(format!("-o {}", path.with_extension("wav").display())));
        }
        let opened = output_file::open(path).await;
        let (file, made) =
            opened.map_err(|error| Failure::usage(format!("cannot write {shown}: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            made,
            named,
            encoded: !["", WAV, PCM].contains(&asked),
        })
    }

    /// Writes the audio of an answer. Returns the number of bytes, and warnings.
    ///
    /// # Errors
    ///
    /// If there is no audio, or it cannot be written.
    pub(crate) async fn save(mut self, answer: &Answer) -> Result<(usize, Vec<String>), Failure> {
        let audio = answer.audio();
        if audio.is_empty() {
            let failure = Failure::failed("NO_AUDIO", "the answer has no audio");
            return Err(
                failure.with_advice("a model that speaks: `-m qwen3-tts-flash --voice Cherry`")
            );
        }
        let kind = answer.audio_type();
        let raw = self.named == PCM || self.path.extension().is_some_and(|end| end == "raw");
        let bytes = audio.len();
        let samples = Samples::of(&kind);
        let whole = match (&samples, is_whole(&audio)) {
            (None, _) => Some(kind.as_str()),
            (Some(_), true) => sniffing::mime_type(&audio, "", Some(Modality::Audio)),
            (Some(_), false) => None,
        };
        let content = match raw || self.encoded || whole.is_some() {
            true => audio,
            false => samples.unwrap_or_default().wav(&audio),
        };
        let shown = self.path.display().to_string();
        if let Err(error) = self.write(&content).await {
            return Err(Failure::failed(
                "OUTPUT",
                format!("cannot write {shown}: {error}"),
            ));
        }
        let mut odd = Vec::new();
        if let Some(whole) = whole
            && !["", whole].contains(&self.named)
        {
            odd.push(format!(
                "warning: {shown} holds {whole}, not {}",
                self.named
            ));
        }
        if answer.audio_cut {
            odd.push(format!(
                "warning: {shown} ends early: there was more than 128 MiB"
            ));
        }
        // It has content now, so it is kept.
        self.made = false;
        Ok((bytes, odd))
    }

    async fn write(&mut self, content: &[u8]) -> io::Result<()> {
        // A pipe or a device cannot be truncated.
        if self.file.metadata().await?.is_file() {
            self.file.set_len(0).await?;
        }
        self.file.write_all(content).await?;
        self.file.flush().await
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.made {
            // An empty file that remains does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The type by a file name; empty if unknown.
fn named(path: &Path) -> &'static str {
    path.file_name()
        .map_or("", |name| by_name(&name.to_string_lossy()))
}

fn by_name(name: &str) -> &'static str {
    sniffing::mime_type(&[], name, Some(Modality::Audio)).unwrap_or_default()
}

/// Whether the bytes are a file of some format, not raw samples.
fn is_whole(bytes: &[u8]) -> bool {
    let found = sniffing::mime_type(bytes, "", Some(Modality::Audio));
    found.is_some_and(|found| !sniffing::may_begin_with_anything(found))
}

/// The form of samples of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Samples {
    rate: u32,
    channels: u16,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            rate: RATE,
            channels: 1,
        }
    }
}

impl Samples {
    /// The form that a type names, or the usual one. `None` for the type of a file.
    fn of(mime_type: &str) -> Option<Self> {
        let mut samples = Self::default();
        let mut parts = mime_type.split(';').map(str::trim);
        if !parts
            .next()
            .is_none_or(|kind| kind == PCM || kind.is_empty())
        {
            return None;
        }
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key {
                "rate" => samples.rate = value.parse().unwrap_or(RATE),
                "channels" => samples.channels = value.parse().unwrap_or(1),
                _ => {}
            }
        }
        Some(samples)
    }

    /// Adds a WAV header.
    fn wav(self, samples: &[u8]) -> Vec<u8> {
        let header = wave_header::of_channels(self.rate, self.channels, samples.len());
        [&header[..], samples].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dashgate_client::v1 as pb;

    fn answer(audio: &[u8]) -> Answer {
        named_answer(audio, "")
    }

    fn named_answer(audio: &[u8], mime_type: &str) -> Answer {
        let audio = pb::Audio {
            mime_type: mime_type.to_owned(),
            source: Some(pb::audio::Source::Data(audio.to_vec().into())),
            ..pb::Audio::default()
        };
        let content = crate::cli::attach::content(pb::content::Kind::Audio(audio));
        Answer {
            choices: vec![pb::Choice {
                message: Some(pb::Message {
                    content: vec![content],
                    ..pb::Message::default()
                }),
                ..pb::Choice::default()
            }],
            ..Answer::default()
        }
    }

    #[tokio::test]
    async fn a_named_format_decides_about_the_header() {
        let folder = std::env::temp_dir().join(format!("dashgate-named-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (kind, rate, channels) in [
            ("audio/pcm", 24_000, 1),
            ("audio/pcm;rate=44100;channels=2", 44_100, 2),
            ("audio/pcm; rate=8000", 8_000, 1),
        ] {
            let path = folder.join("a.wav");
            let recording = Recording::open(&path, None).await.unwrap();
            let (_, warnings) = recording.save(&named_answer(&[1, 2], kind)).await.unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
            let written = std::fs::read(&path).unwrap();
            assert_eq!(written[22..24], u16::to_le_bytes(channels), "{kind}");
            assert_eq!(written[24..28], u32::to_le_bytes(rate), "{kind}");
            assert_eq!(written.len(), 46);
        }
        // Bytes that could be samples, and are not.
        let path = folder.join("b.wav");
        let recording = Recording::open(&path, None).await.unwrap();
        let answer = named_answer(&[0xff, 0xfb, 0x90, 0], "audio/mpeg");
        let (_, warnings) = recording.save(&answer).await.unwrap();
        assert!(
            warnings.concat().contains("holds audio/mpeg"),
            "{warnings:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), [0xff, 0xfb, 0x90, 0]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn samples_become_a_file_and_files_stay_as_they_are() {
        let folder = std::env::temp_dir().join(format!("dashgate-speech-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.wav"), [9; 100]).unwrap();
        for (name, audio, begins, length, odd) in [
            (
                "a.wav",
                &[1, 2, 3, 4][..],
                &b"RIFF\x28\0\0\0WAVE"[..],
                48,
                "",
            ),
            ("a.PCM", &[1, 2, 3, 4], &[1, 2, 3, 4], 4, ""),
            ("a.raw", &[1, 2, 3, 4], &[1, 2, 3, 4], 4, ""),
            ("b.wav", b"RIFF....WAVEfmt ", b"RIFF....", 16, ""),
            (
                "b.pcm",
                b"RIFF....WAVEfmt ",
                b"RIFF....",
                16,
                "holds audio/wav, not audio/pcm",
            ),
        ] {
            let path = folder.join(name);
            let recording = Recording::open(&path, None).await.unwrap();
            let (bytes, told) = recording.save(&answer(audio)).await.unwrap();
            assert_eq!(bytes, audio.len());
            assert!(told.concat().contains(odd), "{told:?}");
            assert_eq!(told.is_empty(), odd.is_empty(), "{told:?}");
            let written = std::fs::read(&path).unwrap();
            assert!(written.starts_with(begins), "{name}: {written:?}");
            assert_eq!(written.len(), length, "{name}");
        }
        let path = folder.join("c.wav");
        let recording = Recording::open(&path, None).await.unwrap();
        assert!(path.exists());
        let none = recording.save(&answer(&[])).await.unwrap_err();
        assert!(none.text().contains("has no audio"));
        assert!(!path.exists());
        for (name, format, words) in [
            ("no/such/d.wav", None, "cannot write"),
            ("d.mp3", None, "not audio/mpeg"),
            ("d.mp3", Some("wav"), "not audio/mpeg"),
            ("d.png", None, "not image/png"),
        ] {
            let refused = Recording::open(&folder.join(name), format).await;
            let Err(failure) = refused else {
                panic!("{name}");
            };
            assert!(failure.text().contains(words), "{}", failure.text());
        }
        let asked = Recording::open(&folder.join("e.mp3"), Some("mp3")).await;
        let (bytes, _) = asked.unwrap().save(&answer(&[1, 2])).await.unwrap();
        assert_eq!(
            (bytes, std::fs::read(folder.join("e.mp3")).unwrap().len()),
            (2, 2)
        );
    }
}
