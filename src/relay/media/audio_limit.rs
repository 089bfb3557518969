//! Audio that is longer than the model processes. DashScope truncates it without an error, so the
//! gateway measures it and warns, or rejects the call, depending on the configuration and the
//! call's options.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::audio;
use crate::audio::recording::Recording;
use crate::chat::call::Prompt;
use crate::chat::data_uri;
use crate::chat::document::Document;
use crate::chat::media::Source;
use crate::chat::message::{Body, LongAudio, Part};
use crate::chat::warning::{Code, Warning};
use crate::error::{Error, Reason, Violation};
use crate::relay::routes::Routes;

/// The padding that encoders add at both ends. Within it a recording does not exceed the limit.
const TOLERANCE: Duration = Duration::from_millis(250);

/// The maximum number of uploads with a known duration. DashScope keeps files for two days; a call
/// mostly follows immediately.
const REMEMBERED_UPLOADS: usize = 4096;

/// How much of the beginning and of the end of an upload is kept for measuring.
const MEASURED_BYTES: usize = 128 * 1024;

/// Compares audio with the limits of models.
#[derive(Debug, Default)]
pub(in crate::relay) struct AudioLimits {
    /// The durations of uploads, by URL, the newest last.
    uploads: Mutex<VecDeque<(String, Duration)>>,
}

impl AudioLimits {
    /// Compares each audio part with the limit of the model. Returns a warning for each that is too
    /// long, or the error that rejects the call. Free without audio.
    pub(in crate::relay) fn check(
        &self,
        routes: &Routes,
        prompt: &Prompt,
        model: &str,
    ) -> Result<Vec<Warning>, Error> {
        let mut warnings = Vec::new();
        for (i, turn) in prompt.turns.iter().enumerate() {
            for (j, part) in turn.parts.iter().enumerate() {
                let Some((audio, key)) = audio_of(part) else {
                    continue;
                };
                let Some(limit) = routes.audio_limit(model) else {
                    return Ok(warnings);
                };
                let length = self.length(&audio);
                if length.is_none_or(|length| length <= limit + TOLERANCE) {
                    continue;
                }
                let field = format!("conversation.messages[{i}].content[{j}].{key}");
                let message = too_long(model, length.unwrap_or_default(), limit);
                let policy = prompt.options.long_audio;
                match policy.unwrap_or_else(|| routes.long_audio()) {
                    LongAudio::Warn => {
                        warnings.push(Warning::new(Code::AudioTruncated, field, message));
                    }
                    LongAudio::Fail => return Err(refused(field, message)),
                }
            }
        }
        Ok(warnings)
    }

    /// The duration of audio, if its bytes are inline or were uploaded through this process.
    fn length(&self, audio: &AudioSource<'_>) -> Option<Duration> {
        let bytes = match audio {
            AudioSource::Bytes(bytes) => Cow::Borrowed(*bytes),
            AudioSource::Uri(uri) => match data(uri) {
                Some(bytes) => Cow::Owned(bytes),
                None => return self.uploaded(uri),
            },
        };
        audio::duration(Recording::whole(&bytes))
    }

    fn uploaded(&self, uri: &str) -> Option<Duration> {
        let uploads = self.lock();
        let mut newest = uploads.iter().rev();
        newest
            .find(|(known, _)| known == uri)
            .map(|(_, length)| *length)
    }

    /// Records the duration of an upload, if it is audio.
    pub(in crate::relay) fn stored(&self, uri: &str, ends: &Ends) {
        let Some(length) = ends.duration() else {
            return;
        };
        let mut uploads = self.lock();
        if uploads.len() >= REMEMBERED_UPLOADS {
            uploads.pop_front();
        }
        uploads.push_back((uri.to_owned(), length));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Duration)>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The audio of a part.
enum AudioSource<'a> {
    Bytes(&'a [u8]),
    Uri(&'a str),
}

/// The audio of a part, and the field it is in: the typed one, or `input_audio`, as newer models
/// for speech recognition name it.
fn audio_of(part: &Part) -> Option<(AudioSource<'_>, &'static str)> {
    match &part.body {
        Body::Audio(audio) => match &audio.medium.as_ref()?.source {
            Source::Inline(bytes) => Some((AudioSource::Bytes(bytes), "audio")),
            Source::Uri(uri) => Some((AudioSource::Uri(uri), "audio")),
        },
        Body::Other => {
            let audio = part.extra.value("input_audio")?;
            let data = if let Document::Object(audio) = audio {
                audio.value("data")?
            } else {
                audio
            };
            let Document::String(uri) = data else {
                return None;
            };
            Some((AudioSource::Uri(uri), "extra"))
        }
        Body::Text(_) | Body::Image(_) | Body::Video(_) => None,
    }
}

fn too_long(model: &str, length: Duration, limit: Duration) -> String {
    let (length, limit) = (length.as_secs_f64(), limit.as_secs_f64());
    format!(
        "the audio is {length:.1} s long; {model} processes the first {limit} s and ignores the \
         rest"
    )
}

fn refused(field: String, message: String) -> Error {
    let text = format!("{field}: {message}; split the audio or choose a model with a higher limit");
    Error::new(Reason::MediaTooLong, text).with_violation(Violation {
        field,
        description: message,
    })
}

/// The bytes of a `data:` URI.
fn data(uri: &str) -> Option<Vec<u8>> {
    STANDARD.decode(data_uri::parse(uri)?.encoded).ok()
}

/// The beginning and the end of an upload, kept while its chunks pass.
#[derive(Debug, Default)]
pub(in crate::relay) struct Ends {
    head: Vec<u8>,
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
    size: u64,
}

impl Ends {
    /// Adds the next chunk. The end is shared with the chunks, not copied.
    pub(in crate::relay) fn push(&mut self, chunk: &Bytes) {
        let missing = MEASURED_BYTES.saturating_sub(self.head.len());
        let begin = chunk.get(..missing.min(chunk.len()));
        self.head.extend_from_slice(begin.unwrap_or_default());
        self.size += u64::try_from(chunk.len()).unwrap_or(0);
        self.tail_bytes += chunk.len();
        self.tail.push_back(chunk.clone());
        while let Some(first) = self.tail.front()
            && self.tail_bytes - first.len() >= MEASURED_BYTES
        {
            self.tail_bytes -= first.len();
            self.tail.pop_front();
        }
    }

    fn duration(&self) -> Option<Duration> {
        let tail: Vec<u8> = self.tail.iter().flatten().copied().collect();
        audio::duration(Recording {
            head: &self.head,
            tail: &tail,
            size: self.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_an_upload_are_enough_however_it_is_cut() {
        // Mono samples of 16 bits at 8 kHz: 40 seconds.
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(8_000u32.to_le_bytes());
        file.extend(16_000u32.to_le_bytes());
        file.extend(b"\x02\0\x10\0data\0\0\0\0");
        file.extend(vec![0; 640_000]);
        for chunk in [1_000, 65_536, 700_000] {
            let mut ends = Ends::default();
            for chunk in file.chunks(chunk) {
                ends.push(&Bytes::copy_from_slice(chunk));
            }
            assert_eq!(ends.duration(), Some(Duration::from_secs(40)));
            assert!(ends.head.len() <= MEASURED_BYTES);
            assert!(ends.tail_bytes <= MEASURED_BYTES + chunk);
        }
    }

    #[test]
    fn white_space_around_a_data_uri_does_not_hide_its_duration() {
        let encoded = STANDARD.encode(b"#!AMR\n\x7c");
        for uri in [
            format!("data:audio/amr;base64,{encoded}"),
            format!("DATA:;base64, {encoded}\r\n"),
        ] {
            assert_eq!(data(&uri).unwrap(), b"#!AMR\n\x7c", "{uri}");
        }
    }

    #[test]
    fn as_many_uploads_are_remembered_as_the_bound_says() {
        let limits = AudioLimits::default();
        let mut ends = Ends::default();
        ends.push(&Bytes::from_static(b"#!AMR\n\x7c"));
        for number in 0..=REMEMBERED_UPLOADS {
            limits.stored(&format!("oss://{number}"), &ends);
        }
        assert_eq!(limits.uploaded("oss://0"), None);
        assert!(limits.uploaded("oss://1").is_some());
    }
}
