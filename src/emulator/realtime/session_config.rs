//! The session object of a conversation: its defaults, how updates change it, and what it means.

use serde_json::{Map, Value, json};

use super::audio_format::{AudioFormat, Encoding, RATES, SpeechEncoding, SpeechFormat};
use super::dialects::{Dialect, Task, VoiceChange};
use super::voice_activity::VadSettings;
use crate::emulator::websocket::outbox::new_id;
use crate::emulator::websocket::session::SocketError;

/// The most fields of a session: far above those that are documented.
const MAX_FIELDS: usize = 64;
/// The most bytes of a session as JSON.
const MAX_BYTES: usize = 256 * 1024;
/// The rate of speech of the models, and the default.
const OUTPUT_RATE: u32 = 24_000;
/// The default rate of the input.
const INPUT_RATE: u32 = 16_000;
/// The silence that ends a turn of `smart_turn`, whose numbers cannot be set.
const SMART_SILENCE_MS: u64 = 800;

/// How turns are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnMode {
    /// By the client, which commits.
    Manual,
    /// By the energy of the audio.
    Detected,
    /// Likewise, but short speech is no turn.
    Smart,
    /// Likewise, without events about speech.
    Quiet,
}

/// What the fields of a session mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// Whether responses are spoken.
    pub(super) speaks: bool,
    /// The voice.
    pub(super) voice: String,
    /// The instructions.
    pub(super) instructions: String,
    /// The format of the input.
    pub(super) input: AudioFormat,
    /// The format of the output.
    pub(super) output: SpeechFormat,
    /// How turns are found.
    pub(super) turns: TurnMode,
    /// How speech is detected.
    pub(super) vad: VadSettings,
    /// Audio before speech that belongs to the turn, in milliseconds.
    pub(super) prefix_ms: u64,
    /// Whether a turn that was detected is answered.
    pub(super) creates_responses: bool,
    /// Whether speech cancels the running response.
    pub(super) interrupts: bool,
    /// Whether the input is transcribed.
    pub(super) transcribes: bool,
    /// The language that the transcription is set to.
    pub(super) language: Option<String>,
}

/// The session object, and its meaning.
#[derive(Clone, Debug)]
pub(super) struct SessionConfig {
    /// The meaning.
    pub(super) settings: Settings,
    /// The fields, as they are reported.
    pub(super) fields: Map<String, Value>,
    dialect: &'static Dialect,
    updates: u64,
}

/// What has happened in a session, on which it depends what may be changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Audio was received.
    pub(super) has_input: bool,
    /// Audio was generated.
    pub(super) has_output: bool,
}

/// An error that the session survives.
pub(super) fn invalid(message: impl Into<String>, param: &str) -> SocketError {
    SocketError {
        kind: "invalid_request_error".to_owned(),
        code: "invalid_value".to_owned(),
        message: message.into(),
        param: Some(param.to_owned()),
        event_id: None,
    }
}

impl SessionConfig {
    /// The session of a model before the first update.
    pub(super) fn new(dialect: &'static Dialect, model: &str) -> Self {
        // A test parses all of them.
        let fields = serde_json::from_str(dialect.session);
        let mut fields: Map<String, Value> = fields.unwrap_or_default();
        fields.insert("model".into(), json!(model));
        fields.insert("id".into(), json!(new_id("sess")));
        Self {
            settings: read(&fields, dialect).unwrap_or_else(|_| fallback()),
            fields,
            dialect,
            updates: 0,
        }
    }

    /// Whether an update was applied.
    pub(super) fn is_updated(&self) -> bool {
        self.updates > 0
    }

    /// Applies an update. Returns whether it was the first one.
    ///
    /// # Errors
    ///
    /// If a value is invalid, or can no longer be changed; nothing has changed then.
    pub(super) fn update(
        &mut self,
        patch: &Map<String, Value>,
        progress: Progress,
    ) -> Result<bool, SocketError> {
        let mut fields = self.fields.clone();
        for (name, value) in patch {
            let can_be_null = ["turn_detection", "input_audio_transcription"];
            if value.is_null() && !can_be_null.contains(&name.as_str()) {
                continue;
            }
            merge(&mut fields, name, value);
        }
        let bytes = |name: &String, value: &Value| name.len() + value.to_string().len();
        let bytes: usize = fields.iter().map(|(name, value)| bytes(name, value)).sum();
        if fields.len() > MAX_FIELDS || bytes > MAX_BYTES {
            return Err(invalid("The session is too large.", "session"));
        }
        let mut settings = read(&fields, self.dialect)?;
        if settings.voice != self.settings.voice {
            match self.dialect.voice_change {
                VoiceChange::UntilAudio if progress.has_output => {
                    return Err(SocketError {
                        code: "cannot_update_voice".to_owned(),
                        ..invalid(
                            "Cannot update voice after audio was generated.",
                            "session.voice",
                        )
                    });
                }
                VoiceChange::FirstUpdate if self.updates > 0 => {
                    settings.voice.clone_from(&self.settings.voice);
                    fields.insert("voice".into(), json!(settings.voice));
                }
                VoiceChange::UntilAudio | VoiceChange::FirstUpdate => {}
            }
        }
        if self.dialect.fixes_input && progress.has_input {
            self.check_fixed(&settings)?;
        }
        self.settings = settings;
        self.fields = fields;
        self.updates += 1;
        Ok(self.updates == 1)
    }

    fn check_fixed(&self, new: &Settings) -> Result<(), SocketError> {
        let old = &self.settings;
        let fixed = [
            (new.turns != old.turns, "turn_detection"),
            (new.input != old.input, "input_audio_format"),
            (new.output != old.output, "output_audio_format"),
        ];
        match fixed.iter().find(|(is_changed, _)| *is_changed) {
            Some((_, name)) => Err(invalid(
                format!("Cannot update {name} after audio was appended."),
                &format!("session.{name}"),
            )),
            None => Ok(()),
        }
    }
}

/// Sets a field; `audio` is merged object by object, because its halves are set separately.
fn merge(fields: &mut Map<String, Value>, name: &str, value: &Value) {
    let known = fields.get_mut(name).and_then(Value::as_object_mut);
    match (name, known, value.as_object()) {
        ("audio" | "input" | "output", Some(known), Some(given)) => {
            for (name, value) in given {
                merge(known, name, value);
            }
        }
        _ => {
            fields.insert(name.to_owned(), value.clone());
        }
    }
}

/// Settings that are replaced before they are used: built-in sessions are valid.
fn fallback() -> Settings {
    Settings {
        speaks: true,
        voice: String::new(),
        instructions: String::new(),
        input: AudioFormat {
            encoding: Encoding::Pcm,
            rate: INPUT_RATE,
        },
        output: SpeechFormat {
            encoding: SpeechEncoding::Pcm,
            rate: OUTPUT_RATE,
        },
        turns: TurnMode::Manual,
        vad: VadSettings {
            threshold: 0.5,
            silence_ms: SMART_SILENCE_MS,
        },
        prefix_ms: 0,
        creates_responses: true,
        interrupts: true,
        transcribes: true,
        language: None,
    }
}

fn read(fields: &Map<String, Value>, dialect: &Dialect) -> Result<Settings, SocketError> {
    let session = Value::Object(fields.clone());
    let mut settings = fallback();
    let modalities = fields.get("output_modalities").or(fields.get("modalities"));
    if let Some(modalities) = modalities {
        settings.speaks = speaks(modalities, "session.modalities")?;
    }
    let voice = session.pointer("/audio/output/voice");
    if let Some(voice) = voice.or(fields.get("voice")) {
        settings.voice = match voice.as_str() {
            Some(voice) if !voice.is_empty() => voice.to_owned(),
            _ => {
                return Err(invalid(
                    "Invalid voice: it must not be empty.",
                    "session.voice",
                ));
            }
        };
    }
    settings.instructions = text(fields, "instructions");
    let AudioFormat { encoding, rate } = settings.input;
    let (encoding, rate) = format(&session, "input", (encoding, rate), Encoding::of)?;
    settings.input = AudioFormat { encoding, rate };
    let SpeechFormat { encoding, rate } = settings.output;
    let speech = |name: &str| SpeechEncoding::of(name).ok();
    let (encoding, rate) = format(&session, "output", (encoding, rate), speech)?;
    settings.output = SpeechFormat { encoding, rate };
    if let Some(tools) = fields.get("tools").filter(|tools| !tools.is_array()) {
        return Err(invalid(format!("Invalid tools: {tools}"), "session.tools"));
    }
    let detection = session.pointer("/audio/input/turn_detection");
    turns(
        detection.or(fields.get("turn_detection")),
        dialect,
        &mut settings,
    )?;
    let transcription = fields.get("input_audio_transcription");
    settings.transcribes = match transcription {
        Some(Value::Null) => false,
        // Here `{"model":null}` turns it off; elsewhere it is the SDK's default.
        Some(given) if dialect.task == Task::Translate => {
            given.get("model").is_none_or(|model| !model.is_null())
        }
        _ => true,
    };
    let language = transcription.and_then(|given| given.get("language"));
    settings.language = language.and_then(Value::as_str).map(str::to_owned);
    Ok(settings)
}

fn text(fields: &Map<String, Value>, name: &str) -> String {
    let text = fields.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Whether modalities have audio.
///
/// # Errors
///
/// If the combination is not supported.
pub(super) fn speaks(modalities: &Value, param: &str) -> Result<bool, SocketError> {
    let names = modalities.as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |name: &str| names.iter().any(|given| given == name);
    let is_known = names.iter().all(|name| name == "text" || name == "audio");
    if is_known && has("text") && names.len() <= 2 {
        return Ok(has("audio"));
    }
    let names: Vec<String> = names.iter().map(python).collect();
    let message = format!(
        "Invalid modalities: [{}]. Supported combinations are: ['text'] and ['audio', 'text'].",
        names.join(", ")
    );
    Err(invalid(message, param))
}

/// A value as Python prints it, as DashScope's messages do.
fn python(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("'{text}'"),
        None => value.to_string(),
    }
}

/// The encoding and the rate of a side; the given ones where the session has none.
fn format<E>(
    session: &Value,
    side: &str,
    (mut encoding, mut rate): (E, u32),
    known: impl Fn(&str) -> Option<E>,
) -> Result<(E, u32), SocketError> {
    let nested = |name: &str| session.pointer(&format!("/audio/{side}/format/{name}"));
    let flat = format!("{side}_audio_format");
    if let Some(given) = nested("type").or(session.get(&flat)) {
        encoding = given.as_str().and_then(known).ok_or_else(|| {
            let message = format!("Invalid {flat}: {}", python(given));
            invalid(message, &format!("session.{flat}"))
        })?;
    }
    let flat_rate = session.get("sample_rate").filter(|_| side == "input");
    if let Some(given) = nested("sample_rate").or(flat_rate) {
        let given_rate = given.as_u64().and_then(|rate| u32::try_from(rate).ok());
        let given_rate = given_rate.filter(|rate| RATES.contains(rate));
        rate = given_rate.ok_or_else(|| {
            invalid(
                format!("Invalid sample_rate: {given}"),
                "session.sample_rate",
            )
        })?;
    }
    Ok((encoding, rate))
}

fn turns(
    detection: Option<&Value>,
    dialect: &Dialect,
    settings: &mut Settings,
) -> Result<(), SocketError> {
    let Some(detection) = detection.filter(|detection| !detection.is_null()) else {
        settings.turns = TurnMode::Manual;
        return Ok(());
    };
    let kind = detection.get("type").unwrap_or(&Value::Null);
    let known = kind
        .as_str()
        .filter(|kind| dialect.turn_detection.contains(kind));
    let param = "session.turn_detection";
    settings.turns = match known {
        Some("smart_turn" | "smart_turn_v2") => TurnMode::Smart,
        Some("speaker_detection") => TurnMode::Quiet,
        Some(_) => TurnMode::Detected,
        None => {
            let message = format!("Unsupported turn_detection.type: {}", python(kind));
            return Err(invalid(message, &format!("{param}.type")));
        }
    };
    let flag = |name: &str| detection.get(name).and_then(Value::as_bool).unwrap_or(true);
    settings.creates_responses = flag("create_response");
    settings.interrupts = flag("interrupt_response");
    if settings.turns == TurnMode::Smart {
        return Ok(());
    }
    let number = |name: &str, range: std::ops::RangeInclusive<f64>, default: f64| {
        let given = detection.get(name).filter(|given| !given.is_null());
        let Some(given) = given else {
            return Ok(default);
        };
        let number = given.as_f64().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            let message = format!("Invalid turn_detection.{name}: must be from {from} to {to}.");
            invalid(message, &format!("{param}.{name}"))
        })
    };
    settings.vad.threshold = number("threshold", -1.0..=1.0, 0.5)?;
    settings.vad.silence_ms = milliseconds(number("silence_duration_ms", 200.0..=6000.0, 800.0)?);
    settings.prefix_ms = milliseconds(number("prefix_padding_ms", 0.0..=10_000.0, 300.0)?);
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is in a range that was checked"
)]
fn milliseconds(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::realtime::dialects::dialect;

    fn session(model: &str) -> SessionConfig {
        SessionConfig::new(dialect(model).unwrap(), model)
    }

    fn updated(session: &mut SessionConfig, patch: Value) -> Result<bool, SocketError> {
        session.update(patch.as_object().unwrap(), Progress::default())
    }

    const OMNI: &str = "qwen3-omni-flash-realtime";
    const OMNI_38: &str = "qwen3.8-omni-flash-realtime";
    const QWEN_AUDIO: &str = "qwen-audio-3.0-realtime-plus";

    #[test]
    fn invalid_values_are_refused_and_change_nothing() {
        for (model, patch, message) in [
            (
                OMNI,
                json!({"modalities": ["audio"]}),
                "Invalid modalities: ['audio']. Supported combinations are: ['text'] and \
                 ['audio', 'text'].",
            ),
            (
                OMNI,
                json!({"voice": ""}),
                "Invalid voice: it must not be empty.",
            ),
            (
                QWEN_AUDIO,
                json!({"turn_detection": {"type": "semantic_vad"}}),
                "Unsupported turn_detection.type: 'semantic_vad'",
            ),
            (
                OMNI,
                json!({"turn_detection": {"type": "server_vad", "silence_duration_ms": 100}}),
                "Invalid turn_detection.silence_duration_ms: must be from 200 to 6000.",
            ),
            (
                OMNI,
                json!({"input_audio_format": "x"}),
                "Invalid input_audio_format: 'x'",
            ),
            (
                OMNI_38,
                json!({"audio": {"input": {"format": {"sample_rate": 1}}}}),
                "Invalid sample_rate: 1",
            ),
            (OMNI, json!({"tools": {}}), "Invalid tools: {}"),
        ] {
            let mut session = session(model);
            let before = session.fields.clone();
            let error = updated(&mut session, patch).unwrap_err();
            assert_eq!(error.message, message);
            assert_eq!(error.kind, "invalid_request_error");
            assert_eq!(session.fields, before);
        }
    }

    #[test]
    fn the_sdks_first_update_is_applied() {
        let mut session = session(OMNI);
        let first = json!({"modalities": ["text"], "voice": null, "input_audio_format": "pcm16",
            "output_audio_format": "pcm16", "input_audio_transcription": {"model": null},
            "turn_detection": {"type": "server_vad", "threshold": 0.2, "prefix_padding_ms": 300,
            "silence_duration_ms": 900}});
        assert_eq!(updated(&mut session, first), Ok(true));
        let settings = &session.settings;
        assert!(!settings.speaks && settings.transcribes && settings.creates_responses);
        assert_eq!((settings.vad.silence_ms, settings.prefix_ms), (900, 300));
        assert_eq!(
            (settings.turns, &*settings.voice),
            (TurnMode::Detected, "Cherry")
        );
        let manual = json!({"turn_detection": null, "input_audio_transcription": null});
        assert_eq!(updated(&mut session, manual), Ok(false));
        assert_eq!(session.settings.turns, TurnMode::Manual);
        assert!(!session.settings.transcribes);
    }

    #[test]
    fn halves_of_the_audio_object_are_set_separately() {
        let mut session = session(OMNI_38);
        let output = json!({"audio": {"output": {"voice": "longanlingxin",
            "format": {"type": "wav", "sample_rate": 16_000}}}});
        let input = json!({"audio": {"input": {"format": {"type": "pcm", "sample_rate": 8000}}}});
        updated(&mut session, output).unwrap();
        updated(&mut session, input).unwrap();
        let settings = &session.settings;
        assert_eq!(settings.voice, "longanlingxin");
        assert_eq!((settings.input.rate, settings.output.rate), (8000, 16_000));
        assert_eq!(settings.output.encoding, SpeechEncoding::Wav);
    }

    #[test]
    fn the_voice_is_fixed_as_each_family_fixes_it() {
        let spoken = Progress {
            has_input: true,
            has_output: true,
        };
        let voice = json!({"voice": "Ethan"});
        let voice = voice.as_object().unwrap();
        let mut omni = session(OMNI);
        let error = omni.update(voice, spoken).unwrap_err();
        assert_eq!(error.code, "cannot_update_voice");
        let same = json!({"voice": "Cherry"});
        assert!(omni.update(same.as_object().unwrap(), spoken).is_ok());
        let mut audio = session(QWEN_AUDIO);
        assert!(updated(&mut audio, json!({"voice": "longanxiaoxin"})).unwrap());
        assert!(!audio.update(voice, spoken).unwrap());
        assert_eq!(audio.fields["voice"], "longanxiaoxin");
        let manual = json!({"turn_detection": null});
        let error = audio
            .update(manual.as_object().unwrap(), spoken)
            .unwrap_err();
        assert_eq!(
            error.message,
            "Cannot update turn_detection after audio was appended."
        );
    }
}
