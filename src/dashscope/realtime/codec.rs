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
const MAX_IMAGE_BYTES: usize = 190 * 1024;

/// The first bytes of a JPEG image, the only format that DashScope accepts in a session.
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];

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
        } else if !bytes.starts_with(JPEG) {
            "the image must be JPEG"
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

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::captures::{case, sent};
    use super::*;
    use crate::chat::document::{Object, Real};
    use crate::chat::live_session::{
        AudioEncoding, AudioFormat, ConverseSetup, LiveSampling, LiveTask, SessionChanges,
        SmartTurn, SynthesisSetup, Transcription, TurnDetection, VoiceActivity,
    };
    use crate::chat::message::{SearchOptions, Tool};

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

    fn plain(model: &str) -> Codec {
        converse(model, ConverseSetup::default())
    }

    fn synthesize(setup: SynthesisSetup) -> Codec {
        codec_of(
            "qwen3-tts-flash-realtime",
            LiveTask::Synthesize(Box::new(setup)),
        )
    }

    /// The event in a frame, without its id.
    fn event(frame: Result<Frame, Error>) -> Value {
        let frame = frame.unwrap();
        let mut event: Value = serde_json::from_str(&frame.text).unwrap();
        let id = event.as_object_mut().unwrap().remove("event_id").unwrap();
        assert_eq!(EventId::parse(id.as_str().unwrap()), Some(frame.event_id));
        event
    }

    fn field_of(frame: Result<Frame, Error>) -> String {
        frame.unwrap_err().violations()[0].field.clone()
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

    /// A setup with these formats, voice and changes, in both modalities.
    fn spoken(rates: Option<(u32, u32)>, voice: &str, changes: SessionChanges) -> ConverseSetup {
        let format = |of| rate(AudioEncoding::Pcm, of);
        let formats = rates.map(|(input, output)| (format(input), format(output)));
        let (input_audio, output_audio) = formats.unwrap_or_default();
        ConverseSetup {
            changes: SessionChanges {
                modalities: texts(&["text", "audio"]),
                ..changes
            },
            voice: Some(voice.to_owned()).filter(|voice| !voice.is_empty()),
            input_audio,
            output_audio,
            ..ConverseSetup::default()
        }
    }

    /// Checks the setup against a `session.update` of the SDK.
    fn check_setup(number: &str, at: usize, setup: ConverseSetup) {
        let model = case(number)["model"].as_str().unwrap().to_owned();
        let expected = sent(number, "session.update").remove(at);
        assert_eq!(event(converse(&model, setup).setup()), expected, "{number}");
    }

    const RATES: Option<(u32, u32)> = Some((16_000, 24_000));

    fn manual() -> SessionChanges {
        SessionChanges {
            turn_detection: Some(TurnDetection::Manual),
            instructions: Some("请用简洁自然的中文回答。".to_owned()),
            ..SessionChanges::default()
        }
    }

    fn with_extra(extra: &Value) -> SessionChanges {
        SessionChanges {
            extra: object(extra),
            ..SessionChanges::default()
        }
    }

    #[test]
    fn the_setup_of_qwen_audio_is_that_of_the_sdk() {
        check_setup("076", 0, spoken(RATES, "longanqian", manual()));
        let smart = SessionChanges {
            turn_detection: Some(TurnDetection::SmartTurn(SmartTurn::default())),
            ..SessionChanges::default()
        };
        check_setup("079", 0, spoken(None, "longanqian", smart));
    }

    #[test]
    fn the_setup_of_omni_v38_is_that_of_the_sdk() {
        let changes = SessionChanges {
            transcription: Some(Transcription::Disabled),
            ..manual()
        };
        check_setup("088", 0, spoken(RATES, "longanlingxin", changes));
    }

    #[test]
    fn the_setup_of_translation_is_that_of_the_sdk() {
        let phrases = json!({"phrases": {"千问": "Qwen"}});
        let translation = json!({"translation": {"language": "en", "corpus": phrases}});
        let changes = SessionChanges {
            transcription: enabled("", "", ""),
            ..with_extra(&translation)
        };
        check_setup("091", 0, spoken(RATES, "Cherry", changes));
        let changes = with_extra(&json!({"translation": {"language": "en"}}));
        check_setup("092", 0, spoken(None, "", changes));
        let changes = SessionChanges {
            turn_detection: Some(TurnDetection::ServerVad(VoiceActivity {
                silence_duration: Some(Duration::from_millis(600)),
                ..VoiceActivity::default()
            })),
            ..with_extra(&json!({"audio": {"input": {"format": {"type": "pcm"}}}}))
        };
        check_setup("092", 1, spoken(None, "Cherry", changes));
    }

    #[test]
    fn every_option_of_speech_synthesis_is_sent_as_the_sdk_sends_it() {
        let setup = SynthesisSetup {
            voice: Some("Cherry".to_owned()),
            is_committed: true,
            output_audio: rate(AudioEncoding::Mp3, 48_000),
            language_type: Some("Chinese".to_owned()),
            speech_rate: Some(Real(1.2)),
            volume: Some(80),
            pitch_rate: Some(Real(0.9)),
            bit_rate: Some(64),
            instructions: Some("温柔一点".to_owned()),
            optimize_instructions: Some(true),
            enable_tn: Some(false),
            extra: object(&json!({"future_field": [1]})),
        };
        let expected = sent("103", "session.update").remove(0);
        assert_eq!(event(synthesize(setup).setup()), expected);
        let setup = SynthesisSetup {
            voice: Some("Cherry".to_owned()),
            ..SynthesisSetup::default()
        };
        let expected = sent("100", "session.update").remove(0);
        assert_eq!(event(synthesize(setup).setup()), expected);
    }

    #[test]
    fn a_setup_of_speech_recognition_is_part_of_what_the_sdk_sends() {
        let setup = ConverseSetup {
            changes: SessionChanges {
                modalities: texts(&["text"]),
                transcription: enabled("", "zh", "热词"),
                turn_detection: Some(TurnDetection::Manual),
                extra: object(&json!({"input_audio_transcription":
                    {"corpus": {"phrases": ["千问"]}}})),
                ..SessionChanges::default()
            },
            input_audio: rate(AudioEncoding::Opus, 8_000),
            ..ConverseSetup::default()
        };
        let ours = event(converse("qwen3-asr-flash-realtime", setup).setup());
        let expected = sent("098", "session.update").remove(0);
        let ours = ours["session"].as_object().unwrap();
        let keys: Vec<&str> = ours.keys().map(String::as_str).collect();
        let all = [
            "input_audio_format",
            "sample_rate",
            "modalities",
            "input_audio_transcription",
            "turn_detection",
        ];
        assert_eq!(keys, all);
        for (key, value) in ours {
            assert_eq!(value, &expected["session"][key], "{key}");
        }
    }

    #[test]
    fn changes_are_sent_as_the_sdk_sends_them() {
        let vad = TurnDetection::ServerVad(VoiceActivity::default());
        let turns = |detection| SessionChanges {
            turn_detection: Some(detection),
            ..SessionChanges::default()
        };
        let transcription = |transcription| SessionChanges {
            transcription,
            ..SessionChanges::default()
        };
        let smart = TurnDetection::SmartTurn(SmartTurn::default());
        let mut codec = plain("qwen-audio-3.0-realtime-plus");
        let expected = sent("077", "session.update");
        for (at, changes) in [
            (1, turns(vad)),
            (2, turns(smart)),
            (3, turns(TurnDetection::Manual)),
            (4, transcription(enabled("", "", ""))),
            (5, transcription(Some(Transcription::Disabled))),
        ] {
            let ours = event(codec.encode(&ClientEvent::Update(&changes)));
            assert_eq!(ours, expected[at], "{at}");
        }
    }

    /// Checks an event against the first of its type that the SDK sent.
    fn check_event(number: &str, kind: &str, event_of: ClientEvent<'_>) {
        let model = case(number)["model"].as_str().unwrap().to_owned();
        let mut codec = plain(&model);
        if codec.dialect().images {
            codec.encode(&ClientEvent::Audio(&[])).unwrap();
        }
        let expected = sent(number, kind).remove(0);
        assert_eq!(event(codec.encode(&event_of)), expected, "{number} {kind}");
    }

    #[test]
    fn input_is_sent_as_the_sdks_send_it() {
        let jpeg = [0xff, 0xd8, 0xff, 0xe0];
        let audio = ClientEvent::Audio(&[1, 2, 3, 4]);
        check_event("007", "input_audio_buffer.append", audio);
        check_event(
            "010",
            "input_image_buffer.append",
            ClientEvent::Image(&jpeg),
        );
        check_event("044", "input_audio_buffer.clear", ClientEvent::Clear);
        check_event("044", "input_audio_buffer.commit", ClientEvent::Commit);
        let text = ClientEvent::SynthesisText("你好，");
        check_event("100", "input_text_buffer.append", text);
        check_event(
            "101",
            "input_text_buffer.commit",
            ClientEvent::SynthesisCommit,
        );
    }

    #[test]
    fn items_are_sent_as_the_sdks_send_them() {
        const CREATE: &str = "conversation.item.create";
        check_event("011", CREATE, ClientEvent::UserText("一加一等于几？"));
        let result = ClientEvent::ToolResult {
            call_id: "call_HpVRQ99HODBNDctpQaade",
            output: "{\"temperature\":18,\"condition\":\"晴\"}",
        };
        check_event("016", CREATE, result);
        let item = ClientEvent::DeleteItem("item_abc");
        check_event("046", "conversation.item.delete", item);
    }

    #[test]
    fn responses_are_requested_as_the_sdks_request_them() {
        const CREATE: &str = "response.create";
        let none = ResponseOptions::default();
        let both = ResponseOptions {
            modalities: texts(&["audio", "text"]),
            ..ResponseOptions::default()
        };
        check_event("013", "response.cancel", ClientEvent::CancelResponse);
        for number in ["046", "076", "088"] {
            check_event(number, CREATE, ClientEvent::CreateResponse(&none));
        }
        check_event("082", CREATE, ClientEvent::CreateResponse(&both));
    }

    #[test]
    fn a_response_has_the_options_that_are_set() {
        let options = ResponseOptions {
            instructions: "短".to_owned(),
            modalities: texts(&["text"]),
        };
        let mut codec = plain("qwen3-omni-flash-realtime");
        let ours = event(codec.encode(&ClientEvent::CreateResponse(&options)));
        let response = json!({"instructions": "短", "modalities": ["text"]});
        assert_eq!(
            ours,
            json!({"type": "response.create", "response": response})
        );
    }

    #[test]
    fn a_session_ends_as_its_dialect_requires() {
        for (model, number) in [
            ("qwen3-omni-flash-realtime", "091"),
            ("qwen3.5-livetranslate-flash-realtime", "091"),
            ("qwen3-tts-flash-realtime", "100"),
        ] {
            let FinishWay::Acknowledged(frame) = plain(model).finish().unwrap() else {
                panic!("{model}");
            };
            let expected = sent(number, "session.finish").remove(0);
            assert_eq!(event(Ok(frame)), expected);
        }
        let finish = plain("qwen3.8-omni-flash-realtime").finish().unwrap();
        assert!(matches!(finish, FinishWay::Unacknowledged(_)));
        let finish = plain("qwen-audio-3.0-realtime-plus").finish().unwrap();
        assert_eq!(finish, FinishWay::Close);
    }

    #[test]
    fn events_that_a_dialect_lacks_are_refused_with_their_field() {
        let none = ResponseOptions::default();
        let tool = ClientEvent::ToolResult {
            call_id: "c",
            output: "o",
        };
        let turn = |detection| SessionChanges {
            turn_detection: Some(detection),
            ..SessionChanges::default()
        };
        let semantic = turn(TurnDetection::SemanticVad(VoiceActivity::default()));
        let smart = turn(TurnDetection::SmartTurn(SmartTurn::default()));
        let voiceprints = turn(TurnDetection::SmartTurn(SmartTurn {
            voiceprint_audio_uris: texts(&["https://example.com/speaker.wav"]),
            is_v2: false,
        }));
        let silent = SessionChanges {
            transcription: Some(Transcription::Disabled),
            ..SessionChanges::default()
        };
        let tools = SessionChanges {
            tools: vec![Tool::Raw("{}".to_owned())],
            ..SessionChanges::default()
        };
        let audio = "qwen-audio-3.0-realtime-plus";
        let omni = "qwen3-omni-flash-realtime";
        let translation = "qwen3.8-livetranslate-flash-realtime";
        let asr = "qwen3-asr-flash-realtime";
        let tts = "qwen3-tts-flash-realtime";
        let smart_field = "update.turn_detection.smart_turn";
        let large = [JPEG, &[0; MAX_IMAGE_BYTES]].concat();
        for (model, event, field) in [
            (audio, ClientEvent::Image(JPEG), "image"),
            (omni, ClientEvent::Image(&large), "image"),
            (omni, ClientEvent::Image(b"\x89PNG\r\n\x1a\n"), "image"),
            (asr, ClientEvent::CreateResponse(&none), "create_response"),
            (translation, ClientEvent::CancelResponse, "cancel_response"),
            (translation, ClientEvent::UserText("t"), "text"),
            (asr, ClientEvent::AssistantText("t"), "text"),
            (asr, ClientEvent::DeleteItem("i"), "delete_item"),
            (asr, tool, "tool_result"),
            (tts, ClientEvent::Audio(&[1]), "audio"),
            (tts, ClientEvent::Commit, "commit"),
            (omni, ClientEvent::SynthesisText("t"), "text"),
            (omni, ClientEvent::SynthesisClear, "clear"),
            (
                audio,
                ClientEvent::Update(&semantic),
                "update.turn_detection.semantic_vad",
            ),
            (omni, ClientEvent::Update(&smart), smart_field),
            (
                audio,
                ClientEvent::Update(&voiceprints),
                "update.turn_detection.smart_turn.voiceprint_audio_uris",
            ),
            (
                translation,
                ClientEvent::Update(&silent),
                "update.input_transcription",
            ),
            (asr, ClientEvent::Update(&tools), "update.tools"),
            (tts, ClientEvent::Update(&silent), "update"),
        ] {
            let mut codec = plain(model);
            let _ = codec.encode(&ClientEvent::Audio(&[1]));
            let before = codec.frames;
            // The turns of this model can be changed before the first audio.
            codec.has_audio = codec.dialect.images;
            assert_eq!(field_of(codec.encode(&event)), field, "{model}");
            assert_eq!(codec.frames, before, "no id is used");
        }
    }

    #[test]
    fn what_depends_on_earlier_audio_is_refused() {
        let mut omni = plain("qwen3-omni-flash-realtime");
        assert_eq!(field_of(omni.encode(&ClientEvent::Image(JPEG))), "image");
        omni.encode(&ClientEvent::Audio(&[1])).unwrap();
        omni.encode(&ClientEvent::Image(JPEG)).unwrap();

        let manual = SessionChanges {
            turn_detection: Some(TurnDetection::Manual),
            ..SessionChanges::default()
        };
        let update = ClientEvent::Update(&manual);
        omni.encode(&update).unwrap();
        let mut audio = plain("qwen-audio-3.0-realtime-plus");
        audio.encode(&update).unwrap();
        audio.encode(&ClientEvent::Audio(&[1])).unwrap();
        assert_eq!(field_of(audio.encode(&update)), "update.turn_detection");
    }

    #[test]
    fn a_setup_that_the_model_does_not_support_is_refused_with_its_field() {
        let input = ConverseSetup {
            input_audio: rate(AudioEncoding::Pcm, 44_100),
            ..ConverseSetup::default()
        };
        let mut codec = converse("qwen3-omni-flash-realtime", input);
        assert_eq!(field_of(codec.setup()), "setup.input_audio");
        let mut codec = plain("qwen3-tts-flash-realtime");
        assert_eq!(field_of(codec.setup()), "setup.model");
        let task = LiveTask::Synthesize(Box::default());
        let mut codec = codec_of("qwen3-omni-flash-realtime", task);
        assert_eq!(field_of(codec.setup()), "setup.model");
        let broken = ConverseSetup {
            changes: SessionChanges {
                tools: vec![Tool::Raw("{".to_owned())],
                ..SessionChanges::default()
            },
            ..ConverseSetup::default()
        };
        let mut codec = converse("qwen3-omni-flash-realtime", broken);
        assert_eq!(field_of(codec.setup()), "setup.tools[0].raw_json");
        let infinite = ConverseSetup {
            changes: SessionChanges {
                sampling: LiveSampling {
                    temperature: Some(Real(f64::INFINITY)),
                    ..LiveSampling::default()
                },
                ..SessionChanges::default()
            },
            ..ConverseSetup::default()
        };
        let mut codec = converse("qwen3-omni-flash-realtime", infinite);
        assert_eq!(field_of(codec.setup()), "setup");
    }

    /// A format without a name needs the object form, which DashScope does not mix with names.
    #[test]
    fn formats_are_all_names_or_all_objects() {
        let setup = |input_audio, output_audio| ConverseSetup {
            input_audio,
            output_audio,
            ..ConverseSetup::default()
        };
        let pcm = |of| rate(AudioEncoding::Pcm, of);
        let wav = rate(AudioEncoding::Wav, 8_000);
        let none = AudioFormat::default();
        let object = |kind: &str, of: u32| json!({"format": {"type": kind, "sample_rate": of}});
        for (input, output, session) in [
            (none, none, json!({})),
            (pcm(16_000), none, json!({"input_audio_format": "pcm16"})),
            (
                wav,
                pcm(24_000),
                json!({"audio": {"input": object("wav", 8_000), "output": object("pcm", 24_000)}}),
            ),
            (
                none,
                pcm(48_000),
                json!({"audio": {"output": object("pcm", 48_000)}}),
            ),
        ] {
            let mut codec = converse("qwen3-omni-flash-realtime", setup(input, output));
            assert_eq!(event(codec.setup())["session"], session);
        }
    }

    #[test]
    fn other_keys_are_merged_last_and_nulls_are_kept() {
        let extra = json!({"audio": {"output": {"format": {"speech_rate": 1.2}}}, "voice": null,
            "turn_detection": {"type": "future", "n": [1, null, {"a": 2}]}});
        let setup = ConverseSetup {
            changes: SessionChanges {
                turn_detection: Some(TurnDetection::ServerVad(VoiceActivity {
                    threshold: Some(Real(0.0)),
                    ..VoiceActivity::default()
                })),
                extra: object(&extra),
                ..SessionChanges::default()
            },
            voice: Some("Cherry".to_owned()),
            output_audio: rate(AudioEncoding::Pcm, 48_000),
            ..ConverseSetup::default()
        };
        let mut codec = converse("qwen3-omni-flash-realtime", setup);
        let format = json!({"type": "pcm", "sample_rate": 48_000, "speech_rate": 1.2});
        let session = json!({"audio": {"output": {"format": format}}, "voice": null,
            "turn_detection": {"type": "future", "threshold": 0.0, "n": [1, null, {"a": 2}]}});
        assert_eq!(event(codec.setup())["session"], session);
    }

    #[test]
    fn ids_are_consecutive_and_recognized() {
        let mut codec = plain("qwen3-omni-flash-realtime");
        let first = codec.setup().unwrap().event_id;
        let second = codec.encode(&ClientEvent::Commit).unwrap().event_id;
        assert_eq!((first, second), (EventId(1), EventId(2)));
        for id in ["", "event_", "event_x", "event_+1", "event_1 ", "other"] {
            assert_eq!(EventId::parse(id), None, "{id:?}");
        }
        assert_eq!(EventId::parse("event_12"), Some(EventId(12)));
    }

    proptest! {
        #[test]
        fn audio_is_written_once_into_a_buffer_of_its_size(
            bytes in proptest::collection::vec(any::<u8>(), 0..5_000),
        ) {
            let mut codec = plain("qwen3-omni-flash-realtime");
            let frame = codec.encode(&ClientEvent::Audio(&bytes)).unwrap();
            prop_assert!(frame.text.capacity() - frame.text.len() < 128);
            let event: Value = serde_json::from_str(&frame.text).unwrap();
            let audio = super::super::audio_frame::read(event["audio"].as_str().unwrap());
            prop_assert_eq!(audio.as_deref(), Some(&bytes[..]));
        }

        #[test]
        fn any_text_is_sent_as_it_is(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let mut codec = plain("qwen3-omni-flash-realtime");
            let ours = event(codec.encode(&ClientEvent::UserText(&text)));
            prop_assert_eq!(&ours["item"]["content"][0]["text"], &json!(text));
            let result = ClientEvent::ToolResult { call_id: "c", output: &text };
            let ours = event(codec.encode(&result));
            prop_assert_eq!(&ours["item"]["output"], &json!(text));
        }
    }
}
