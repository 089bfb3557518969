//! The body of a request: `model`, `parameters`, `input`, in this order.

use super::json::{Number, Written};
use super::json_writer::JsonWriter;
use super::media_transfer::MediaTransfer;
use super::parameters;
use crate::chat::call::{Delivery, Prompt};
use crate::chat::document::{Document, Object};
use crate::chat::media::{Image, Video, VideoSource};
use crate::chat::message::{Body, Part, Role, Speech, ToolCall, Turn};
use crate::error::{Error, Reason, Violation};

/// Reserved bytes for the keys and punctuation around a text, so that the buffer seldom grows.
const PART_OVERHEAD: usize = 64;

/// The key of a tool call's `extra` that holds the unknown keys of its `function`.
const FUNCTION: &str = "function";

/// Reserved bytes for the model and the parameters.
const PARAMETERS_OVERHEAD: usize = 1024;

/// Writes the body. `transfers` come from `media_transfer::transfers`, after uploads.
pub(crate) fn write(
    prompt: &Prompt,
    model: &str,
    delivery: Delivery,
    transfers: &[MediaTransfer<'_>],
    max_bytes: usize,
) -> Result<Vec<u8>, Error> {
    let capacity = checked_len(prompt, transfers, max_bytes)?;
    let mut writer = JsonWriter::new(capacity, transfers);
    writer.raw("{\"model\":");
    writer.text(model);
    writer.raw(",\"parameters\":");
    parameters::write(prompt, delivery, &mut writer.body)?;
    writer.raw(",\"input\":");
    match &prompt.options.speech {
        Some(speech) => writer.speech(speech, &prompt.turns)?,
        None => writer.messages(&prompt.turns)?,
    }
    writer.raw("}");
    Ok(writer.body)
}

/// The estimated length of the body. It is not exceeded unless much of the text needs escaping.
pub(crate) fn estimated_len(prompt: &Prompt, transfers: &[MediaTransfer<'_>]) -> usize {
    let text = |part: &Part| match &part.body {
        Body::Text(text) => text.len(),
        Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => 0,
    };
    let turns = prompt.turns.iter().map(|turn| {
        let parts: usize = turn.parts.iter().map(|p| text(p) + PART_OVERHEAD).sum();
        let calls: usize = turn.tool_calls.iter().map(|c| c.arguments.len()).sum();
        parts + calls + turn.reasoning.len() + PART_OVERHEAD
    });
    let media: usize = transfers
        .iter()
        .map(|transfer| transfer.len() + PART_OVERHEAD)
        .sum();
    turns.sum::<usize>() + media + PARAMETERS_OVERHEAD
}

/// As [`estimated_len`], but fails if the texts alone exceed DashScope's limit: uploading media
/// cannot help then.
pub(crate) fn checked_len(
    prompt: &Prompt,
    transfers: &[MediaTransfer<'_>],
    max_bytes: usize,
) -> Result<usize, Error> {
    let room = estimated_len(prompt, transfers);
    if room > max_bytes {
        let parts = prompt.turns.iter().flat_map(|turn| &turn.parts);
        let texts = parts.map(|part| match &part.body {
            Body::Text(text) => text.len(),
            Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => 0,
        });
        let texts = texts.sum::<usize>();
        if texts > max_bytes {
            return Err(too_large(texts, max_bytes));
        }
    }
    Ok(room)
}

/// The error of a request whose body has at least `bytes` bytes.
pub(crate) fn too_large(bytes: usize, limit: usize) -> Error {
    let message = format!(
        "the request to DashScope has at least {bytes} bytes, the limit of this model is {limit}: \
         send fewer or shorter messages"
    );
    Error::new(Reason::MediaTooLarge, message).with_violation(Violation {
        field: "conversation.messages".to_owned(),
        description: format!("must be at most {limit} bytes in all"),
    })
}

impl JsonWriter<'_, '_> {
    fn speech(&mut self, speech: &Speech, turns: &[Turn]) -> Result<(), Error> {
        self.raw("{");
        self.field("text", spoken(turns)?)?;
        self.field("voice", speech.voice.as_deref())?;
        self.field("language_type", speech.language_type.as_deref())?;
        self.raw("}");
        Ok(())
    }

    fn messages(&mut self, turns: &[Turn]) -> Result<(), Error> {
        self.raw("{\"messages\":");
        self.list(turns, Self::turn)?;
        self.raw("}");
        Ok(())
    }

    fn turn(&mut self, turn: &Turn) -> Result<(), Error> {
        self.raw("{");
        // An unknown role of an earlier answer is sent back from `extra`, and so is content of an
        // unknown form.
        let has_other = |key: &str| turn.extra.value(key).is_some_and(|v| *v != Document::Null);
        if !has_other("role") {
            self.raw("\"role\":\"");
            self.raw(match turn.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => "tool",
            });
            self.raw("\"");
        }
        // Parts and tool calls of an unknown form are appended to the others.
        let (has_parts, has_calls) = (!turn.parts.is_empty(), !turn.tool_calls.is_empty());
        if has_parts || !has_other("content") {
            self.key("content");
            self.joined(&turn.parts, turn.extra.value("content"), Self::part)?;
        }
        let non_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.field("reasoning_content", non_empty(&turn.reasoning))?;
        if has_calls {
            self.key("tool_calls");
            let rest = turn.extra.value("tool_calls");
            self.joined(&turn.tool_calls, rest, |json, call| {
                json.tool_call(call, true)
            })?;
        }
        self.field("tool_call_id", non_empty(&turn.tool_call_id))?;
        self.extra_without(&turn.extra, |key| {
            has_parts && key == "content" || has_calls && key == "tool_calls"
        })?;
        self.raw("}");
        Ok(())
    }

    fn part(&mut self, part: &Part) -> Result<(), Error> {
        self.raw("{");
        match &part.body {
            Body::Text(text) => {
                self.key("text");
                self.text(text);
            }
            Body::Audio(_) => {
                self.key("audio");
                self.medium()?;
            }
            Body::Image(image) => self.image(image)?,
            Body::Video(video) => self.video(video)?,
            Body::Other => {}
        }
        if let Some(kind) = &part.cache_control {
            self.key("cache_control");
            self.raw("{\"type\":");
            self.text(kind);
            self.raw("}");
        }
        self.extra(&part.extra)?;
        self.raw("}");
        Ok(())
    }

    fn image(&mut self, image: &Image) -> Result<(), Error> {
        self.key("image");
        self.medium()?;
        self.field("min_pixels", image.min_pixels)?;
        self.field("max_pixels", image.max_pixels)?;
        self.field("enable_rotate", image.enable_rotate)
    }

    fn video(&mut self, video: &Video) -> Result<(), Error> {
        self.key("video");
        match &video.source {
            VideoSource::File(_) => self.medium()?,
            VideoSource::Frames(frames) => self.list(frames, |writer, _| writer.medium())?,
        }
        self.field("fps", video.fps.map(Number))?;
        self.field("max_frames", video.max_frames)?;
        self.field("min_pixels", video.min_pixels)?;
        self.field("max_pixels", video.max_pixels)?;
        self.field("total_pixels", video.total_pixels)
    }

    /// Writes a tool call of an earlier answer, with or without its index.
    pub(crate) fn tool_call(&mut self, call: &ToolCall, has_index: bool) -> Result<(), Error> {
        // A key that was received in another form is sent in place of its field.
        let other = |object: &Object, key: &str| object.value(key).is_some();
        let extra = &call.extra;
        self.raw("{");
        if has_index && !other(extra, "index") {
            self.field("index", Some(call.index))?;
        }
        if !other(extra, "id") {
            self.field("id", Some(&call.id))?;
        }
        let kind = if call.kind.is_empty() {
            FUNCTION
        } else {
            &call.kind
        };
        if !other(extra, "type") {
            self.field("type", Some(kind))?;
        }
        let none = Object::default();
        let (function, odd) = match extra.value(FUNCTION) {
            Some(Document::Object(function)) => (function, None),
            None | Some(Document::Null) => (&none, None),
            odd => (&none, odd),
        };
        // A tool call of another type need not have a function.
        let is_empty = call.name.is_empty() && call.arguments.is_empty() && function.is_empty();
        if let Some(odd) = odd {
            self.field(FUNCTION, Some(Written(odd)))?;
        } else if kind == FUNCTION || !is_empty {
            self.key(FUNCTION);
            self.raw("{");
            if !other(function, "name") {
                self.field("name", Some(&call.name))?;
            }
            if !other(function, "arguments") {
                self.field("arguments", Some(&call.arguments))?;
            }
            self.extra(function)?;
            self.raw("}");
        }
        self.extra_without(extra, |key| key == FUNCTION)?;
        self.raw("}");
        Ok(())
    }
}

/// The text to speak: that of the only user message. `None` if there is no message.
fn spoken(turns: &[Turn]) -> Result<Option<String>, Error> {
    let wrong = |field: &str, what: &str| Err(Error::field(field, what));
    let turn = match turns {
        [] => return Ok(None),
        [turn] if turn.role == Role::User => turn,
        _ => {
            return wrong(
                "conversation.messages",
                "must be one message of ROLE_USER when options.speech is set",
            );
        }
    };
    let mut spoken = String::new();
    for (at, part) in turn.parts.iter().enumerate() {
        match &part.body {
            Body::Text(text) => spoken.push_str(text),
            Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => {
                let field = format!("conversation.messages[0].content[{at}]");
                return wrong(&field, "must be text when options.speech is set");
            }
        }
    }
    Ok(Some(spoken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::document::Real;
    use crate::chat::media::{Audio, Medium, Source};
    use crate::chat::message::{
        AsrOptions, AudioOutput, ImageSize, JsonSchema, OcrOptions, Options, ResponseFormat,
        SearchOptions, Tool, ToolChoice,
    };
    use crate::dashscope::media_transfer;
    use serde_json::{Value, json};

    fn turn(role: Role, parts: Vec<Part>) -> Turn {
        Turn {
            parts,
            ..Turn::new(role)
        }
    }

    fn text(text: &str) -> Part {
        Body::Text(text.into()).into()
    }

    fn medium(uri: &str) -> Medium {
        Medium {
            mime_type: String::new(),
            source: Source::Uri(uri.into()),
        }
    }

    fn prompt(turns: Vec<Turn>) -> Prompt {
        Prompt {
            model: "asked".into(),
            turns,
            tools: Vec::new(),
            tool_choice: None,
            options: Box::default(),
        }
    }

    fn written(prompt: &Prompt, delivery: Delivery) -> Result<String, Error> {
        let transfers = media_transfer::transfers(&prompt.turns, 10_485_760)?;
        let body = write(prompt, "m", delivery, &transfers, usize::MAX)?;
        Ok(String::from_utf8(body).unwrap())
    }

    fn json_of(prompt: &Prompt) -> Value {
        serde_json::from_str(&written(prompt, Delivery::Whole).unwrap()).unwrap()
    }

    #[test]
    fn encodes_a_conversation_with_tools() {
        let mut asks = turn(Role::Assistant, Vec::new());
        asks.reasoning = "hm".into();
        asks.tool_calls.push(ToolCall {
            index: 0,
            id: "c".into(),
            kind: String::new(),
            name: "f".into(),
            arguments: "{\"x\": 1}".into(),
            extra: Object::default(),
        });
        let mut result = turn(Role::Tool, vec![text("42")]);
        result.tool_call_id = "c".into();
        result.extra = Object(vec![
            ("name".into(), Document::String("f".into())),
            ("gone".into(), Document::Null),
        ]);
        let mut prompt = prompt(vec![turn(Role::System, vec![text("")]), asks, result]);
        let schema = "{ \"b\":1.0,\"a\": 12345678901234567890 }";
        prompt.tools = vec![
            Tool::Function {
                name: "f".into(),
                description: String::new(),
                parameters: schema.into(),
            },
            Tool::Raw("{\"type\":  \"web\"}".into()),
        ];
        prompt.tool_choice = Some(ToolChoice::Function("f".into()));
        let body = written(&prompt, Delivery::Stream).unwrap();
        assert_eq!(
            body,
            format!(
                "{{\"model\":\"m\",\"parameters\":{{\"incremental_output\":true,\"tools\":[{{\
                 \"type\":\"function\",\"function\":{{\"name\":\"f\",\"parameters\":{schema}}}}},\
                 {{\"type\":  \"web\"}}],\"tool_choice\":{{\"type\":\"function\",\"function\":\
                 {{\"name\":\"f\"}}}}}},\"input\":{{\"messages\":[{{\"role\":\"system\",\
                 \"content\":\
                 [{{\"text\":\"\"}}]}},{{\"role\":\"assistant\",\"content\":[],\
                 \"reasoning_content\":\"hm\",\"tool_calls\":[{{\"index\":0,\"id\":\"c\",\"type\":\
                 \"function\",\"function\":{{\"name\":\"f\",\
                 \"arguments\":\"{{\\\"x\\\": 1}}\"}}}}]}},\
                 {{\"role\":\"tool\",\"content\":[{{\"text\":\"42\"}}],\"tool_call_id\":\"c\",\
                 \"name\":\"f\"}}]}}}}"
            )
        );
    }

    #[test]
    fn encodes_media_with_their_options() {
        let image = Body::Image(Image {
            medium: medium("https://x.test/a.jpg"),
            min_pixels: Some(3136),
            max_pixels: Some(1_003_520),
            enable_rotate: Some(true),
        });
        let video = |source| {
            Body::Video(Video {
                source,
                fps: Some(Real(2.0)),
                max_frames: Some(512),
                min_pixels: None,
                max_pixels: None,
                total_pixels: Some(50176),
            })
        };
        let frames = vec![
            medium("https://x.test/1.jpg"),
            medium("https://x.test/2.jpg"),
        ];
        let sound = Body::Audio(Audio {
            medium: Some(Medium {
                mime_type: String::new(),
                source: Source::Inline(b"RIFF\x04\0\0\0WAVEfmt "[..].into()),
            }),
            file: None,
        });
        let mut last = text("look");
        last.cache_control = Some("ephemeral".into());
        last.extra = Object(vec![("k".into(), Document::List(vec![Document::Null]))]);
        let parts = vec![
            image.into(),
            video(VideoSource::Frames(frames)).into(),
            video(VideoSource::File(medium("oss://v.mp4"))).into(),
            sound.into(),
            last,
        ];
        let body = json_of(&prompt(vec![turn(Role::User, parts)]));
        assert_eq!(
            body["input"]["messages"][0]["content"],
            json!([
                { "image": "https://x.test/a.jpg", "min_pixels": 3136, "max_pixels": 1_003_520,
                  "enable_rotate": true },
                { "video": ["https://x.test/1.jpg", "https://x.test/2.jpg"], "fps": 2,
                  "max_frames": 512, "total_pixels": 50176 },
                { "video": "oss://v.mp4", "fps": 2, "max_frames": 512, "total_pixels": 50176 },
                { "audio": "data:audio/wav;base64,UklGRgQAAABXQVZFZm10IA==" },
                { "text": "look", "cache_control": { "type": "ephemeral" }, "k": [null] },
            ])
        );
    }

    #[test]
    fn encodes_every_group_of_options() {
        let mut prompt = prompt(vec![turn(Role::User, vec![text("?")])]);
        *prompt.options = Options {
            temperature: Some(Real(0.7)),
            seed: Some(i64::MAX),
            stop_token_ids: vec![vec![1, 2]],
            response_format: Some(ResponseFormat::JsonSchema(JsonSchema {
                name: "n".into(),
                schema: "{\"a\":1}".into(),
                strict: Some(true),
                ..JsonSchema::default()
            })),
            modalities: vec!["text".into(), "audio".into()],
            audio: Some(AudioOutput {
                voice: Some("Cherry".into()),
                format: None,
            }),
            search_options: Some(SearchOptions {
                forced_search: Some(true),
                ..SearchOptions::default()
            }),
            asr_options: Some(AsrOptions {
                language: Some("zh".into()),
                enable_lid: Some(true),
                enable_itn: Some(false),
            }),
            size: Some(ImageSize {
                width: 1664,
                height: 928,
            }),
            ocr_options: Some(OcrOptions {
                task: Some("t".into()),
                task_config: Some(Object(vec![("n".into(), Document::Number(Real(3.0)))])),
            }),
            ..Options::default()
        };
        assert_eq!(
            json_of(&prompt)["parameters"],
            json!({
                "temperature": 0.7, "seed": i64::MAX, "stop": [[1, 2]],
                "response_format": { "type": "json_schema", "json_schema":
                    { "name": "n", "schema": { "a": 1 }, "strict": true } },
                "modalities": ["text", "audio"], "audio": { "voice": "Cherry" },
                "search_options": { "forced_search": true },
                "asr_options": { "language": "zh", "enable_lid": true, "enable_itn": false },
                "ocr_options": { "task": "t", "task_config": { "n": 3 } },
                "size": "1664*928",
            })
        );
    }

    #[test]
    fn encodes_speech_as_a_text_and_a_voice() {
        let mut prompt = prompt(vec![turn(Role::User, vec![text("a "), text("day")])]);
        prompt.options.speech = Some(Speech {
            voice: Some("Cherry".into()),
            language_type: Some("English".into()),
            instructions: Some("softly".into()),
            optimize_instructions: None,
        });
        let body = json_of(&prompt);
        let input = json!({ "text": "a day", "voice": "Cherry", "language_type": "English" });
        assert_eq!(body["input"], input);
        assert_eq!(body["parameters"], json!({ "instructions": "softly" }));
        prompt.turns.clear();
        assert_eq!(json_of(&prompt)["input"]["text"], Value::Null);
        prompt.turns = vec![turn(Role::System, vec![text("a")])];
        assert!(written(&prompt, Delivery::Whole).is_err());
    }

    #[test]
    fn an_unsupported_value_is_reported_with_its_field() {
        let sound = |mime_type: &str, bytes: &'static [u8]| {
            Body::Audio(Audio {
                medium: Some(Medium {
                    mime_type: mime_type.into(),
                    source: Source::Inline(bytes.into()),
                }),
                file: None,
            })
        };
        let mut not_finite = prompt(vec![]);
        not_finite.options.top_p = Some(Real(f64::NAN));
        let mut not_json = prompt(vec![]);
        not_json.tools = vec![Tool::Raw("{}, {}".into())];
        let part = |body: Body| prompt(vec![turn(Role::User, vec![text("?"), body.into()])]);
        let at = "conversation.messages[0].content[1].audio";
        for (prompt, field) in [
            (part(sound("", b"????")), format!("{at}.mime_type")),
            (
                part(sound("audio/\"wav", b"RIFF")),
                format!("{at}.mime_type"),
            ),
            (part(sound("audio/wav", b"")), format!("{at}.data")),
            (not_finite, "options".to_owned()),
            (not_json, "conversation.tools[0].raw_json".to_owned()),
        ] {
            let error = written(&prompt, Delivery::Whole).unwrap_err();
            assert_eq!(error.violations()[0].field, field);
        }
    }

    #[test]
    fn the_body_buffer_is_allocated_once() {
        let sound = Body::Audio(Audio {
            medium: Some(Medium {
                mime_type: "audio/wav".into(),
                source: Source::Inline(vec![0; 300_000].into()),
            }),
            file: None,
        });
        let prompt = prompt(vec![turn(Role::User, vec![sound.into(), text("?")])]);
        let transfers = media_transfer::transfers(&prompt.turns, 10_485_760).unwrap();
        let body = write(&prompt, "m", Delivery::Stream, &transfers, usize::MAX).unwrap();
        assert_eq!(body.capacity(), estimated_len(&prompt, &transfers));
    }
}
