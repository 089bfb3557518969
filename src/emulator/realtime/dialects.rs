//! What distinguishes the models of the realtime socket, as data: one row for each group of models,
//! and the first row that matches applies. It changes every few months.

use crate::emulator::script::wildcard;
use crate::emulator::websocket::socket_rule::Finish;

/// What a model does with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Task {
    /// Answers, with speech or text.
    Converse,
    /// Transcribes.
    Transcribe,
    /// Translates.
    Translate,
    /// Speaks the text that it receives.
    Speak,
}

/// How the transcription of a turn is streamed before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partial {
    /// Not at all.
    None,
    /// As pieces of the text.
    Delta,
    /// As the settled text and a tentative rest; the name of the event ends with this.
    Settled(&'static str),
}

/// When the voice of a session may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VoiceChange {
    /// Until audio was generated; later changes are errors.
    UntilAudio,
    /// By the first update; later changes are ignored.
    FirstUpdate,
}

/// The properties of a group of models.
#[derive(Clone, Copy, Debug)]
pub(in crate::emulator) struct Dialect {
    /// Glob pattern of the models.
    pub(super) models: &'static str,
    /// What they do.
    pub(in crate::emulator) task: Task,
    /// The session before the first update, without its id and model.
    pub(super) session: &'static str,
    /// The types of turn detection.
    pub(super) turn_detection: &'static [&'static str],
    /// How `session.finish` is answered.
    pub(super) finish: Finish,
    /// Whether a response that the client cancels ends with `response.done`.
    pub(super) done_after_cancel: bool,
    /// The form of partial transcriptions.
    pub(super) partial: Partial,
    /// Whether turns that the client commits are transcribed.
    pub(super) transcribes_commits: bool,
    /// Whether images are accepted.
    pub(super) has_images: bool,
    /// Whether items keep the ids of the client.
    pub(super) keeps_item_ids: bool,
    /// When the voice may be set.
    pub(super) voice_change: VoiceChange,
    /// Whether turn detection and formats are fixed by the first audio.
    pub(super) fixes_input: bool,
    /// Tokens per second of audio, times ten.
    pub(super) audio_rate: u32,
}

const OMNI_SESSION: &str = r#"{"object":"realtime.session","modalities":["text","audio"],
"voice":"Cherry","input_audio_format":"pcm16","output_audio_format":"pcm24",
"input_audio_transcription":{"model":"gummy-realtime-v1"},
"turn_detection":{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,
"silence_duration_ms":800,"create_response":true,"interrupt_response":true},
"tools":[],"tool_choice":"auto","temperature":0.8}"#;
const OMNI_35_SESSION: &str = r#"{"object":"realtime.session","modalities":["text","audio"],
"voice":"Tina","input_audio_format":"pcm","output_audio_format":"pcm",
"input_audio_transcription":{"model":"qwen3-asr-flash-realtime"},
"turn_detection":{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,
"silence_duration_ms":800,"create_response":true,"interrupt_response":true},
"tools":[],"tool_choice":"auto","temperature":0.8}"#;
const TURBO_SESSION: &str = r#"{"object":"realtime.session","modalities":["text","audio"],
"voice":"Chelsie","input_audio_format":"pcm16","output_audio_format":"pcm16",
"input_audio_transcription":{"model":"gummy-realtime-v1"},
"turn_detection":{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,
"silence_duration_ms":800,"create_response":true,"interrupt_response":true},
"tools":[],"tool_choice":"auto","temperature":0.8}"#;
const QWEN_AUDIO_SESSION: &str = r#"{"object":"realtime.session","modalities":["text","audio"],
"voice":"longanqian","input_audio_format":"pcm","output_audio_format":"pcm",
"input_audio_transcription":{"model":"fun-asr"},
"turn_detection":{"type":"server_vad","threshold":0.5,"silence_duration_ms":800},
"max_history_turns":20,"enable_speech_emotion":true}"#;
const ASR_SESSION: &str = r#"{"object":"realtime.session","modalities":["text"],
"input_audio_format":"pcm","sample_rate":16000,"input_audio_transcription":{"language":"zh"},
"turn_detection":{"type":"server_vad","threshold":0.0,"silence_duration_ms":400}}"#;
const TRANSLATE_SESSION: &str = r#"{"object":"realtime.session","modalities":["text","audio"],
"voice":"Cherry","input_audio_format":"pcm","output_audio_format":"pcm",
"translation":{"language":"en"},"turn_detection":{"type":"server_vad"}}"#;
const SPEECH_SESSION: &str = r#"{"object":"realtime.session","mode":"server_commit",
"voice":"Cherry","response_format":"pcm","sample_rate":24000,"language_type":"Auto"}"#;

/// The common case, from which the other rows are derived: Qwen3-Omni.
const OMNI: Dialect = Dialect {
    models: "qwen3-omni-*realtime*",
    task: Task::Converse,
    session: OMNI_SESSION,
    turn_detection: &["server_vad"],
    finish: Finish::Acknowledge,
    done_after_cancel: true,
    partial: Partial::None,
    transcribes_commits: false,
    has_images: true,
    keeps_item_ids: false,
    voice_change: VoiceChange::UntilAudio,
    fixes_input: false,
    audio_rate: 125,
};

const OMNI_35: Dialect = Dialect {
    models: "qwen3.5-omni-*realtime*",
    session: OMNI_35_SESSION,
    turn_detection: &["server_vad", "semantic_vad"],
    done_after_cancel: false,
    partial: Partial::Delta,
    ..OMNI
};

const QWEN_AUDIO: Dialect = Dialect {
    models: "qwen-audio-*realtime*",
    session: QWEN_AUDIO_SESSION,
    turn_detection: &["server_vad", "smart_turn", "smart_turn_v2"],
    finish: Finish::Refuse,
    partial: Partial::Settled("delta"),
    transcribes_commits: true,
    has_images: false,
    keeps_item_ids: true,
    voice_change: VoiceChange::FirstUpdate,
    fixes_input: true,
    ..OMNI
};

const TRANSLATE: Dialect = Dialect {
    models: "qwen3*-livetranslate-*",
    task: Task::Translate,
    session: TRANSLATE_SESSION,
    partial: Partial::Settled("text"),
    transcribes_commits: true,
    ..OMNI
};

const SPEECH: Dialect = Dialect {
    models: "qwen*-tts*",
    task: Task::Speak,
    session: SPEECH_SESSION,
    turn_detection: &[],
    ..OMNI
};

static DIALECTS: [Dialect; 11] = [
    Dialect {
        models: "qwen3.8-omni-*realtime*",
        finish: Finish::Close,
        turn_detection: &["server_vad", "semantic_vad"],
        done_after_cancel: true,
        ..OMNI_35
    },
    Dialect {
        models: "qwen3.8-livetranslate-*",
        turn_detection: &["server_vad", "speaker_detection"],
        ..TRANSLATE
    },
    TRANSLATE,
    SPEECH,
    Dialect {
        models: "cosyvoice*",
        ..SPEECH
    },
    Dialect {
        models: "qwen*-asr*realtime*",
        task: Task::Transcribe,
        session: ASR_SESSION,
        partial: Partial::Settled("text"),
        transcribes_commits: true,
        has_images: false,
        ..OMNI
    },
    QWEN_AUDIO,
    Dialect {
        models: "qwen3.5-omni-flash-*realtime*",
        finish: Finish::Refuse,
        ..OMNI_35
    },
    OMNI_35,
    OMNI,
    Dialect {
        models: "qwen*-omni-turbo*realtime*",
        session: TURBO_SESSION,
        audio_rate: 250,
        ..OMNI
    },
];

/// The dialect of a model. `None` if the emulator does not know the model.
pub(in crate::emulator) fn dialect(model: &str) -> Option<&'static Dialect> {
    DIALECTS
        .iter()
        .find(|dialect| wildcard(dialect.models, model))
}

/// The dialect of a model that only a script knows.
pub(in crate::emulator) fn default_dialect() -> &'static Dialect {
    static DEFAULT: Dialect = OMNI;
    &DEFAULT
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn models_are_classified_by_name() {
        for (model, models) in [
            ("qwen3.8-omni-flash-realtime", "qwen3.8-omni-*realtime*"),
            ("qwen-audio-3.0-realtime-plus", "qwen-audio-*realtime*"),
            ("qwen-audio-3.1-tts-flash", "qwen*-tts*"),
            ("qwen3-tts-flash-realtime-2025-11-27", "qwen*-tts*"),
            ("qwen-tts-realtime", "qwen*-tts*"),
            ("qwen3-asr-flash-realtime", "qwen*-asr*realtime*"),
            (
                "qwen3.5-livetranslate-flash-realtime",
                "qwen3*-livetranslate-*",
            ),
            (
                "qwen3.8-livetranslate-flash-realtime",
                "qwen3.8-livetranslate-*",
            ),
            (
                "qwen3.5-omni-flash-realtime",
                "qwen3.5-omni-flash-*realtime*",
            ),
            ("qwen3.5-omni-plus-realtime", "qwen3.5-omni-*realtime*"),
            ("qwen3-omni-flash-realtime", "qwen3-omni-*realtime*"),
            (
                "qwen-omni-turbo-realtime-latest",
                "qwen*-omni-turbo*realtime*",
            ),
        ] {
            assert_eq!(dialect(model).unwrap().models, models, "{model}");
        }
        for model in [
            "qwen-audio-3.1-live",
            "qwen3-omni-flash",
            "gpt-4o-realtime",
            "",
        ] {
            assert!(dialect(model).is_none(), "{model}");
        }
    }

    #[test]
    fn default_sessions_are_json() {
        for dialect in &DIALECTS {
            let session: Value = serde_json::from_str(dialect.session).unwrap();
            assert!(session.is_object(), "{}", dialect.models);
        }
    }
}
