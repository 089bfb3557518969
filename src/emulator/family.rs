//! Properties of each model family, in one table (as of November 2026). The first row that matches
//! a model applies.

use super::script::wildcard;

/// What a model generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, and audio for some models.
    Chat,
    /// Transcripts of audio.
    Transcribe,
    /// Transcripts in the format of Fun-ASR: parts `input_audio`, the transcript in `output.text`.
    Recognise,
    /// Speech.
    Speak,
    /// Images, new or edited.
    Draw,
    /// Served at another path, like text models.
    OtherPath,
}

/// The format of `usage`, which depends on the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsageForm {
    /// `audio_tokens`, `output_tokens`, `input_tokens` including the audio.
    Audio,
    /// Counts with `image_tokens` or `video_tokens`.
    Vision,
    /// Totals with details of input and output.
    Detailed,
    /// Details and `seconds` only.
    Seconds,
    /// `characters`.
    Characters,
    /// `height`, `width`, `image_count`.
    Image,
    /// `duration`, in seconds.
    Duration,
}

/// The properties of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Glob pattern of its models.
    pub(super) models: &'static str,
    /// What it generates.
    pub(super) kind: Kind,
    /// The format of its usage.
    pub(super) usage: UsageForm,
    /// Only streams are supported.
    pub(super) stream_only: bool,
    /// Streams are incremental by default.
    pub(super) deltas: bool,
    /// Incremental streams end with a frame of empty content.
    pub(super) empty_last: bool,
    /// Answers have no finish reason.
    pub(super) no_reason: bool,
    /// The fewest and the most images in a request, for models that generate images.
    pub(super) images: (usize, usize),
    /// The longest audio that is processed, in seconds.
    pub(super) max_audio_seconds: u32,
    /// Tokens per second of audio, times ten.
    pub(super) audio_rate: u32,
}

/// The common case, from which the other rows are derived.
const CHAT: Family = Family {
    models: "",
    kind: Kind::Chat,
    usage: UsageForm::Detailed,
    stream_only: false,
    deltas: false,
    empty_last: false,
    no_reason: false,
    images: (0, 0),
    max_audio_seconds: 600,
    audio_rate: 250,
};

const AUDIO: Family = Family {
    usage: UsageForm::Audio,
    max_audio_seconds: 30,
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

const DRAW: Family = Family {
    kind: Kind::Draw,
    usage: UsageForm::Image,
    ..CHAT
};

const RECOGNISE: Family = Family {
    kind: Kind::Recognise,
    usage: UsageForm::Duration,
    max_audio_seconds: 300,
    ..CHAT
};

const OTHER_PATH: Family = Family {
    kind: Kind::OtherPath,
    ..CHAT
};

const fn drawn(models: &'static str, images: (usize, usize), no_reason: bool) -> Family {
    Family {
        models,
        images,
        no_reason,
        ..DRAW
    }
}

/// From the most to the least specific.
static FAMILIES: &[Family] = &[
    // Served at /services/audio/tts/SpeechSynthesizer.
    named("qwen-audio-*-tts*", OTHER_PATH),
    named("qwen*-tts*", SPEAK),
    named("fun-asr-flash*", RECOGNISE),
    named("qwen-audio-*-asr*", RECOGNISE),
    named(
        "qwen*-asr*",
        Family {
            kind: Kind::Transcribe,
            usage: UsageForm::Seconds,
            empty_last: true,
            max_audio_seconds: 300,
            ..CHAT
        },
    ),
    drawn("qwen-image*-edit*", (1, 3), false),
    drawn("qwen-image-2*", (0, 3), false),
    drawn("qwen-image-3*", (0, 3), false),
    drawn("qwen-image*", (0, 0), false),
    drawn("z-image*", (0, 0), true),
    drawn("wan*-image*", (0, 4), false),
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
    named("qwen*-vl*", VISION),
    named("qwen*-ocr*", VISION),
    // Newer generations accept images and videos, except their largest text models.
    named("qwen3.6-max*", OTHER_PATH),
    named("qwen3.7-max*", OTHER_PATH),
    named("qwen3.5*", CHAT),
    named("qwen3.6*", CHAT),
    named("qwen3.7*", CHAT),
    named("qwen3.8*", CHAT),
    named("kimi-k2.*", CHAT),
    // Text models, at /services/aigc/text-generation/generation.
    named("kimi*", OTHER_PATH),
    named("qwen*", OTHER_PATH),
    named("qwq*", OTHER_PATH),
    named("deepseek*", OTHER_PATH),
    named("glm*", OTHER_PATH),
    named("MiniMax*", OTHER_PATH),
];

/// The family of a model, or `None` for an unknown model.
pub(super) fn family(model: &str) -> Option<&'static Family> {
    FAMILIES
        .iter()
        .find(|family| wildcard(family.models, model))
}

/// Text models at the OpenAI-style endpoints.
static TEXT: Family = CHAT;

/// The family of a model at the OpenAI-style endpoints, which serve text models, too.
pub(super) fn served_family(model: &str) -> Option<&'static Family> {
    let family = family(model)?;
    let text = family.kind == Kind::OtherPath && !model.contains("-tts");
    Some(if text { &TEXT } else { family })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_classified_by_name() {
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
            ("qwen-image-edit", "qwen-image*-edit*"),
            ("qwen-image-plus", "qwen-image*"),
            ("qwen-image-2.0", "qwen-image-2*"),
            ("z-image", "z-image*"),
            ("z-image-turbo", "z-image*"),
            ("wan2.6-image", "wan*-image*"),
            ("wan2.7-image-pro", "wan*-image*"),
            ("fun-asr-flash-2026-06-15", "fun-asr-flash*"),
            ("qwen-audio-3.1-asr-flash", "qwen-audio-*-asr*"),
            ("qwen-audio-3.0-tts-flash", "qwen-audio-*-tts*"),
            ("qwen3.5-plus", "qwen3.5*"),
            ("qwen3.6-plus", "qwen3.6*"),
            ("qwen3.6-max-preview", "qwen3.6-max*"),
            ("qwen3.7-max", "qwen3.7-max*"),
            ("qwen3.8-max", "qwen3.8*"),
            ("qwen3.5-omni-plus", "qwen*-omni*"),
            ("kimi-k2.5", "kimi-k2.*"),
            ("kimi-k2-thinking", "kimi*"),
            ("qwen-plus", "qwen*"),
            ("qwen3-max", "qwen*"),
            ("qwq-plus", "qwq*"),
        ] {
            assert_eq!(family(model).map(|row| row.models), Some(models), "{model}");
        }
        assert!(family("nope").is_none() && family("").is_none());
    }

    #[test]
    fn every_row_matches_some_model() {
        for row in FAMILIES {
            let model = row.models.replace('*', "-x-");
            let found = family(&model).map(|found| found.models);
            assert_eq!(found, Some(row.models), "{model}");
        }
    }
}
