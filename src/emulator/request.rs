//! A request to the generation endpoint, parsed from its JSON.

use serde_json::{Map, Value};

use super::error::Fault;
use super::family::{Family, Kind, family};

/// What DashScope says of wrong roles and of empty turns alike.
const ROLE: &str = "Role must be user or assistant and Content length must be greater than 0";

/// A request that is whole in its form. Its parameters are still to be checked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The model.
    pub(super) model: String,
    /// What is known of it.
    pub(super) family: &'static Family,
    /// Whether the answer is a stream.
    pub(super) stream: bool,
    /// The conversation so far.
    pub(super) turns: Vec<Turn>,
    /// All of `input` but the messages: `text`, `voice`, `language_type`.
    pub(super) input: Map<String, Value>,
    /// All of `parameters`, without the nulls.
    pub(super) parameters: Map<String, Value>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Who says it.
    pub(super) role: String,
    /// What is said.
    pub(super) parts: Vec<Part>,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A text.
    Text(String),
    /// A medium: its address.
    Medium(Sense, String),
    /// A video as a list of images: their addresses.
    Frames(Vec<String>),
}

/// The sense that a medium is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sense {
    /// `audio`.
    Audio,
    /// `image`.
    Image,
    /// `video`.
    Video,
}

const SENSES: [(&str, Sense); 3] = [
    ("audio", Sense::Audio),
    ("image", Sense::Image),
    ("video", Sense::Video),
];

impl Ask {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// DashScope's own words for a body that it could not read.
    pub(super) fn read(body: &Value, stream: bool) -> Result<Self, Fault> {
        if !body.is_object() {
            let words = "The input parameter requires json format.";
            return Err(Fault::new(400, "BadRequest.IllegalInput", words));
        }
        let model = text(body, "model");
        if model.is_empty() {
            let words = "Required parameter \"model\" missing from request.";
            return Err(Fault::new(400, "BadRequest.EmptyModel", words));
        }
        let Some(family) = family(model) else {
            return Err(Fault::new(404, "ModelNotFound", "Model can not be found."));
        };
        let Some(input) = body.get("input").and_then(Value::as_object) else {
            let words = "Required input parameter missing from request.";
            return Err(Fault::new(400, "BadRequest.EmptyInput", words));
        };
        let parameters = match body.get("parameters") {
            None | Some(Value::Null) => Map::new(),
            Some(value) => match value.as_object() {
                Some(parameters) => known(parameters),
                None => return Err(Fault::parameter("parameters must be an object.")),
            },
        };
        let mut rest = known(input);
        let turns = match rest.remove("messages") {
            None => Vec::new(),
            Some(messages) => turns(&messages, family)?,
        };
        let spoken = rest.contains_key("text") || rest.contains_key("voice");
        if turns.is_empty() && !spoken {
            return Err(Fault::parameter(ROLE));
        }
        Ok(Self {
            model: model.to_owned(),
            family,
            stream,
            turns,
            input: rest,
            parameters,
        })
    }

    /// What the last turn says, its texts joined.
    pub(super) fn question(&self) -> String {
        let Some(turn) = self.turns.last() else {
            return self.spoken().to_owned();
        };
        let texts: Vec<&str> = turn.parts.iter().filter_map(Part::text).collect();
        texts.join("\n")
    }

    /// The text that a text-to-speech model is to say.
    pub(super) fn spoken(&self) -> &str {
        let text = self.input.get("text").and_then(Value::as_str);
        text.unwrap_or_default()
    }

    /// A parameter that is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.parameters.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// Whether speech is asked for beside text.
    pub(super) fn wants_audio(&self) -> bool {
        let list = self.parameters.get("modalities").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|item| item == "audio"))
    }

    /// Whether a stream is of deltas, or each frame holds the whole text so far.
    pub(super) fn deltas(&self) -> bool {
        let asked = self.parameters.get("incremental_output");
        asked.and_then(Value::as_bool).unwrap_or(self.family.deltas)
    }
}

impl Part {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Medium(..) | Self::Frames(_) => None,
        }
    }
}

/// The model that a body names, however wrong the rest of it is.
pub(super) fn model(body: &Value) -> &str {
    text(body, "model")
}

/// What rules look at: the texts of the last turn and the addresses of its media.
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

/// The official SDK sends `null` for arguments that are None; DashScope takes them as absent.
fn known(fields: &Map<String, Value>) -> Map<String, Value> {
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn turns(messages: &Value, family: &Family) -> Result<Vec<Turn>, Fault> {
    let Some(list) = messages.as_array() else {
        return Err(Fault::parameter("messages must be a list."));
    };
    list.iter().map(|message| turn(message, family)).collect()
}

fn turn(message: &Value, family: &Family) -> Result<Turn, Fault> {
    let role = text(message, "role");
    if !["system", "user", "assistant", "tool"].contains(&role) {
        return Err(Fault::parameter(ROLE));
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
            return Err(Fault::algorithm(words));
        }
    };
    let silent = parts.iter().all(|part| part.text() == Some(""));
    // The context of a transcription may be empty: so it is in the vendor's own example.
    let context = role == "system" && family.kind == Kind::Transcribe && !parts.is_empty();
    if silent && !(role == "assistant" && calls) && role != "tool" && !context {
        return Err(Fault::parameter(ROLE));
    }
    Ok(Turn {
        role: role.to_owned(),
        parts,
    })
}

fn part(item: &Value) -> Result<Part, Fault> {
    if let Some(text) = item.get("text") {
        return match text.as_str() {
            Some(text) => Ok(Part::Text(text.to_owned())),
            None => Err(Fault::parameter(MODAL)),
        };
    }
    for (name, sense) in SENSES {
        if let Some(value) = item.get(name) {
            return medium(sense, value).ok_or_else(|| Fault::parameter(MODAL));
        }
    }
    // The grammar of Fun-ASR.
    if let Some(audio) = item.get("input_audio") {
        let medium = medium(Sense::Audio, audio.get("data").unwrap_or(audio));
        return medium.ok_or_else(|| Fault::parameter(MODAL));
    }
    if let Some(context) = item.get("input_text") {
        let words = context.get("text").unwrap_or(context).as_str();
        let part = words.map(|words| Part::Text(words.to_owned()));
        return part.ok_or_else(|| Fault::parameter(MODAL));
    }
    Err(Fault::parameter(MODAL))
}

const MODAL: &str = "The item of content should be a message of a certain modal.";

fn medium(sense: Sense, value: &Value) -> Option<Part> {
    let one = |value: &Value| value.as_str().map(str::to_owned);
    match value.as_array() {
        Some(list) if sense == Sense::Video && !list.is_empty() => {
            let frames = list.iter().map(one).collect::<Option<_>>();
            frames.map(Part::Frames)
        }
        Some(list) => match list.as_slice() {
            [value] => one(value).map(|address| Part::Medium(sense, address)),
            _ => None,
        },
        None => one(value).map(|address| Part::Medium(sense, address)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refused(body: Value) -> Fault {
        Ask::read(&body, false).unwrap_err()
    }

    fn with_messages(messages: Value) -> Value {
        json!({"model": "qwen-audio-turbo", "input": {"messages": messages}})
    }

    #[test]
    fn bodies_that_are_not_whole_are_refused_in_dashscopes_words() {
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
            let fault = refused(body);
            assert_eq!((fault.status, &*fault.code), (status, code));
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
            assert_eq!(Ask::read(&body, false).is_ok(), taken, "{model}");
        }
    }

    #[test]
    fn the_parts_of_fun_asr_are_read() {
        let ask = Ask::read(
            &json!({"model": "fun-asr-flash-2026-06-15", "input": {"messages": [{"role": "user",
                "content": [{"type": "input_text", "input_text": {"text": "names"}},
                    {"type": "input_audio", "input_audio": {"data": "https://a/b"}}]}]}}),
            false,
        );
        let parts = &ask.unwrap().turns[0].parts;
        let audio = Part::Medium(Sense::Audio, "https://a/b".into());
        assert_eq!(parts[..], [Part::Text("names".into()), audio]);
    }

    #[test]
    fn what_the_sdks_send_is_taken() {
        let java = json!({"model": "qwen3-tts-flash", "parameters": {"enable_search": false},
            "input": {"messages": [], "text": "hi", "voice": "Cherry"}});
        let ask = Ask::read(&java, false).unwrap();
        assert_eq!((ask.spoken(), ask.question().as_str()), ("hi", "hi"));
        let tool_round = with_messages(json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [], "tool_calls": [{}]},
            {"role": "tool", "content": [{"text": "sunny"}], "tool_call_id": "c"},
        ]));
        let ask = Ask::read(&tool_round, true).unwrap();
        assert_eq!(ask.question(), "sunny");
        let nulls = json!({"model": "qwen-vl-plus", "parameters": {"seed": null},
            "input": {"messages": [{"role": "user", "content": [
                {"video": ["a", "b"], "fps": 2}, {"text": "x"}]}]}});
        let ask = Ask::read(&nulls, false).unwrap();
        assert!(ask.parameters.is_empty());
        let frames = Part::Frames(vec!["a".into(), "b".into()]);
        assert_eq!(ask.turns[0].parts[0], frames);
        assert_eq!(subject(&nulls), "a\nb\nx");
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(text in r#"[\{\}\[\]":,a-z0-9 ]{0,60}"#) {
            if let Ok(body) = serde_json::from_str::<Value>(&text) {
                drop(Ask::read(&body, true));
            }
        }

        #[test]
        fn any_message_is_read_or_refused(
            role in "user|tool|", key in "text|audio|image|video|x", value in ".{0,6}",
            list in any::<bool>(),
        ) {
            let value = if list { json!([value]) } else { json!(value) };
            let body = with_messages(json!([{"role": role, "content": [{ key: value }]}]));
            drop(Ask::read(&body, false));
            drop(subject(&body));
        }
    }
}
