//! Audio of an answer: inline bytes, and the URL of the file that DashScope stores.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::annotations::owned;
use super::answer_json;
use super::json_text::Quoted;
use super::samples::SampleReader;
use crate::chat::document::Document;
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
    /// The form of audio whose server does not state it.
    samples: SampleReader,
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
        let mut file = AudioFile {
            uri: owned(audio.url),
            id: owned(audio.id),
            expires_at: audio.expires_at,
            extra: audio.extra,
        };
        let has_audio = self.has_audio || self.samples.is_withholding();
        let mut starts = has_audio && (starts_part || self.is_another(&file));
        if starts {
            new.extend(self.rest().map(|rest| (false, Piece::Audio(rest))));
            new.extend(self.finish().map(|file| (false, Piece::AudioFile(file))));
            self.file = AudioFile::default();
            self.samples = SampleReader::default();
            self.report(choice, losses);
            self.extra = Extra::default();
        }
        let mut decoded = BASE64.decode(data).ok().map(Bytes::from);
        let keys = file.extra.0.len();
        if audio.may_be_file {
            decoded = decoded.map(|bytes| self.samples.read(bytes, &mut file.extra));
        }
        let has_format = file.extra.0.len() > keys;
        if decoded.is_none() {
            let odd = Document::String(data.to_owned());
            file.extra.0.push((DATA.to_owned(), odd));
        }
        let has_invalid_data = file.extra.value(DATA).is_some();
        let has_uri = self.merge_file(file, (choice, losses));
        // A format is known before the audio that it is needed for.
        let before = self.finish_if(has_format);
        let decoded = decoded.filter(|audio| !audio.is_empty());
        self.has_audio |= decoded.is_some();
        let pieces = before.into_iter().map(Piece::AudioFile);
        let pieces = pieces.chain(decoded.map(Piece::Audio));
        let pieces = pieces.chain(self.finish_if(has_uri).map(Piece::AudioFile));
        new.extend(pieces.map(|piece| (std::mem::take(&mut starts), piece)));
        AudioUpdate {
            new,
            has_invalid_data,
        }
    }

    fn finish_if(&mut self, is_due: bool) -> Option<AudioFile> {
        is_due.then(|| self.finish()).flatten()
    }

    /// Returns bytes that were withheld.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        self.samples.rest()
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
