//! Parses a request to the generation endpoint.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::family::{Family, Kind, family};

/// DashScope's message for invalid roles and for empty messages.
const ROLE: &str = "Role must be user or assistant and Content length must be greater than 0";

/// A well-formed request; its parameters are not validated yet.
#[derive(Clone, Debug)]
pub(super) struct GenerationRequest {
    /// The model.
    pub(super) model: String,
    /// Its family.
    pub(super) family: &'static Family,
    /// Whether a stream is requested.
    pub(super) stream: bool,
    /// The conversation.
    pub(super) messages: Vec<Message>,
    /// The fields of `input` except the messages: `text`, `voice`, `language_type`.
    pub(super) input: Map<String, Value>,
    /// The fields of `parameters` that are not null.
    pub(super) parameters: Map<String, Value>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its role.
    pub(super) role: String,
    /// Its content.
    pub(super) parts: Vec<Part>,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A text.
    Text(String),
    /// A medium: its kind and URL.
    Medium(MediaKind, String),
    /// A video as a list of image URLs.
    Frames(Vec<String>),
}

/// The kind of a medium: its key in a content part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum MediaKind {
    /// `audio`.
    Audio,
    /// `image`.
    Image,
    /// `video`.
    Video,
}

const MEDIA_KINDS: [(&str, MediaKind); 3] = [
    ("audio", MediaKind::Audio),
    ("image", MediaKind::Image),
    ("video", MediaKind::Video),
];

impl GenerationRequest {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// DashScope's error for an invalid body.
    pub(super) fn read(body: &Value, stream: bool) -> Result<Self, ApiError> {
        if !body.is_object() {
            let words = "The input parameter requires json format.";
            return Err(ApiError::new(400, "BadRequest.IllegalInput", words));
        }
        let model = text(body, "model");
        if model.is_empty() {
            let words = "Required parameter \"model\" missing from request.";
            return Err(ApiError::new(400, "BadRequest.EmptyModel", words));
        }
        let Some(family) = family(model) else {
            return Err(ApiError::new(
                404,
                "ModelNotFound",
                "Model can not be found.",
            ));
        };
        let Some(input) = body.get("input").and_then(Value::as_object) else {
            let words = "Required input parameter missing from request.";
            return Err(ApiError::new(400, "BadRequest.EmptyInput", words));
        };
        let parameters = match body.get("parameters") {
            None | Some(Value::Null) => Map::new(),
            Some(value) => match value.as_object() {
                Some(parameters) => known(parameters),
                None => return Err(ApiError::parameter("parameters must be an object.")),
            },
        };
        let mut rest = known(input);
        let messages = match rest.remove("messages") {
            None => Vec::new(),
            Some(messages) => parse_messages(&messages, family)?,
        };
        let speech_input = rest.contains_key("text") || rest.contains_key("voice");
        if messages.is_empty() && !speech_input {
            return Err(ApiError::parameter(ROLE));
        }
        Ok(Self {
            model: model.to_owned(),
            family,
            stream,
            messages,
            input: rest,
            parameters,
        })
    }

    /// The texts of the last message, joined.
    pub(super) fn question(&self) -> String {
        let Some(message) = self.messages.last() else {
            return self.speech_input().to_owned();
        };
        let texts: Vec<&str> = message.parts.iter().filter_map(Part::text).collect();
        texts.join("\n")
    }

    /// The input of a text-to-speech model.
    pub(super) fn speech_input(&self) -> &str {
        let text = self.input.get("text").and_then(Value::as_str);
        text.unwrap_or_default()
    }

    /// Whether a boolean parameter is true.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.parameters.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// Whether audio output is requested beside text.
    pub(super) fn requests_audio(&self) -> bool {
        let list = self.parameters.get("modalities").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|item| item == "audio"))
    }

    /// Whether the stream is incremental; otherwise each frame has the whole text so far.
    pub(super) fn deltas(&self) -> bool {
        let asked = self.parameters.get("incremental_output");
        asked.and_then(Value::as_bool).unwrap_or(self.family.deltas)
    }
}

impl Part {
    /// The text, if the part is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Medium(..) | Self::Frames(_) => None,
        }
    }
}

/// The model in a body, even if the body is invalid.
pub(super) fn model(body: &Value) -> &str {
    text(body, "model")
}

/// What rules match: the texts of the last message and the URLs of its media.
pub(super) fn subject(body: &Value) -> String {
    let Some(input) = body.get("input") else {
        return String::new();
    };
    let mut lines = vec![text(input, "text")];
    let messages = input.get("messages").and_then(Value::as_array);
    if let Some(content) = messages.and_then(|list| list.last()?.get("content")) {
        lines.extend(content.as_str());
        for part in content.as_array().into_iter().flatten() {
            for (_, value) in part.as_object().into_iter().flatten() {
                let addresses = value.as_array().into_iter().flatten();
                let texts = value.as_str().into_iter();
                lines.extend(texts.chain(addresses.filter_map(Value::as_str)));
            }
        }
    }
    lines.retain(|line| !line.is_empty() && !line.starts_with("data:"));
    lines.join("\n")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default()
}

/// The official SDK sends `null` for arguments that are None; DashScope treats them as absent.
fn known(fields: &Map<String, Value>) -> Map<String, Value> {
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn parse_messages(messages: &Value, family: &Family) -> Result<Vec<Message>, ApiError> {
    let Some(list) = messages.as_array() else {
        return Err(ApiError::parameter("messages must be a list."));
    };
    list.iter()
        .map(|message| parse_message(message, family))
        .collect()
}

fn parse_message(message: &Value, family: &Family) -> Result<Message, ApiError> {
    let role = text(message, "role");
    if !["system", "user", "assistant", "tool"].contains(&role) {
        return Err(ApiError::parameter(ROLE));
    }
    let calls = message.get("tool_calls").is_some_and(Value::is_array);
    let parts = match message.get("content") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(items)) => items.iter().map(part).collect::<Result<_, _>>()?,
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            let words = "The provided messages input is invalid. The error info is \
                         [Unexpected item type in content.]";
            return Err(ApiError::algorithm(words));
        }
    };
    let unrecorded = parts.iter().all(|part| part.text() == Some(""));
    // The context of a transcription may be empty, as in DashScope's own example.
    let context = role == "system" && family.kind == Kind::Transcribe && !parts.is_empty();
    if unrecorded && !(role == "assistant" && calls) && role != "tool" && !context {
        return Err(ApiError::parameter(ROLE));
    }
    Ok(Message {
        role: role.to_owned(),
        parts,
    })
}

fn part(item: &Value) -> Result<Part, ApiError> {
    if let Some(text) = item.get("text") {
        return match text.as_str() {
            Some(text) => Ok(Part::Text(text.to_owned())),
            None => Err(ApiError::parameter(MODAL)),
        };
    }
    for (name, media_kind) in MEDIA_KINDS {
        if let Some(value) = item.get(name) {
            return medium(media_kind, value).ok_or_else(|| ApiError::parameter(MODAL));
        }
    }
    // The format of Fun-ASR.
    if let Some(audio) = item.get("input_audio") {
        let medium = medium(MediaKind::Audio, audio.get("data").unwrap_or(audio));
        return medium.ok_or_else(|| ApiError::parameter(MODAL));
    }
    if let Some(context) = item.get("input_text") {
        let words = context.get("text").unwrap_or(context).as_str();
        let part = words.map(|words| Part::Text(words.to_owned()));
        return part.ok_or_else(|| ApiError::parameter(MODAL));
    }
    Err(ApiError::parameter(MODAL))
}

const MODAL: &str = "The item of content should be a message of a certain modal.";

fn medium(media_kind: MediaKind, value: &Value) -> Option<Part> {
    let one = |value: &Value| value.as_str().map(str::to_owned);
    match value.as_array() {
        Some(list) if media_kind == MediaKind::Video && !list.is_empty() => {
            let frames = list.iter().map(one).collect::<Option<_>>();
            frames.map(Part::Frames)
        }
        Some(list) => match list.as_slice() {
            [value] => one(value).map(|address| Part::Medium(media_kind, address)),
            _ => None,
        },
        None => one(value).map(|address| Part::Medium(media_kind, address)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refused(body: Value) -> ApiError {
        GenerationRequest::read(&body, false).unwrap_err()
    }

    fn with_messages(messages: Value) -> Value {
        json!({"model": "qwen-audio-turbo", "input": {"messages": messages}})
    }

    #[test]
    fn invalid_bodies_are_refused_with_dashscopes_messages() {
        for (body, status, code) in [
            (json!([]), 400, "BadRequest.IllegalInput"),
            (json!({}), 400, "BadRequest.EmptyModel"),
            (json!({"model": "nope"}), 404, "ModelNotFound"),
            (
                json!({"model": "qwen-vl-plus"}),
                400,
                "BadRequest.EmptyInput",
            ),
        ] {
            let error = refused(body);
            assert_eq!((error.status, &*error.code), (status, code));
        }
        for messages in [
            json!([]),
            json!([{"role": "user", "content": []}]),
            json!([{"role": "user", "content": ""}]),
            json!([{"role": "user", "content": [{"text": ""}]}]),
            json!([{"role": "narrator", "content": [{"text": "a"}]}]),
        ] {
            assert_eq!(refused(with_messages(messages)).message, ROLE);
        }
        for messages in [
            json!([{"role": "user", "content": [{"smell": "a"}]}]),
            json!([{"role": "user", "content": [{"text": 1}]}]),
            json!([{"role": "user", "content": ["a"]}]),
        ] {
            assert_eq!(refused(with_messages(messages)).message, MODAL);
        }
    }

    #[test]
    fn the_context_of_a_transcription_may_be_empty() {
        let messages = json!([{"role": "system", "content": [{"text": ""}]},
            {"role": "user", "content": [{"audio": "https://a.example/b.wav"}]}]);
        for (model, taken) in [("qwen3-asr-flash", true), ("qwen-audio-turbo", false)] {
            let body = json!({"model": model, "input": {"messages": messages}});
            assert_eq!(
                GenerationRequest::read(&body, false).is_ok(),
                taken,
                "{model}"
            );
        }
    }

    #[test]
    fn the_parts_of_fun_asr_are_parsed() {
        let request = GenerationRequest::read(
            &json!({"model": "fun-asr-flash-2026-06-15", "input": {"messages": [{"role": "user",
                "content": [{"type": "input_text", "input_text": {"text": "names"}},
                    {"type": "input_audio", "input_audio": {"data": "https://a/b"}}]}]}}),
            false,
        );
        let parts = &request.unwrap().messages[0].parts;
        let audio = Part::Medium(MediaKind::Audio, "https://a/b".into());
        assert_eq!(parts[..], [Part::Text("names".into()), audio]);
    }

    #[test]
    fn requests_of_the_sdks_are_accepted() {
        let java = json!({"model": "qwen3-tts-flash", "parameters": {"enable_search": false},
            "input": {"messages": [], "text": "hi", "voice": "Cherry"}});
        let request = GenerationRequest::read(&java, false).unwrap();
        assert_eq!(
            (request.speech_input(), request.question().as_str()),
            ("hi", "hi")
        );
        let tool_round = with_messages(json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [], "tool_calls": [{}]},
            {"role": "tool", "content": [{"text": "sunny"}], "tool_call_id": "c"},
        ]));
        let request = GenerationRequest::read(&tool_round, true).unwrap();
        assert_eq!(request.question(), "sunny");
        let nulls = json!({"model": "qwen-vl-plus", "parameters": {"seed": null},
            "input": {"messages": [{"role": "user", "content": [
                {"video": ["a", "b"], "fps": 2}, {"text": "x"}]}]}});
        let request = GenerationRequest::read(&nulls, false).unwrap();
        assert!(request.parameters.is_empty());
        let frames = Part::Frames(vec!["a".into(), "b".into()]);
        assert_eq!(request.messages[0].parts[0], frames);
        assert_eq!(subject(&nulls), "a\nb\nx");
    }

    proptest! {
        #[test]
        fn an_arbitrary_body_is_parsed_or_refused(text in r#"[\{\}\[\]":,a-z0-9 ]{0,60}"#) {
            if let Ok(body) = serde_json::from_str::<Value>(&text) {
                drop(GenerationRequest::read(&body, true));
            }
        }

        #[test]
        fn an_arbitrary_message_is_parsed_or_refused(
            role in "user|tool|", key in "text|audio|image|video|x", value in ".{0,6}",
            list in any::<bool>(),
        ) {
            let value = if list { json!([value]) } else { json!(value) };
            let body = with_messages(json!([{"role": role, "content": [{ key: value }]}]));
            drop(GenerationRequest::read(&body, false));
            drop(subject(&body));
        }
    }
}
