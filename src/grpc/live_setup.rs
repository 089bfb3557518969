//! Converts the setup of a live session. All errors of a setup are reported together.

use std::fmt::Display;
use std::time::Duration;

use crate::chat::document::Object;
use crate::chat::live_session::{
    AudioEncoding, AudioFormat, ConverseSetup, LiveSampling, LiveSetup, LiveTask, SessionChanges,
    SmartTurn, SynthesisSetup, Transcription, TurnDetection, VoiceActivity,
};
use crate::chat::stored::StoredConversation;
use crate::error::Error;
use crate::live::{IdlePolicy, LiveOptions};

use super::field_violations::FieldViolations;
use super::pb::{self, idle_policy, turn_detection};
use super::span::span;
use super::{options, stored_request, struct_value, tools};

/// The lowest sample rate.
const MIN_RATE: i32 = 8_000;

/// The highest sample rate.
const MAX_RATE: i32 = 48_000;

/// What the first message of a stream asks for.
pub(super) enum Opening {
    /// A new session.
    New(Box<LiveSetup>, LiveOptions, Option<Box<StoredConversation>>),
    /// A session that is resumed.
    Resume(pb::ResumeSession),
}

/// The opening of a conversation.
pub(super) fn converse(from: pb::LiveSetup) -> Result<Opening, Error> {
    let mut faults = FieldViolations::default();
    if let Some(resume) = from.resume {
        if !from.model.is_empty() {
            faults.add("setup.model", "is not sent with setup.resume; leave it out");
        }
        if from.conversation.is_some() {
            let what = "is not sent with setup.resume; leave it out";
            faults.add("setup.conversation", what);
        }
        return self::resume(resume, faults);
    }
    check_model(&from.model, &mut faults);
    let conversation = from.conversation;
    let stored = conversation.and_then(|one| stored_request::live(one, &mut faults));
    let idle = from
        .idle_policy
        .and_then(|policy| idle(policy, &mut faults));
    let changes = changes(
        "setup",
        Changes {
            instructions: (!from.instructions.is_empty()).then_some(from.instructions),
            modalities: from.modalities,
            turn_detection: from.turn_detection,
            input_transcription: from.input_transcription,
            tools: from.tools,
            tool_choice: from.tool_choice,
            sampling: from.sampling,
            extra_session: from.extra_session,
        },
        &mut faults,
    );
    let setup = ConverseSetup {
        changes,
        voice: (!from.voice.is_empty()).then_some(from.voice),
        input_audio: format("setup.input_audio", from.input_audio, &mut faults),
        output_audio: format("setup.output_audio", from.output_audio, &mut faults),
        enable_search: from.enable_search,
        search_options: from.search_options.map(options::search),
    };
    faults.check()?;
    let options = LiveOptions {
        idle,
        continue_after_limit: from.continue_after_limit,
    };
    let setup = LiveSetup {
        model: from.model.into(),
        task: LiveTask::Converse(Box::new(setup)),
    };
    Ok(Opening::New(Box::new(setup), options, stored))
}

/// The opening of a synthesis.
pub(super) fn synthesize(from: pb::SynthesisSetup) -> Result<Opening, Error> {
    let mut faults = FieldViolations::default();
    if let Some(resume) = from.resume {
        return self::resume(resume, faults);
    }
    check_model(&from.model, &mut faults);
    let is_committed = match pb::SynthesisMode::try_from(from.mode) {
        Ok(pb::SynthesisMode::Commit) => true,
        Ok(pb::SynthesisMode::Unspecified | pb::SynthesisMode::ServerCommit) => false,
        Err(_) => {
            let what = "must be SYNTHESIS_MODE_SERVER_COMMIT or SYNTHESIS_MODE_COMMIT";
            faults.add("setup.mode", what);
            false
        }
    };
    let text = |text: String| (!text.is_empty()).then_some(text);
    let setup = SynthesisSetup {
        voice: text(from.voice),
        is_committed,
        output_audio: format("setup.output_audio", from.output_audio, &mut faults),
        language_type: text(from.language_type),
        speech_rate: faults.real("setup.speech_rate", from.speech_rate),
        volume: from.volume,
        pitch_rate: faults.real("setup.pitch_rate", from.pitch_rate),
        bit_rate: from.bit_rate_kbps,
        instructions: text(from.instructions),
        optimize_instructions: from.optimize_instructions,
        enable_tn: from.enable_text_normalization,
        extra: extra("setup.extra_session", from.extra_session, &mut faults),
    };
    faults.check()?;
    let setup = LiveSetup {
        model: from.model.into(),
        task: LiveTask::Synthesize(Box::new(setup)),
    };
    Ok(Opening::New(Box::new(setup), LiveOptions::default(), None))
}

/// The changes of an update.
pub(super) fn update(from: pb::UpdateSession) -> Result<SessionChanges, Error> {
    let mut faults = FieldViolations::default();
    let changes = changes(
        "update",
        Changes {
            instructions: from.instructions,
            modalities: from.modalities,
            turn_detection: from.turn_detection,
            input_transcription: from.input_transcription,
            tools: from.tools,
            tool_choice: from.tool_choice,
            sampling: from.sampling,
            extra_session: from.extra_session,
        },
        &mut faults,
    );
    faults.check()?;
    Ok(changes)
}

fn resume(from: pb::ResumeSession, mut faults: FieldViolations) -> Result<Opening, Error> {
    if from.session_id.is_empty() {
        faults.add(
            "setup.resume.session_id",
            "is empty; it is in SessionStarted",
        );
    }
    if from.token.is_empty() {
        faults.add("setup.resume.token", "is empty; it is in SessionStarted");
    }
    if from.last_sequence < 0 {
        faults.add("setup.resume.last_sequence", "must not be negative");
    }
    faults.check()?;
    Ok(Opening::Resume(from))
}

fn check_model(model: &str, faults: &mut FieldViolations) {
    if model.is_empty() {
        let what = "is empty; name a model, for example qwen3.5-omni-flash-realtime";
        faults.add("setup.model", what);
    } else if model.chars().any(char::is_control) {
        faults.add("setup.model", "must not contain control characters");
    }
}

/// What setups and updates share.
struct Changes {
    instructions: Option<String>,
    modalities: Vec<String>,
    turn_detection: Option<pb::TurnDetection>,
    input_transcription: Option<pb::InputTranscription>,
    tools: Vec<pb::Tool>,
    tool_choice: Option<pb::ToolChoice>,
    sampling: Option<pb::LiveSampling>,
    extra_session: Option<prost_types::Struct>,
}

fn changes(path: &str, from: Changes, faults: &mut FieldViolations) -> SessionChanges {
    let listed = from.tools.into_iter().enumerate();
    SessionChanges {
        instructions: from.instructions,
        modalities: from.modalities,
        turn_detection: from
            .turn_detection
            .and_then(|detection| self::turn_detection(path, detection, faults)),
        transcription: from.input_transcription.map(transcription),
        tools: listed
            .filter_map(|(i, tool)| tools::tool(format_args!("{path}.tools[{i}]"), tool, faults))
            .collect(),
        tool_choice: from.tool_choice.and_then(|choice| {
            let path = format!("{path}.tool_choice");
            tools::tool_choice(&path, choice, faults)
        }),
        sampling: sampling(path, from.sampling.unwrap_or_default(), faults),
        extra: extra(
            format_args!("{path}.extra_session"),
            from.extra_session,
            faults,
        ),
    }
}

fn extra(
    path: impl Display,
    from: Option<prost_types::Struct>,
    faults: &mut FieldViolations,
) -> Object {
    let extra = from.map(struct_value::object).unwrap_or_default();
    faults.numbers(path, &extra);
    extra
}

fn sampling(path: &str, from: pb::LiveSampling, faults: &mut FieldViolations) -> LiveSampling {
    let path = format_args!("{path}.sampling");
    let mut real = |name: &str, value| faults.real(format_args!("{path}.{name}"), value);
    LiveSampling {
        temperature: real("temperature", from.temperature),
        top_p: real("top_p", from.top_p),
        top_k: from.top_k,
        seed: from.seed,
        max_tokens: from.max_tokens,
        repetition_penalty: real("repetition_penalty", from.repetition_penalty),
        presence_penalty: real("presence_penalty", from.presence_penalty),
    }
}

fn turn_detection(
    path: &str,
    from: pb::TurnDetection,
    faults: &mut FieldViolations,
) -> Option<TurnDetection> {
    let path = format_args!("{path}.turn_detection");
    Some(match from.kind {
        Some(turn_detection::Kind::Manual(pb::ManualTurns {})) => TurnDetection::Manual,
        Some(turn_detection::Kind::ServerVad(vad)) => TurnDetection::ServerVad(voice_activity(
            format_args!("{path}.server_vad"),
            vad,
            faults,
        )),
        Some(turn_detection::Kind::SemanticVad(vad)) => TurnDetection::SemanticVad(voice_activity(
            format_args!("{path}.semantic_vad"),
            vad,
            faults,
        )),
        Some(turn_detection::Kind::SmartTurn(smart)) => {
            if !(0..=2).contains(&smart.version) {
                let what = "must be 1 or 2, or not set";
                faults.add(format_args!("{path}.smart_turn.version"), what);
            }
            TurnDetection::SmartTurn(SmartTurn {
                voiceprint_audio_uris: smart.voiceprint_audio_uris,
                is_v2: smart.version == 2,
            })
        }
        None => {
            let what = "is empty; set manual, server_vad, semantic_vad or smart_turn";
            faults.add(path, what);
            return None;
        }
    })
}

fn voice_activity(
    path: impl Display,
    from: pb::VoiceActivity,
    faults: &mut FieldViolations,
) -> VoiceActivity {
    let mut span = |name: &str, value: Option<prost_types::Duration>| {
        duration(format_args!("{path}.{name}"), value?, faults)
    };
    VoiceActivity {
        prefix_padding: span("prefix_padding", from.prefix_padding),
        silence_duration: span("silence_duration", from.silence_duration),
        idle_timeout: span("idle_timeout", from.idle_timeout),
        threshold: faults.real(format_args!("{path}.threshold"), from.threshold),
        create_response: from.create_response,
        interrupt_response: from.interrupt_response,
    }
}

fn transcription(from: pb::InputTranscription) -> Transcription {
    match from.disabled {
        true => Transcription::Disabled,
        false => Transcription::Enabled {
            model: from.model,
            language: from.language,
            corpus_text: from.corpus_text,
        },
    }
}

fn idle(from: pb::IdlePolicy, faults: &mut FieldViolations) -> Option<IdlePolicy> {
    match from.kind {
        Some(idle_policy::Kind::KeepAlive(span)) => {
            duration("setup.idle_policy.keep_alive", span, faults).map(IdlePolicy::KeepAlive)
        }
        Some(idle_policy::Kind::EndAfter(span)) => {
            duration("setup.idle_policy.end_after", span, faults).map(IdlePolicy::EndAfter)
        }
        None => {
            let what = "is empty; set keep_alive or end_after";
            faults.add("setup.idle_policy", what);
            None
        }
    }
}

fn duration(
    path: impl Display,
    from: prost_types::Duration,
    faults: &mut FieldViolations,
) -> Option<Duration> {
    match span(from).filter(|span| !span.is_zero()) {
        Some(span) => Some(span),
        None => {
            faults.add(path, "must be more than zero");
            None
        }
    }
}

fn format(path: &str, from: Option<pb::AudioFormat>, faults: &mut FieldViolations) -> AudioFormat {
    let Some(from) = from else {
        return AudioFormat::default();
    };
    let encoding = match pb::AudioEncoding::try_from(from.encoding) {
        Ok(pb::AudioEncoding::Unspecified | pb::AudioEncoding::Pcm) => AudioEncoding::Pcm,
        Ok(pb::AudioEncoding::Wav) => AudioEncoding::Wav,
        Ok(pb::AudioEncoding::Mp3) => AudioEncoding::Mp3,
        Ok(pb::AudioEncoding::Opus) => AudioEncoding::Opus,
        Err(_) => {
            let what = "must be AUDIO_ENCODING_PCM, _WAV, _MP3 or _OPUS, or not set";
            faults.add(format_args!("{path}.encoding"), what);
            AudioEncoding::Pcm
        }
    };
    let rate = from.sample_rate_hz;
    if rate != 0 && !(MIN_RATE..=MAX_RATE).contains(&rate) {
        let what = format!("must be {MIN_RATE} to {MAX_RATE}, or not set");
        faults.add(format_args!("{path}.sample_rate_hz"), what);
    }
    AudioFormat {
        encoding,
        sample_rate: u32::try_from(rate).ok().filter(|rate| *rate > 0),
    }
}
