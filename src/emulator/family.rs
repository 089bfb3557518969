//! What is known of each family of models, as one table. The first row that fits is the one.

use super::script::wildcard;

/// What a model makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It answers with text, and some with speech.
    Chat,
    /// It writes down what is said.
    Transcribe,
    /// It speaks a text.
    Speak,
    /// It makes or changes pictures.
    Draw,
}

/// The form of `usage`, which differs from family to family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsageForm {
    /// `audio_tokens`, `output_tokens`, `input_tokens` that include the audio.
    Audio,
    /// Plain counts with `image_tokens` or `video_tokens`.
    Vision,
    /// Totals with details for input and output.
    Detailed,
    /// Details and `seconds` alone.
    Seconds,
    /// `characters`.
    Characters,
    /// `height`, `width`, `image_count`.
    Picture,
}

/// The facts of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// The names of its models, with wildcards.
    pub(super) models: &'static str,
    /// What it makes.
    pub(super) kind: Kind,
    /// How it counts.
    pub(super) usage: UsageForm,
    /// It answers by stream alone.
    pub(super) stream_only: bool,
    /// Its streams are deltas unless the request says otherwise.
    pub(super) deltas: bool,
    /// Its streams of deltas end with a frame whose content is empty.
    pub(super) empty_last: bool,
    /// It hears no more than this of an audio, in seconds.
    pub(super) hears_seconds: u32,
    /// Its tokens per second of audio, times ten.
    pub(super) audio_rate: u32,
}

/// The common case; the rows below differ from it.
const CHAT: Family = Family {
    models: "",
    kind: Kind::Chat,
    usage: UsageForm::Detailed,
    stream_only: false,
    deltas: false,
    empty_last: false,
    hears_seconds: 600,
    audio_rate: 250,
};

const AUDIO: Family = Family {
    usage: UsageForm::Audio,
    hears_seconds: 30,
    ..CHAT
};

const OMNI: Family = Family {
    stream_only: true,
    empty_last: true,
    ..CHAT
};

const VISION: Family = Family {
    usage: UsageForm::Vision,
    ..CHAT
};

const SPEAK: Family = Family {
    kind: Kind::Speak,
    usage: UsageForm::Characters,
    deltas: true,
    ..CHAT
};

const fn named(models: &'static str, family: Family) -> Family {
    Family { models, ..family }
}

const THINKING: Family = Family {
    stream_only: true,
    deltas: true,
    ..CHAT
};

/// From the particular to the general.
static FAMILIES: &[Family] = &[
    named("qwen*-tts*", SPEAK),
    named(
        "qwen*-asr*",
        Family {
            kind: Kind::Transcribe,
            usage: UsageForm::Seconds,
            empty_last: true,
            hears_seconds: 300,
            ..CHAT
        },
    ),
    named(
        "qwen-image*",
        Family {
            kind: Kind::Draw,
            usage: UsageForm::Picture,
            ..CHAT
        },
    ),
    named(
        "qwen*-omni*-captioner*",
        Family {
            empty_last: true,
            audio_rate: 125,
            ..CHAT
        },
    ),
    named("qwen*-omni*", OMNI),
    named("qwen-audio*", AUDIO),
    named("qwen2-audio*", AUDIO),
    named("qwen3-vl*-thinking*", THINKING),
    named(
        "qwen3*-vl*",
        Family {
            deltas: true,
            empty_last: true,
            ..CHAT
        },
    ),
    named("qvq*", THINKING),
    named("qwq*", THINKING),
    named("qwen*-vl*", VISION),
    named("qwen*-ocr*", VISION),
    named(
        "qwen3-max*",
        Family {
            deltas: true,
            ..CHAT
        },
    ),
    named("qwen*", CHAT),
];

/// The family of a model, if there is such a model.
pub(super) fn family(model: &str) -> Option<&'static Family> {
    FAMILIES
        .iter()
        .find(|family| wildcard(family.models, model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_by_their_names() {
        for (model, models) in [
            ("qwen-audio-turbo", "qwen-audio*"),
            ("qwen2-audio-instruct", "qwen2-audio*"),
            ("qwen3-omni-flash", "qwen*-omni*"),
            ("qwen3-omni-30b-a3b-captioner", "qwen*-omni*-captioner*"),
            ("qwen-vl-max", "qwen*-vl*"),
            ("qwen-vl-ocr", "qwen*-vl*"),
            ("qwen3-vl-plus", "qwen3*-vl*"),
            ("qvq-max", "qvq*"),
            ("qwen3-asr-flash", "qwen*-asr*"),
            ("qwen3-tts-flash", "qwen*-tts*"),
            ("qwen-tts", "qwen*-tts*"),
            ("qwen-image-edit", "qwen-image*"),
            ("qwen3.6-plus", "qwen*"),
        ] {
            assert_eq!(family(model).map(|row| row.models), Some(models), "{model}");
        }
        assert!(family("nope").is_none() && family("").is_none());
    }

    #[test]
    fn every_row_can_be_reached() {
        for row in FAMILIES {
            let model = row.models.replace('*', "-x-");
            let found = family(&model).map(|found| found.models);
            assert_eq!(found, Some(row.models), "{model}");
        }
    }
}
