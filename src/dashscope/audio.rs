//! Audio of an answer: inline bytes, and the URL of the file that DashScope stores.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::annotations::owned;
use super::answer_json;
use super::json_text::Quoted;
use crate::audio::recording::Recording;
use crate::audio::wave;
use crate::chat::document::{Document, Object, Real};
use crate::chat::dropped_parts::Losses;
use crate::chat::event::Piece;
use crate::chat::extra::Extra;
use crate::chat::media::AudioFile;

/// DashScope's base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes the audio of one choice.
#[derive(Debug, Default)]
pub(super) struct AudioDecoder {
    /// The known fields of the file, without its other keys.
    file: AudioFile,
    extra: Extra,
    /// Whether fields of the file are known that were not emitted yet.
    waits: bool,
    has_audio: bool,
    /// The beginning of a WAVE header whose rest has not come yet.
    header: Vec<u8>,
}

/// What one event contributed.
#[derive(Debug, Default)]
pub(super) struct AudioUpdate {
    /// New pieces, each with whether it begins a part.
    pub(super) new: Vec<(bool, Piece)>,
    /// Whether the data could not be decoded. It is then kept in the file's other keys.
    pub(super) has_invalid_data: bool,
}

const DATA: &str = "data";

/// The largest incomplete header that is waited for: real ones have less than a hundred bytes, and
/// up to a few hundred with lists of names.
const MAX_HEADER: usize = 4096;

/// Whether bytes are the beginning of a WAVE file, without the whole header.
fn is_part_of_header(bytes: &[u8]) -> bool {
    const RIFF: &[u8] = b"RIFF";
    const WAVE: &[u8] = b"WAVE";
    let begins = |bytes: &[u8], name: &[u8]| bytes.iter().zip(name).all(|(one, two)| one == two);
    let has_names = begins(bytes, RIFF) && begins(bytes.get(8..).unwrap_or_default(), WAVE);
    !bytes.is_empty() && bytes.len() < MAX_HEADER && has_names
}

/// The samples of a WAVE file, and their format.
struct Wave {
    samples: Bytes,
    sample_rate: u32,
    channels: u32,
    bits: u32,
}

impl Wave {
    /// The samples of a file of uncompressed integers. Any other file is kept as it is.
    fn of(file: &Bytes) -> Option<Self> {
        let layout = wave::layout(Recording::whole(file))?;
        let format = layout.format;
        if format.tag != wave::tag::PCM || layout.big {
            return None;
        }
        let start = usize::try_from(layout.data.0).ok()?;
        let length = usize::try_from(layout.data.1).ok()?;
        let end = start.saturating_add(length).min(file.len());
        Some(Self {
            samples: file.slice(start.min(end)..end),
            sample_rate: format.rate,
            channels: format.channels,
            bits: format.bits,
        })
    }

    /// The keys of a format other than that of streamed audio, which is 16-bit mono at 24 kHz.
    fn unusual_format(&self) -> Object {
        let keys = [
            ("sample_rate", self.sample_rate, 24_000),
            ("channels", self.channels, 1),
            ("bits_per_sample", self.bits, 16),
        ];
        let unusual = keys.into_iter().filter(|(_, value, usual)| value != usual);
        let number = |value: u32| Document::Number(Real(f64::from(value)));
        Object(
            unusual
                .map(|(key, value, _)| (key.to_owned(), number(value)))
                .collect(),
        )
    }
}

impl AudioDecoder {
    /// Decodes one event's audio. `choice` is the index of the choice.
    pub(super) fn take(
        &mut self,
        audio: answer_json::Audio<'_>,
        starts_part: bool,
        (choice, losses): (i32, &mut Losses),
    ) -> AudioUpdate {
        let mut new = Vec::new();
        let data = audio.data.as_ref().map_or("", |Quoted(data)| data);
        let mut audio_extra = audio.extra;
        let mut decoded = BASE64.decode(data).ok().map(Bytes::from);
        if audio.may_have_header {
            decoded = decoded.map(|bytes| self.without_header(bytes, &mut audio_extra));
        }
        if decoded.is_none() {
            let odd = Document::String(data.to_owned());
            audio_extra.0.push((DATA.to_owned(), odd));
        }
        let has_invalid_data = audio_extra.value(DATA).is_some();
        let file = AudioFile {
            uri: owned(audio.url),
            id: owned(audio.id),
            expires_at: audio.expires_at,
            extra: audio_extra,
        };
        let mut starts = self.has_audio && (starts_part || self.is_another(&file));
        if starts {
            new.extend(self.finish().map(|file| (false, Piece::AudioFile(file))));
            self.file = AudioFile::default();
            self.report(choice, losses);
            self.extra = Extra::default();
        }
        if let Some(audio) = decoded.filter(|audio| !audio.is_empty()) {
            let piece = Piece::Audio(audio);
            new.push((std::mem::take(&mut starts), piece));
            self.has_audio = true;
        }
        if self.merge_file(file, (choice, losses)) {
            let file = self.finish();
            new.extend(file.map(|file| (starts, Piece::AudioFile(file))));
        }
        AudioUpdate {
            new,
            has_invalid_data,
        }
    }

    /// The samples of an event. An incomplete header is kept until its rest comes.
    fn without_header(&mut self, bytes: Bytes, extra: &mut Object) -> Bytes {
        let bytes = match self.header.is_empty() {
            true => bytes,
            false => {
                let mut all = std::mem::take(&mut self.header);
                all.extend_from_slice(&bytes);
                Bytes::from(all)
            }
        };
        if let Some(wave) = Wave::of(&bytes) {
            extra.0.extend(wave.unusual_format().0);
            return wave.samples;
        }
        if is_part_of_header(&bytes) && wave::layout(Recording::whole(&bytes)).is_none() {
            self.header = bytes.to_vec();
            return Bytes::new();
        }
        bytes
    }

    /// Returns bytes that were kept as the beginning of a header and are none.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.header);
        (!rest.is_empty()).then(|| Bytes::from(rest))
    }

    /// Returns the file if some of its fields were not emitted yet.
    pub(super) fn finish(&mut self) -> Option<AudioFile> {
        std::mem::take(&mut self.waits).then(|| AudioFile {
            extra: self.extra.whole(),
            ..self.file.clone()
        })
    }

    /// Reports losses in the other keys.
    pub(super) fn report(&self, choice: i32, losses: &mut Losses) {
        let at = format_args!("output.choices[{choice}].message.content.audio");
        self.extra.report(at, losses);
    }

    /// Whether the file differs from the current one by id, or without ids by URL. A different file
    /// begins a new part.
    fn is_another(&self, file: &AudioFile) -> bool {
        let differ = |known: &str, new: &str| !known.is_empty() && !new.is_empty() && known != new;
        let named = !file.id.is_empty() && !self.file.id.is_empty();
        differ(&self.file.id, &file.id) || !named && differ(&self.file.uri, &file.uri)
    }

    /// Merges the fields of a file. Returns whether to emit them now: with the URL. Without one
    /// they are kept until the end.
    fn merge_file(&mut self, file: AudioFile, (choice, losses): (i32, &mut Losses)) -> bool {
        let known = &mut self.file;
        let before = known.clone();
        let has_uri = !file.uri.is_empty();
        if has_uri {
            known.uri = file.uri;
        }
        if !file.id.is_empty() {
            known.id = file.id;
        }
        known.expires_at = file.expires_at.or(known.expires_at);
        let mut is_new = *known != before;
        if !file.extra.is_empty() {
            let at = format_args!("output.choices[{choice}].message.content.audio");
            let shown = self.extra.show(file.extra, at, losses);
            is_new |= !shown.is_empty() || !self.extra.waiting().is_empty();
        }
        if is_new {
            self.has_audio = true;
            self.waits = true;
        }
        has_uri
    }
}
