//! The dialects of the realtime interface, as a table: which models use which, and how they differ.
//!
//! They change every few months, so a row is data that a setting can override, and no rule in code.

use crate::chat::glob;
use crate::chat::live_session::AudioEncoding::{self, Mp3, Opus, Pcm, Wav};
use crate::chat::live_session::{AudioFormat, OUTPUT_RATE};

/// How a family of models uses the realtime interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its name in settings.
    pub name: &'static str,
    /// What its models do.
    pub task: DialectTask,
    /// The form of `session`.
    pub session: SessionForm,
    /// The key of the modalities.
    pub modalities_key: &'static str,
    /// How turns can be detected.
    pub turns: &'static [TurnKind],
    /// The `type` of a detection by voice activity.
    pub server_vad: &'static str,
    /// Whether the detection of turns can be changed after the first audio.
    pub changes_turns: bool,
    /// The transcription without details, as JSON; `None` to send nothing.
    pub transcription: Option<&'static str>,
    /// Disabled transcription, as JSON; `None` if it cannot be disabled.
    pub no_transcription: Option<&'static str>,
    /// How a response is requested.
    pub response: ResponseForm,
    /// How a session ends.
    pub ending: Ending,
    /// The formats of input audio.
    pub input: AudioForms,
    /// The formats of output audio.
    pub output: AudioForms,
    /// Whether images are accepted.
    pub images: bool,
    /// Whether text messages and other items of the conversation are accepted.
    pub items: bool,
    /// Whether tools are accepted.
    pub tools: bool,
    /// Whether a cancelled response ends with `response.done`.
    pub completes_cancelled: bool,
}

/// What the models of a dialect do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectTask {
    /// Conversation, translation or recognition of speech.
    Converse,
    /// Speech synthesis.
    Synthesize,
}

/// The form of `session`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionForm {
    /// Voice and detection of turns are keys of `session`. Audio formats are too, as far as they
    /// have names.
    Flat,
    /// Voice and formats are below `audio`.
    Nested,
    /// As [`Self::Nested`], with the detection of turns below `audio.input`.
    NestedTurns,
    /// As [`Self::Flat`], with `sample_rate` beside the format of input audio.
    InputRate,
    /// The keys of speech synthesis.
    Synthesis,
}

/// A way to detect turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnKind {
    /// By the caller.
    Manual,
    /// By voice activity.
    ServerVad,
    /// By voice activity and meaning.
    SemanticVad,
    /// By sound and meaning.
    SmartTurn,
}

/// How a response is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseForm {
    /// `response` is omitted if it is empty.
    Optional,
    /// `response` is always an object.
    Required,
    /// Responses start by themselves and cannot be requested or cancelled.
    Automatic,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `session.finish`, which is answered with `session.finished`.
    Acknowledged,
    /// `session.finish`, which may be answered.
    Unacknowledged,
    /// The connection is closed.
    Close,
}

/// The formats of audio in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioForms {
    /// The encodings.
    pub encodings: &'static [AudioEncoding],
    /// The rates. The first is the default.
    pub rates: &'static [u32],
    /// The formats that have a name, in `input_audio_format` or `output_audio_format`.
    pub names: &'static [(AudioEncoding, u32, &'static str)],
}

impl AudioForms {
    /// Whether a format is accepted as it is.
    pub fn accepts(&self, format: AudioFormat) -> bool {
        let rate = format.sample_rate.unwrap_or(self.default_rate());
        self.encodings.contains(&format.encoding) && self.rates.contains(&rate)
    }

    /// The format that is used for this one: PCM at a rate that is not accepted is resampled by
    /// the gateway.
    pub fn nearest(&self, format: AudioFormat) -> AudioFormat {
        let plain = AudioFormat {
            sample_rate: None,
            ..format
        };
        let is_resampled = format.is_pcm() && !self.accepts(format) && self.accepts(plain);
        if is_resampled { plain } else { format }
    }

    /// The rate unless another is configured.
    pub fn default_rate(&self) -> u32 {
        self.rates.first().copied().unwrap_or(OUTPUT_RATE)
    }

    /// The name of a format, if it has one.
    pub(super) fn name(&self, format: AudioFormat) -> Option<&'static str> {
        let rate = format.sample_rate.unwrap_or(self.default_rate());
        let mut names = self.names.iter();
        let found = names.find(|(encoding, of, _)| *encoding == format.encoding && *of == rate);
        found.map(|(_, _, name)| *name)
    }
}

impl Dialect {
    /// The dialect of a model. The first override that matches applies, then the table.
    pub fn of(model: &str, overrides: &[(String, &'static Self)]) -> &'static Self {
        let mut overrides = overrides.iter();
        if let Some((_, dialect)) = overrides.find(|(pattern, _)| glob::matches(pattern, model)) {
            return dialect;
        }
        let row = MODELS.iter().find(|(prefix, _)| model.starts_with(prefix));
        row.map_or(&OMNI, |(_, dialect)| dialect)
    }

    /// The dialect of this name, as a setting has it.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|dialect| dialect.name == name).copied()
    }

    /// Every dialect.
    pub fn all() -> &'static [&'static Self] {
        ALL
    }

    /// Whether turns can be detected in this way.
    pub fn detects(&self, kind: TurnKind) -> bool {
        self.turns.contains(&kind)
    }
}

/// The prefixes of models, longer ones first. All others use [`OMNI`].
static MODELS: &[(&str, &Dialect)] = &[
    ("qwen3.8-livetranslate-", &LIVETRANSLATE_V38),
    ("qwen3.5-livetranslate-", &LIVETRANSLATE),
    ("qwen3-livetranslate-", &LIVETRANSLATE),
    ("qwen-omni-turbo", &OMNI_TURBO),
    ("qwen3.5-omni-", &OMNI_V35),
    ("qwen3.8-omni-", &OMNI_V38),
    ("qwen3.5-asr-", &ASR),
    ("qwen3.5-tts-", &TTS),
    ("qwen-audio-", &QWEN_AUDIO),
    ("qwen3-asr-", &ASR),
    ("qwen3-tts-", &TTS),
    ("qwen-tts-", &TTS),
];

static ALL: &[&Dialect] = &[
    &OMNI,
    &OMNI_TURBO,
    &OMNI_V35,
    &OMNI_V38,
    &QWEN_AUDIO,
    &LIVETRANSLATE,
    &LIVETRANSLATE_V38,
    &TTS,
    &ASR,
];

const RATES: &[u32] = &[16_000, 8_000, 24_000, 48_000];
const OUTPUT_RATES: &[u32] = &[24_000, 8_000, 16_000, 48_000];

const INPUT: AudioForms = AudioForms {
    encodings: &[Pcm, Wav],
    rates: RATES,
    names: &[(Pcm, 16_000, "pcm16")],
};

const OUTPUT: AudioForms = AudioForms {
    encodings: &[Pcm, Wav],
    rates: OUTPUT_RATES,
    names: &[(Pcm, 24_000, "pcm24")],
};

/// PCM under its plain name, at one rate.
const PLAIN_INPUT: AudioForms = AudioForms {
    names: &[(Pcm, 16_000, "pcm")],
    ..INPUT
};

const PLAIN_OUTPUT: AudioForms = AudioForms {
    names: &[(Pcm, 24_000, "pcm")],
    ..OUTPUT
};

const NULL: Option<&str> = Some("null");
const VAD: &str = "server_vad";
const MODALITIES: &str = "modalities";

static OMNI: Dialect = Dialect {
    name: "omni",
    task: DialectTask::Converse,
    session: SessionForm::Flat,
    modalities_key: MODALITIES,
    turns: &[TurnKind::Manual, TurnKind::ServerVad, TurnKind::SemanticVad],
    server_vad: VAD,
    changes_turns: true,
    transcription: Some(r#"{"model":null}"#),
    no_transcription: NULL,
    response: ResponseForm::Optional,
    ending: Ending::Acknowledged,
    input: INPUT,
    output: OUTPUT,
    images: true,
    items: true,
    tools: true,
    completes_cancelled: true,
};

/// The first generation: its formats are fixed.
static OMNI_TURBO: Dialect = Dialect {
    name: "omni_turbo",
    turns: &[TurnKind::Manual, TurnKind::ServerVad],
    input: AudioForms {
        encodings: &[Pcm],
        rates: &[16_000],
        ..INPUT
    },
    output: AudioForms {
        encodings: &[Pcm],
        rates: &[24_000],
        names: &[(Pcm, 24_000, "pcm16")],
    },
    tools: false,
    ..OMNI
};

/// After `response.cancel` it sends `response.output_item.done`, and no `response.done`.
static OMNI_V35: Dialect = Dialect {
    name: "omni_v35",
    output: PLAIN_OUTPUT,
    completes_cancelled: false,
    ..OMNI
};

static OMNI_V38: Dialect = Dialect {
    name: "omni_v38",
    session: SessionForm::Nested,
    transcription: Some("{}"),
    ending: Ending::Unacknowledged,
    ..OMNI
};

static QWEN_AUDIO: Dialect = Dialect {
    name: "qwen_audio",
    turns: &[TurnKind::Manual, TurnKind::ServerVad, TurnKind::SmartTurn],
    changes_turns: false,
    transcription: Some("{}"),
    response: ResponseForm::Required,
    ending: Ending::Close,
    input: AudioForms {
        encodings: &[Pcm],
        rates: &[16_000],
        ..PLAIN_INPUT
    },
    output: AudioForms {
        encodings: &[Pcm],
        rates: &[24_000],
        ..PLAIN_OUTPUT
    },
    images: false,
    ..OMNI
};

static LIVETRANSLATE: Dialect = Dialect {
    name: "livetranslate",
    turns: &[TurnKind::Manual, TurnKind::ServerVad],
    transcription: Some(r#"{"model":"qwen3-asr-flash-realtime"}"#),
    no_transcription: Some(r#"{"model":null}"#),
    response: ResponseForm::Automatic,
    input: PLAIN_INPUT,
    output: PLAIN_OUTPUT,
    items: false,
    tools: false,
    ..OMNI
};

static LIVETRANSLATE_V38: Dialect = Dialect {
    name: "livetranslate_v38",
    session: SessionForm::NestedTurns,
    modalities_key: "output_modalities",
    turns: &[TurnKind::ServerVad],
    server_vad: "speaker_detection",
    transcription: None,
    no_transcription: None,
    ..LIVETRANSLATE
};

static TTS: Dialect = Dialect {
    name: "tts",
    task: DialectTask::Synthesize,
    session: SessionForm::Synthesis,
    turns: &[],
    transcription: None,
    no_transcription: None,
    response: ResponseForm::Automatic,
    output: AudioForms {
        encodings: &[Pcm, Mp3, Wav, Opus],
        rates: &[24_000, 8_000, 16_000, 22_050, 32_000, 44_100, 48_000],
        names: &[],
    },
    images: false,
    items: false,
    tools: false,
    ..OMNI
};

static ASR: Dialect = Dialect {
    name: "asr",
    session: SessionForm::InputRate,
    turns: &[TurnKind::Manual, TurnKind::ServerVad],
    transcription: Some("{}"),
    // The transcript is all that its models produce.
    no_transcription: None,
    response: ResponseForm::Automatic,
    input: AudioForms {
        encodings: &[Pcm, Opus],
        rates: &[16_000, 8_000],
        names: &[
            (Pcm, 16_000, "pcm"),
            (Pcm, 8_000, "pcm"),
            (Opus, 16_000, "opus"),
            (Opus, 8_000, "opus"),
        ],
    },
    images: false,
    items: false,
    tools: false,
    ..OMNI
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_a_model_chooses_its_dialect() {
        for (model, name) in [
            ("qwen3-omni-flash-realtime", "omni"),
            ("qwen3.5-omni-plus-realtime", "omni_v35"),
            ("qwen3.8-omni-flash-realtime", "omni_v38"),
            ("qwen-omni-turbo-realtime-2025-05-08", "omni_turbo"),
            ("qwen-audio-3.1-realtime-plus", "qwen_audio"),
            ("qwen3-livetranslate-flash-realtime", "livetranslate"),
            ("qwen3.5-livetranslate-flash-realtime", "livetranslate"),
            ("qwen3.8-livetranslate-flash-realtime", "livetranslate_v38"),
            ("qwen3-tts-flash-realtime", "tts"),
            ("qwen3-asr-flash-realtime", "asr"),
            ("unknown", "omni"),
        ] {
            assert_eq!(Dialect::of(model, &[]).name, name, "{model}");
        }
        for pair in MODELS.windows(2) {
            assert!(pair[0].0.len() >= pair[1].0.len(), "{pair:?}");
        }
    }

    #[test]
    fn the_first_override_that_matches_applies() {
        let named = |name| Dialect::named(name).unwrap();
        let overrides = [
            ("qwen3-omni-*".to_owned(), named("qwen_audio")),
            ("*".to_owned(), named("tts")),
        ];
        assert_eq!(Dialect::of("qwen3-omni-x", &overrides).name, "qwen_audio");
        assert_eq!(Dialect::of("x", &overrides).name, "tts");
        assert_eq!(Dialect::named("none"), None);
        for dialect in Dialect::all() {
            assert_eq!(Dialect::named(dialect.name), Some(*dialect));
        }
    }

    #[test]
    fn formats_are_accepted_by_encoding_and_rate() {
        let format = |encoding, sample_rate| AudioFormat {
            encoding,
            sample_rate,
        };
        for (forms, encoding, rate, is_accepted) in [
            (&OMNI.input, Pcm, None, true),
            (&OMNI.input, Pcm, Some(8_000), true),
            (&OMNI.input, Pcm, Some(44_100), false),
            (&OMNI.input, Opus, None, false),
            (&QWEN_AUDIO.input, Pcm, Some(8_000), false),
            (&ASR.input, Opus, Some(8_000), true),
            (&TTS.output, Mp3, Some(48_000), true),
        ] {
            let format = format(encoding, rate);
            assert_eq!(forms.accepts(format), is_accepted, "{format:?}");
        }
    }
}
