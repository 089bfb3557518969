//! Writes `session` of `session.update`. What the caller did not set is not sent, so that the
//! model's defaults apply.

use super::dialect::{AudioForms, Dialect, DialectTask, SessionForm, TurnKind};
use super::fields::at;
use super::session_tree::Tree;
use crate::chat::live_session::{
    AudioEncoding, AudioFormat, ConverseSetup, LiveSampling, LiveSetup, LiveTask, OUTPUT_RATE,
    SessionChanges, SmartTurn, SynthesisSetup, Transcription, TurnDetection, VoiceActivity,
};
use crate::dashscope::parameters::{Float, Search};
use crate::dashscope::tools::{Choice, ToolJson};
use crate::error::Error;

/// The name of the setup in the paths of fields.
const SETUP: &str = "setup";

/// The name of a later change in the paths of fields.
const UPDATE: &str = "update";

/// The keys of `session` that models accept, or heed, only in the first update.
const UNCHANGEABLE: &[&[&str]] = &[
    &["voice"],
    &["input_audio_format"],
    &["output_audio_format"],
    &["sample_rate"],
    &["audio", "output", "voice"],
    &["audio", "output", "format"],
    &["audio", "input", "format"],
    &["turn_detection", "voiceprint_audio_urls"],
];

/// `session` of the first `session.update`. The errors are those of fields.
pub(super) fn setup(setup: &LiveSetup, dialect: &Dialect) -> Result<Tree, Error> {
    match (&setup.task, dialect.task) {
        (LiveTask::Converse(task), DialectTask::Converse) => converse(task, dialect),
        (LiveTask::Synthesize(task), DialectTask::Synthesize) => synthesis(task, dialect),
        (LiveTask::Converse(_), DialectTask::Synthesize) => Err(Error::field(
            "setup.model",
            "the model synthesizes speech: call SynthesizeLive",
        )),
        (LiveTask::Synthesize(_), DialectTask::Converse) => Err(Error::field(
            "setup.model",
            "the model does not synthesize speech: call ConverseLive",
        )),
    }
}

/// `session` of a later `session.update`.
pub(super) fn update(
    changes: &SessionChanges,
    dialect: &Dialect,
    has_audio: bool,
) -> Result<Tree, Error> {
    if dialect.task == DialectTask::Synthesize {
        let message = "a speech synthesis cannot be changed";
        return Err(Error::field(UPDATE, message));
    }
    if changes.turn_detection.is_some() && has_audio && !dialect.changes_turns {
        let message = "the model accepts a change only before the first audio";
        return Err(field(UPDATE, "turn_detection", message));
    }
    if let Some(TurnDetection::SmartTurn(turn)) = &changes.turn_detection
        && !turn.voiceprint_audio_uris.is_empty()
    {
        let name = "turn_detection.smart_turn.voiceprint_audio_uris";
        let message = "voiceprints can be set only in the setup";
        return Err(field(UPDATE, name, message));
    }
    let unchangeable = UNCHANGEABLE
        .iter()
        .find(|path| at(&changes.extra, path).is_some());
    if let Some(path) = unchangeable {
        let message = "cannot be changed later; set it in the setup";
        return Err(field(
            UPDATE,
            &format!("extra_session.{}", path.join(".")),
            message,
        ));
    }
    let mut session = Tree::new();
    write_changes(&mut session, changes, dialect, UPDATE)?;
    session.merge(&changes.extra)?;
    Ok(session)
}

/// The error of a field of the setup or of a change.
fn field(root: &str, name: &str, message: &str) -> Error {
    Error::field(format!("{root}.{name}"), message)
}

fn converse(setup: &ConverseSetup, dialect: &Dialect) -> Result<Tree, Error> {
    let mut session = Tree::new();
    write_formats(&mut session, setup, dialect)?;
    let voice = match dialect.session {
        SessionForm::Nested | SessionForm::NestedTurns => &["audio", "output", "voice"][..],
        SessionForm::Flat | SessionForm::InputRate | SessionForm::Synthesis => &["voice"],
    };
    session.set_if(voice, setup.voice.as_ref())?;
    write_changes(&mut session, &setup.changes, dialect, SETUP)?;
    session.set_if(&["enable_search"], setup.enable_search)?;
    let search = setup.search_options.as_ref().map(Search::new);
    session.set_if(&["search_options"], search)?;
    session.merge(&setup.changes.extra)?;
    Ok(session)
}

/// A format that is not the default.
fn chosen(format: AudioFormat) -> Option<AudioFormat> {
    (format != AudioFormat::default()).then_some(format)
}

/// Formats by name where possible. In the other form, which replaces the names, both are objects.
fn write_formats(
    session: &mut Tree,
    setup: &ConverseSetup,
    dialect: &Dialect,
) -> Result<(), Error> {
    let sides = [
        (chosen(setup.input_audio), &dialect.input, "input"),
        (chosen(setup.output_audio), &dialect.output, "output"),
    ];
    for (format, forms, side) in &sides {
        if format.is_some_and(|format| !forms.accepts(format)) {
            let message = "the model does not accept this format";
            return Err(field(SETUP, &format!("{side}_audio"), message));
        }
    }
    let is_named = |(format, forms, _): &(Option<AudioFormat>, &AudioForms, _)| {
        format.is_none_or(|format| forms.name(format).is_some())
    };
    let is_nested = match dialect.session {
        SessionForm::Nested | SessionForm::NestedTurns => true,
        SessionForm::Flat | SessionForm::InputRate | SessionForm::Synthesis => {
            !sides.iter().all(is_named)
        }
    };
    for (format, forms, side) in sides {
        let Some(format) = format else {
            continue;
        };
        if is_nested {
            let path = |key| ["audio", side, "format", key];
            session.set(&path("type"), encoding_name(format.encoding))?;
            session.set_if(&path("sample_rate"), format.sample_rate)?;
        } else {
            let key = format!("{side}_audio_format");
            session.set_if(&[&key], forms.name(format))?;
        }
    }
    if dialect.session == SessionForm::InputRate {
        session.set_if(&["sample_rate"], setup.input_audio.sample_rate)?;
    }
    Ok(())
}

fn encoding_name(encoding: AudioEncoding) -> &'static str {
    match encoding {
        AudioEncoding::Pcm => "pcm",
        AudioEncoding::Wav => "wav",
        AudioEncoding::Mp3 => "mp3",
        AudioEncoding::Opus => "opus",
    }
}

fn write_changes(
    session: &mut Tree,
    changes: &SessionChanges,
    dialect: &Dialect,
    root: &str,
) -> Result<(), Error> {
    if !changes.modalities.is_empty() {
        session.set(&[dialect.modalities_key], &changes.modalities)?;
    }
    session.set_if(&["instructions"], changes.instructions.as_ref())?;
    if let Some(transcription) = &changes.transcription {
        write_transcription(session, transcription, dialect, root)?;
    }
    if let Some(detection) = &changes.turn_detection {
        write_turns(session, detection, dialect, root)?;
    }
    if !changes.tools.is_empty() {
        if !dialect.tools {
            return Err(field(root, "tools", "the model does not support tools"));
        }
        let tools = changes.tools.iter().enumerate();
        let tools: Result<Vec<_>, _> = tools.map(|(at, tool)| ToolJson::new(at, tool)).collect();
        let renamed = |path: String| path.replacen("conversation", root, 1);
        session.set(
            &["tools"],
            tools.map_err(|error| error.map_fields(renamed))?,
        )?;
    }
    let choice = changes.tool_choice.as_ref().map(Choice::new);
    session.set_if(&["tool_choice"], choice)?;
    write_sampling(session, &changes.sampling)
}

fn write_sampling(session: &mut Tree, sampling: &LiveSampling) -> Result<(), Error> {
    session.set_if(&["temperature"], sampling.temperature.map(Float))?;
    session.set_if(&["top_p"], sampling.top_p.map(Float))?;
    session.set_if(&["top_k"], sampling.top_k)?;
    session.set_if(&["seed"], sampling.seed)?;
    session.set_if(&["max_tokens"], sampling.max_tokens)?;
    let penalty = sampling.repetition_penalty.map(Float);
    session.set_if(&["repetition_penalty"], penalty)?;
    let penalty = sampling.presence_penalty.map(Float);
    session.set_if(&["presence_penalty"], penalty)
}

fn write_transcription(
    session: &mut Tree,
    transcription: &Transcription,
    dialect: &Dialect,
    root: &str,
) -> Result<(), Error> {
    const KEY: &str = "input_audio_transcription";
    const FIELD: &str = "input_transcription";
    let bare = match transcription {
        Transcription::Disabled if dialect.no_transcription.is_none() => {
            let message = "transcription cannot be disabled for this model";
            return Err(field(root, FIELD, message));
        }
        Transcription::Disabled => dialect.no_transcription,
        Transcription::Enabled {
            model,
            language,
            corpus_text,
        } => {
            let details = [
                (&["model"][..], model),
                (&["language"], language),
                (&["corpus", "text"], corpus_text),
            ];
            let mut details = details.into_iter().filter(|(_, text)| !text.is_empty());
            let mut object = Tree::new();
            let has_details = details.try_fold(false, |_, (path, text)| {
                object.set(path, text)?;
                Ok::<_, Error>(true)
            })?;
            if has_details {
                session.put(&[KEY], object);
                return Ok(());
            }
            dialect.transcription
        }
    };
    match bare {
        Some(json) => session.put_json(&[KEY], json),
        None => Ok(()),
    }
}

fn write_turns(
    session: &mut Tree,
    detection: &TurnDetection,
    dialect: &Dialect,
    root: &str,
) -> Result<(), Error> {
    let (kind, name) = match detection {
        TurnDetection::Manual => (TurnKind::Manual, "manual"),
        TurnDetection::ServerVad(_) => (TurnKind::ServerVad, "server_vad"),
        TurnDetection::SemanticVad(_) => (TurnKind::SemanticVad, "semantic_vad"),
        TurnDetection::SmartTurn(_) => (TurnKind::SmartTurn, "smart_turn"),
    };
    if !dialect.detects(kind) {
        let message = "the model does not detect turns in this way";
        return Err(field(root, &format!("turn_detection.{name}"), message));
    }
    let path = match dialect.session {
        SessionForm::NestedTurns => &["audio", "input", "turn_detection"][..],
        SessionForm::Flat
        | SessionForm::Nested
        | SessionForm::InputRate
        | SessionForm::Synthesis => &["turn_detection"],
    };
    let tree = match detection {
        TurnDetection::Manual => return session.set(path, ()),
        TurnDetection::ServerVad(activity) => activity_tree(dialect.server_vad, activity)?,
        TurnDetection::SemanticVad(activity) => activity_tree("semantic_vad", activity)?,
        TurnDetection::SmartTurn(turn) => smart_turn(turn)?,
    };
    session.put(path, tree);
    Ok(())
}

fn activity_tree(kind: &str, activity: &VoiceActivity) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    tree.set(&["type"], kind)?;
    tree.set_if(&["threshold"], activity.threshold.map(Float))?;
    for (key, duration) in [
        ("prefix_padding_ms", activity.prefix_padding),
        ("silence_duration_ms", activity.silence_duration),
        ("idle_timeout_ms", activity.idle_timeout),
    ] {
        // The rest of JSON's numbers are beyond any duration that is configured.
        let ms = duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        tree.set_if(&[key], ms)?;
    }
    tree.set_if(&["create_response"], activity.create_response)?;
    tree.set_if(&["interrupt_response"], activity.interrupt_response)?;
    Ok(tree)
}

fn smart_turn(turn: &SmartTurn) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    let kind = if turn.is_v2 {
        "smart_turn_v2"
    } else {
        "smart_turn"
    };
    tree.set(&["type"], kind)?;
    let uris = Some(&turn.voiceprint_audio_uris).filter(|uris| !uris.is_empty());
    tree.set_if(&["voiceprint_audio_urls"], uris)?;
    Ok(tree)
}

/// Mode, format and rate are always sent, as DashScope's own clients do.
fn synthesis(setup: &SynthesisSetup, dialect: &Dialect) -> Result<Tree, Error> {
    let format = setup.output_audio;
    if !dialect.output.accepts(format) {
        let message = "the model does not produce this format";
        return Err(field(SETUP, "output_audio", message));
    }
    let mut session = Tree::new();
    session.set_if(&["voice"], setup.voice.as_ref())?;
    let mode = if setup.is_committed {
        "commit"
    } else {
        "server_commit"
    };
    session.set(&["mode"], mode)?;
    session.set(&["response_format"], encoding_name(format.encoding))?;
    let rate = format.sample_rate.unwrap_or(OUTPUT_RATE);
    session.set(&["sample_rate"], rate)?;
    session.set_if(&["language_type"], setup.language_type.as_ref())?;
    session.set_if(&["speech_rate"], setup.speech_rate.map(Float))?;
    session.set_if(&["volume"], setup.volume)?;
    session.set_if(&["pitch_rate"], setup.pitch_rate.map(Float))?;
    session.set_if(&["bit_rate"], setup.bit_rate)?;
    session.set_if(&["instructions"], setup.instructions.as_ref())?;
    session.set_if(&["optimize_instructions"], setup.optimize_instructions)?;
    session.set_if(&["enable_tn"], setup.enable_tn)?;
    session.merge(&setup.extra)?;
    Ok(session)
}
