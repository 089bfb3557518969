//! Frames of one connection: events to DashScope are encoded, and events of DashScope decoded.

use serde::Serialize;

use super::audio_frame;
use super::client_event::{ClientEvent, EventId, FinishWay, Frame};
use super::decoder::Decoder;
use super::dialect::{Dialect, DialectTask, Ending, ResponseForm};
use super::session_json;
use super::session_tree::Tree;
use crate::chat::live_event::UpstreamEvent;
use crate::chat::live_session::{LiveSetup, ResponseOptions};
use crate::error::Error;

/// The largest image: DashScope accepts 256 KiB of base64.
pub const MAX_IMAGE_BYTES: usize = 190 * 1024;

/// The dialect of a connection, and the state that its frames depend on. One per connection.
#[derive(Debug)]
pub struct Codec {
    dialect: &'static Dialect,
    setup: LiveSetup,
    /// The number of frames so far.
    frames: u64,
    /// Whether audio was sent.
    has_audio: bool,
    decoder: Decoder,
}

impl Codec {
    /// The codec of a connection that has sent nothing.
    pub fn new(setup: &LiveSetup, dialect: &'static Dialect) -> Self {
        Self {
            dialect,
            setup: setup.clone(),
            frames: 0,
            has_audio: false,
            decoder: Decoder::default(),
        }
    }

    /// What the dialect supports.
    pub fn dialect(&self) -> &'static Dialect {
        self.dialect
    }

    /// The first event, which configures the session. The error is that of a field.
    pub fn setup(&mut self) -> Result<Frame, Error> {
        let session = session_json::setup(&self.setup, self.dialect)?;
        self.session_update(session)
    }

    /// Encodes an event. The error is that of a field which the dialect does not support; the
    /// connection is not affected.
    pub fn encode(&mut self, event: &ClientEvent<'_>) -> Result<Frame, Error> {
        self.check(event)?;
        match *event {
            ClientEvent::Update(changes) => {
                let session = session_json::update(changes, self.dialect, self.has_audio)?;
                self.session_update(session)
            }
            ClientEvent::Audio(bytes) => {
                self.has_audio = true;
                Ok(self.media("input_audio_buffer.append", "audio", bytes))
            }
            ClientEvent::Image(bytes) => {
                Ok(self.media("input_image_buffer.append", "image", bytes))
            }
            ClientEvent::UserText(text) => self.message("user", "input_text", text),
            ClientEvent::AssistantText(text) => self.message("assistant", "text", text),
            ClientEvent::Commit => self.plain("input_audio_buffer.commit"),
            ClientEvent::Clear => self.plain("input_audio_buffer.clear"),
            ClientEvent::CreateResponse(options) => self.create_response(options),
            ClientEvent::CancelResponse => self.plain("response.cancel"),
            ClientEvent::ToolResult { call_id, output } => self.item(FunctionOutput {
                kind: "function_call_output",
                call_id,
                output,
            }),
            ClientEvent::DeleteItem(item_id) => {
                self.frame("conversation.item.delete", &[("item_id", &item_id)])
            }
            ClientEvent::SynthesisText(text) => {
                self.frame("input_text_buffer.append", &[("text", &text)])
            }
            ClientEvent::SynthesisCommit => self.plain("input_text_buffer.commit"),
            ClientEvent::SynthesisClear => self.plain("input_text_buffer.clear"),
        }
    }

    /// Decodes a text frame. Unknown keys are ignored, and unknown events returned whole.
    pub fn decode(&mut self, text: &str) -> Result<UpstreamEvent, Error> {
        self.decoder.decode(text)
    }

    /// How the session ends.
    pub fn finish(&mut self) -> Result<FinishWay, Error> {
        Ok(match self.dialect.ending {
            Ending::Close => FinishWay::Close,
            Ending::Acknowledged => FinishWay::Acknowledged(self.plain("session.finish")?),
            Ending::Unacknowledged => FinishWay::Unacknowledged(self.plain("session.finish")?),
        })
    }

    /// Refuses events that the dialect does not have.
    fn check(&self, event: &ClientEvent<'_>) -> Result<(), Error> {
        let dialect = self.dialect;
        let is_synthesis = dialect.task == DialectTask::Synthesize;
        let requests = dialect.response != ResponseForm::Automatic;
        let (is_supported, field) = match event {
            // Checked where it is written.
            ClientEvent::Update(_) => (true, "update"),
            ClientEvent::Audio(_) => (!is_synthesis, "audio"),
            ClientEvent::Image(bytes) => {
                self.check_image(bytes)?;
                (dialect.images, "image")
            }
            ClientEvent::UserText(_) | ClientEvent::AssistantText(_) => (dialect.items, "text"),
            ClientEvent::Commit => (!is_synthesis, "commit"),
            ClientEvent::Clear => (!is_synthesis, "clear"),
            ClientEvent::CreateResponse(_) => (requests, "create_response"),
            ClientEvent::CancelResponse => (requests, "cancel_response"),
            ClientEvent::ToolResult { .. } => (dialect.items && dialect.tools, "tool_result"),
            ClientEvent::DeleteItem(_) => (dialect.items, "delete_item"),
            ClientEvent::SynthesisText(_) => (is_synthesis, "text"),
            ClientEvent::SynthesisCommit => (is_synthesis, "commit"),
            ClientEvent::SynthesisClear => (is_synthesis, "clear"),
        };
        match is_supported {
            true => Ok(()),
            false => Err(Error::field(field, "the model does not support this event")),
        }
    }

    fn check_image(&self, bytes: &[u8]) -> Result<(), Error> {
        let problem = if !self.dialect.images {
            "the model does not accept images"
        } else if !self.has_audio {
            "audio must precede the first image"
        } else if bytes.len() > MAX_IMAGE_BYTES {
            "the image must not exceed 190 KiB"
        } else {
            return Ok(());
        };
        Err(Error::field("image", problem))
    }

    fn session_update(&mut self, session: Tree) -> Result<Frame, Error> {
        self.frame("session.update", &[("session", &session)])
    }

    fn create_response(&mut self, options: &ResponseOptions) -> Result<Frame, Error> {
        let mut response = Tree::new();
        let instructions = Some(&options.instructions).filter(|text| !text.is_empty());
        response.set_if(&["instructions"], instructions)?;
        let modalities = Some(&options.modalities).filter(|list| !list.is_empty());
        response.set_if(&["modalities"], modalities)?;
        if response.is_empty() && self.dialect.response == ResponseForm::Optional {
            return self.plain("response.create");
        }
        self.frame("response.create", &[("response", &response)])
    }

    fn message(&mut self, role: &str, kind: &str, text: &str) -> Result<Frame, Error> {
        self.item(Message {
            kind: "message",
            role,
            content: [Text { kind, text }],
        })
    }

    fn item(&mut self, item: impl Serialize) -> Result<Frame, Error> {
        self.frame("conversation.item.create", &[("item", &item)])
    }

    fn plain(&mut self, kind: &str) -> Result<Frame, Error> {
        self.frame::<()>(kind, &[])
    }

    /// An event with these keys.
    fn frame<T: Serialize>(&mut self, kind: &str, keys: &[(&str, &T)]) -> Result<Frame, Error> {
        let (mut text, event_id) = self.begin(kind, 0);
        for (key, value) in keys {
            let json = serde_json::to_string(value);
            let json = json.map_err(|_| Error::field(kind, "every number must be finite"))?;
            text.extend([",\"", key, "\":", &json]);
        }
        text.push('}');
        Ok(Frame { text, event_id })
    }

    /// An event with bytes, as base64, written once into a buffer of the right size.
    fn media(&mut self, kind: &str, key: &str, bytes: &[u8]) -> Frame {
        let (mut text, event_id) = self.begin(kind, key.len() + audio_frame::length(bytes));
        text.extend([",\"", key, "\":\""]);
        audio_frame::push(bytes, &mut text);
        text.push_str("\"}");
        Frame { text, event_id }
    }

    /// The beginning of an event, with space for `more` and a few brackets.
    fn begin(&mut self, kind: &str, more: usize) -> (String, EventId) {
        use std::fmt::Write as _;

        const PUNCTUATION: usize = 64;
        self.frames = self.frames.saturating_add(1);
        let event_id = EventId(self.frames);
        let capacity = PUNCTUATION + kind.len() + EventId::MAX_LEN + more;
        let mut text = String::with_capacity(capacity);
        // Writing into a string does not fail.
        let _ = write!(text, "{{\"event_id\":\"{event_id}\",\"type\":\"{kind}\"");
        (text, event_id)
    }
}

/// A message of the conversation.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'a str,
    content: [Text<'a>; 1],
}

/// The text of a message.
#[derive(Serialize)]
struct Text<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    text: &'a str,
}

/// The result of a tool call.
#[derive(Serialize)]
struct FunctionOutput<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    call_id: &'a str,
    output: &'a str,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::chat::document::{Object, Real};
    use crate::chat::live_session::{
        AudioEncoding, AudioFormat, ConverseSetup, LiveSampling, LiveTask, SessionChanges,
        SmartTurn, Transcription, TurnDetection, VoiceActivity,
    };
    use crate::chat::message::{SearchOptions, Tool};

    /// The cases of `tests/captures/realtime_*.json`.
    fn cases() -> Vec<Value> {
        let names = [
            "omni",
            "omni_v38",
            "qwen_audio",
            "livetranslate",
            "tts",
            "asr",
        ];
        let read = |name| {
            let root = env!("CARGO_MANIFEST_DIR");
            let path = format!("{root}/tests/captures/realtime_{name}.json");
            let cases: Vec<Value> =
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            cases
        };
        names.into_iter().flat_map(read).collect()
    }

    fn case(number: &str) -> Value {
        let mut cases = cases().into_iter();
        let found = cases.find(|case| case["case"].as_str().unwrap().starts_with(number));
        found.unwrap()
    }

    /// The client's frames of a case, those of this type only.
    fn sent(number: &str, kind: &str) -> Vec<Value> {
        let case = case(number);
        let frames = case["frames"].as_array().unwrap().iter();
        let frames = frames.filter_map(|frame| frame.get("client"));
        let frames = frames.filter(|frame| frame["type"] == kind);
        frames.cloned().collect()
    }

    fn codec_of(model: &str, task: LiveTask) -> Codec {
        let setup = LiveSetup {
            model: Arc::from(model),
            task,
        };
        Codec::new(&setup, Dialect::of(model, &[]))
    }

    fn converse(model: &str, setup: ConverseSetup) -> Codec {
        codec_of(model, LiveTask::Converse(Box::new(setup)))
    }

    /// The event in a frame, without its id.
    fn event(frame: Result<Frame, Error>) -> Value {
        let frame = frame.unwrap();
        let mut event: Value = serde_json::from_str(&frame.text).unwrap();
        let id = event.as_object_mut().unwrap().remove("event_id").unwrap();
        assert_eq!(EventId::parse(id.as_str().unwrap()), Some(frame.event_id));
        event
    }

    fn object(json: &Value) -> Object {
        super::super::fields::object(&json.to_string()).unwrap()
    }

    fn rate(encoding: AudioEncoding, rate: u32) -> AudioFormat {
        AudioFormat {
            encoding,
            sample_rate: Some(rate),
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn enabled(model: &str, language: &str, corpus_text: &str) -> Option<Transcription> {
        Some(Transcription::Enabled {
            model: model.to_owned(),
            language: language.to_owned(),
            corpus_text: corpus_text.to_owned(),
        })
    }

    const WEATHER: &str =
        r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;

    #[test]
    fn every_option_of_omni_is_sent_as_the_sdks_send_it() {
        let activity = VoiceActivity {
            threshold: Some(Real(0.7)),
            prefix_padding: Some(Duration::from_millis(250)),
            silence_duration: Some(Duration::from_millis(600)),
            idle_timeout: Some(Duration::from_secs(5)),
            create_response: Some(true),
            interrupt_response: Some(false),
        };
        let translation = json!({"language": "en", "corpus": {"phrases": {"人工智能": "AI"}}});
        let setup = ConverseSetup {
            changes: SessionChanges {
                instructions: Some("你是小云，说话要短。".to_owned()),
                modalities: texts(&["text", "audio"]),
                turn_detection: Some(TurnDetection::SemanticVad(activity)),
                transcription: enabled("qwen3-asr-flash-realtime", "", ""),
                tools: vec![Tool::Function {
                    name: "get_weather".to_owned(),
                    description: "查天气".to_owned(),
                    parameters: WEATHER.to_owned(),
                }],
                tool_choice: None,
                sampling: LiveSampling {
                    temperature: Some(Real(0.9)),
                    top_p: Some(Real(1.0)),
                    top_k: Some(50),
                    seed: Some(1314),
                    max_tokens: Some(16_384),
                    repetition_penalty: Some(Real(1.05)),
                    presence_penalty: Some(Real(0.0)),
                },
                extra: object(&json!({"smooth_output": null, "translation": translation})),
            },
            voice: Some("Chelsie".to_owned()),
            input_audio: rate(AudioEncoding::Pcm, 16_000),
            output_audio: rate(AudioEncoding::Pcm, 24_000),
            enable_search: Some(false),
            search_options: Some(SearchOptions {
                enable_source: Some(true),
                ..SearchOptions::default()
            }),
        };
        let mut expected = sent("004", "session.update").remove(0);
        // The Python SDK names 24000 Hz `pcm16`; the Java SDK and DashScope name it `pcm24`.
        expected["session"]["output_audio_format"] = json!("pcm24");
        let model = "qwen3-omni-flash-realtime";
        assert_eq!(event(converse(model, setup).setup()), expected);
    }

    #[test]
    fn the_setup_of_each_dialect_is_that_of_the_sdk() {
        let modalities = || texts(&["text", "audio"]);
        let instructions = || Some("请用简洁自然的中文回答。".to_owned());
        let extra = |json: Value| object(&json);
        let both = |rate_in, rate_out| {
            let format = |of| rate(AudioEncoding::Pcm, of);
            (format(rate_in), format(rate_out))
        };
        let of = |(input_audio, output_audio), voice: &str, changes| ConverseSetup {
            changes,
            voice: Some(voice.to_owned()).filter(|voice| !voice.is_empty()),
            input_audio,
            output_audio,
            ..ConverseSetup::default()
        };
        let none = (AudioFormat::default(), AudioFormat::default());
        let changes = SessionChanges {
            modalities: modalities(),
            ..SessionChanges::default()
        };
        for (number, at, setup) in [
            (
                "076",
                0,
                of(
                    both(16_000, 24_000),
                    "longanqian",
                    SessionChanges {
                        turn_detection: Some(TurnDetection::Manual),
                        instructions: instructions(),
                        ..changes.clone()
                    },
                ),
            ),
            (
                "079",
                0,
                of(
                    none,
                    "longanqian",
                    SessionChanges {
                        turn_detection: Some(TurnDetection::SmartTurn(SmartTurn::default())),
                        ..changes.clone()
                    },
                ),
            ),
            (
                "088",
                0,
                of(
                    both(16_000, 24_000),
                    "longanlingxin",
                    SessionChanges {
                        transcription: Some(Transcription::Disabled),
                        turn_detection: Some(TurnDetection::Manual),
                        instructions: instructions(),
                        ..changes.clone()
                    },
                ),
            ),
            (
                "091",
                0,
                of(
                    both(16_000, 24_000),
                    "Cherry",
                    SessionChanges {
                        transcription: enabled("", "", ""),
                        extra: extra(json!({"translation":
                            {"language": "en", "corpus": {"phrases": {"千问": "Qwen"}}}})),
                        ..changes.clone()
                    },
                ),
            ),
            (
                "092",
                0,
                of(
                    none,
                    "",
                    SessionChanges {
                        extra: extra(json!({"translation": {"language": "en"}})),
                        ..changes.clone()
                    },
                ),
            ),
            (
                "092",
                1,
                of(
                    none,
                    "Cherry",
                    SessionChanges {
                        turn_detection: Some(TurnDetection::ServerVad(VoiceActivity {
                            silence_duration: Some(Duration::from_millis(600)),
                            ..VoiceActivity::default()
                        })),
                        extra: extra(json!({"audio": {"input": {"format": {"type": "pcm"}}}})),
                        ..changes.clone()
                    },
                ),
            ),
        ] {
            let model = case(number)["model"].as_str().unwrap().to_owned();
            let expected = sent(number, "session.update").remove(at);
            assert_eq!(event(converse(&model, setup).setup()), expected, "{number}");
        }
    }
}
