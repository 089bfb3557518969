//! Audio that a model made, written to a file.

use std::path::Path;

use crate::chat::sniffing::{self, Modality};

use super::answer::Answer;
use super::failure::Failure;

/// What DashScope streams: PCM of 16 bits in one channel, at this rate.
const RATE: u32 = 24_000;

/// Writes the audio of an answer.
///
/// # Errors
///
/// When there is none, or the file cannot be written.
pub(crate) async fn save(path: &Path, answer: &Answer) -> Result<(), Failure> {
    if answer.audio.is_empty() {
        let failure = Failure::failed("NO_AUDIO", "the model made no audio");
        return Err(failure.with_advice("a model that speaks: `-m qwen3-tts-flash --voice Cherry`"));
    }
    let raw = path
        .extension()
        .is_some_and(|ending| ending == "pcm" || ending == "raw");
    let file = match raw || is_whole(&answer.audio) {
        true => answer.audio.clone(),
        false => wav(&answer.audio),
    };
    let shown = path.display();
    tokio::fs::write(path, file)
        .await
        .map_err(|error| Failure::usage(format!("cannot write {shown}: {error}")))
}

/// Whether bytes are a file of some format, and not samples alone.
fn is_whole(bytes: &[u8]) -> bool {
    let found = sniffing::mime_type(bytes, "", Some(Modality::Audio));
    found.is_some_and(|found| !sniffing::may_begin_with_anything(found))
}

/// Samples with the header that makes a WAV file of them.
fn wav(samples: &[u8]) -> Vec<u8> {
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut file = Vec::with_capacity(samples.len() + 44);
    file.extend(b"RIFF");
    file.extend(size(samples.len().saturating_add(36)));
    file.extend(b"WAVEfmt ");
    file.extend(size(16));
    file.extend([1, 0, 1, 0]);
    file.extend(RATE.to_le_bytes());
    file.extend((RATE * 2).to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(size(samples.len()));
    file.extend(samples);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn samples_become_a_file_and_files_stay_as_they_are() {
        let folder = std::env::temp_dir().join(format!("dashgate-speech-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let answer = |audio: &[u8]| Answer {
            audio: audio.to_vec(),
            ..Answer::default()
        };
        for (name, audio, begins, length) in [
            ("a.wav", &[1, 2, 3, 4][..], &b"RIFF\x28\0\0\0WAVE"[..], 48),
            ("a.pcm", &[1, 2, 3, 4], &[1, 2, 3, 4], 4),
            ("b.wav", b"RIFF....WAVEfmt ", b"RIFF....", 16),
        ] {
            let path = folder.join(name);
            save(&path, &answer(audio)).await.unwrap();
            let written = std::fs::read(&path).unwrap();
            assert!(written.starts_with(begins), "{name}: {written:?}");
            assert_eq!(written.len(), length, "{name}");
        }
        let none = save(&folder.join("c.wav"), &answer(&[])).await.unwrap_err();
        assert!(none.text().contains("made no audio"));
        let nowhere = save(&folder.join("no/such/d.wav"), &answer(&[1])).await;
        assert!(nowhere.unwrap_err().text().contains("cannot write"));
    }
}
