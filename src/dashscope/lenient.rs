//! Reads responses that deviate from the documentation: a wrong type must not discard an answer
//! that was billed.
//!
//! The JSON is read into a tree first, then into the types of `answer_json.rs`:
//!
//! - A value of another type is converted where its meaning is unambiguous: a number to a string
//!   and the reverse, an object to a list of one, a string to an object that has little more than a
//!   text, JSON to its text (the arguments of a tool call). Nulls are ignored.
//! - Any other value stays under its key in the `extra` of its object.
//! - The last value of a duplicate key applies, and a warning names its path.
//! - A number that a double cannot hold becomes a string of its digits.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::answer_json::{
    Annotation, Audio, Body, Choice, Content, Function, Logprobs, Message, Output, Part, Raw,
    SearchInfo, SearchResult, TokenLogprob, ToolCall,
};
use super::json_fields::{self, Fields, flag, number, whole};
use super::json_text::{Quoted, Text};
use super::json_tree::any_document;
use super::strict;
use crate::chat::document::{Document, Object, Real};

/// Reads a body, strictly if possible. `None` if it is not a JSON object.
pub(crate) fn read(json: &str) -> Option<Body<'_>> {
    let mut body = match strict::read(json) {
        Ok(body) if !body.is_nested() => body,
        Ok(_) | Err(_) => self::body(json)?,
    };
    find_output(&mut body);
    let choices = body.output.iter_mut().filter_map(|o| o.choices.as_mut());
    for choice in choices.flatten().filter(|choice| choice.message.is_none()) {
        choice.message = take_message(&mut choice.extra);
    }
    Some(body)
}

/// The message among the unknown keys: a delta as other APIs name it, or any object with a role and
/// content.
fn take_message(extra: &mut Object) -> Option<Message<'static>> {
    let at = extra.0.iter().position(is_message)?;
    message(extra.0.remove(at).1).ok()
}

fn is_message((key, value): &(String, Document)) -> bool {
    match value {
        Document::Object(object) => {
            let has_role = matches!(object.value("role"), Some(Document::String(_)));
            key == "delta" || has_role && object.value("content").is_some()
        }
        Document::String(_) => key == "delta" || key == "text",
        Document::Null | Document::Bool(_) | Document::Number(_) | Document::List(_) => false,
    }
}

/// Reads a body leniently. `None` if it is not a JSON object.
pub(crate) fn body(json: &str) -> Option<Body<'_>> {
    let (document, warnings) = any_document(json)?;
    let Document::Object(object) = document else {
        return None;
    };
    let raw = raw_parts(json);
    let mut fields = Fields::from(object);
    for (key, value) in [("usage", raw.usage), ("error", raw.error)] {
        if value.is_some() {
            fields.take(key);
        }
    }
    Some(Body {
        request_id: fields.text("request_id"),
        code: fields.text("code"),
        message: fields.text("message"),
        error: raw.error,
        output: fields.with("output", output),
        usage: raw.usage.map(|usage| Raw(usage.get())),
        extra: fields.rest(),
        warnings,
    })
}

/// Moves an answer that is not under `output`, or one object deeper, to its documented place.
fn find_output(body: &mut Body<'_>) {
    const ANSWERS: [&str; 4] = ["choices", "text", "sentence", "audio"];
    let is_answer = |object: &Object| ANSWERS.iter().any(|key| object.value(key).is_some());
    if body.output.is_none() && (is_answer(&body.extra) || body.extra.0.iter().any(is_message)) {
        let extra = std::mem::take(&mut body.extra);
        body.output = output(Document::Object(extra)).ok();
    }
    let Some(found) = &mut body.output else {
        return;
    };
    if found.choices.is_some() || found.text.is_some() || found.audio.is_some() {
        return;
    }
    if let Some(text) = found.extra.value("sentence").and_then(sentence) {
        found.text = Some(text);
        return;
    }
    if let Some(message) = take_message(&mut found.extra) {
        found.choices = Some(vec![Choice {
            message: Some(message),
            finish_reason: found.finish_reason.take(),
            ..Choice::default()
        }]);
        return;
    }
    for (_, value) in &mut found.extra.0 {
        if let Document::Object(inner) = value
            && is_answer(inner)
            && let Ok(mut deeper) = output(Document::Object(std::mem::take(inner)))
        {
            if deeper.text.is_none() {
                deeper.text = deeper.extra.value("sentence").and_then(sentence);
            }
            found.choices = deeper.choices;
            found.text = deeper.text;
            found.audio = deeper.audio;
            found.search_info = found.search_info.take().or(deeper.search_info);
            found.finish_reason = found.finish_reason.take().or(deeper.finish_reason);
            found.finished = found.finished.or(deeper.finished);
            *inner = deeper.extra;
            break;
        }
    }
    found
        .extra
        .0
        .retain(|(_, value)| *value != Document::Object(Object::default()));
}

/// The text of a sentence of a speech recognition model, or of a list of them.
pub(crate) fn sentence(document: &Document) -> Option<Text<'static>> {
    let text = |document: &Document| {
        if let Document::Object(object) = document
            && let Document::String(text) = object.value("text")?
        {
            return Some(text.clone());
        }
        None
    };
    let joined = if let Document::List(list) = document {
        list.iter().map(text).collect::<Option<String>>()?
    } else {
        text(document)?
    };
    Some(Text(Cow::Owned(joined)))
}

/// The last values of the two keys that are passed on as JSON text.
#[derive(Default)]
struct RawParts<'a> {
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

fn raw_parts(json: &str) -> RawParts<'_> {
    struct RawVisitor;

    impl<'de> Visitor<'de> for RawVisitor {
        type Value = RawParts<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawParts<'de>, A::Error> {
            let mut parts = RawParts::default();
            while let Some(Text(key)) = map.next_key()? {
                match &*key {
                    "usage" => parts.usage = map.next_value()?,
                    "error" => parts.error = map.next_value()?,
                    _ => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(parts)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json);
    reader.deserialize_map(RawVisitor).unwrap_or_default()
}

fn output(document: Document) -> Result<Output<'static>, Document> {
    if let Document::String(text) = document {
        return Ok(Output {
            text: Some(Text(Cow::Owned(text))),
            is_bare: true,
            ..Output::default()
        });
    }
    let mut fields = Fields::of(document)?;
    Ok(Output {
        choices: fields.list("choices", choice),
        text: fields.text("text"),
        finish_reason: fields.text("finish_reason"),
        audio: fields.with("audio", audio),
        search_info: fields.with("search_info", search_info),
        finished: fields.with("finished", flag),
        extra: fields.rest(),
        is_bare: false,
    })
}

fn choice(document: Document) -> Result<Choice<'static>, Document> {
    let mut fields = Fields::of(document)?;
    Ok(Choice {
        index: fields.whole("index"),
        finish_reason: fields.text("finish_reason"),
        message: fields.with("message", message),
        logprobs: fields.with("logprobs", logprobs),
        extra: fields.rest(),
    })
}

/// Reads a message.
pub(crate) fn message(document: Document) -> Result<Message<'static>, Document> {
    if let Document::String(text) = document {
        return Ok(Message {
            content: Some(Content::Text(Text(Cow::Owned(text)))),
            ..Message::default()
        });
    }
    let mut fields = Fields::of(document)?;
    let content = match fields.slot("content") {
        Some(Document::String(_) | Document::Number(_)) => {
            fields.text("content").map(Content::Text)
        }
        slot => {
            if let Some(Document::List(items)) = slot {
                join_numbers(items);
            }
            fields.list("content", part).map(Content::Parts)
        }
    };
    Ok(Message {
        role: fields.text("role"),
        content,
        reasoning_content: fields.text("reasoning_content"),
        tool_calls: fields.list("tool_calls", tool_call),
        annotations: fields.list("annotations", annotation),
        extra: fields.rest(),
    })
}

/// Appends numbers to the preceding text: a list of them does not justify a part each.
fn join_numbers(items: &mut Vec<Document>) {
    if !items.iter().any(|item| matches!(item, Document::Number(_))) {
        return;
    }
    let mut joined: Vec<Document> = Vec::new();
    for item in items.drain(..) {
        let Document::Number(Real(number)) = item else {
            joined.push(item);
            continue;
        };
        match joined.last_mut() {
            Some(Document::String(before)) => before.push_str(&number.to_string()),
            _ => joined.push(Document::String(number.to_string())),
        }
    }
    *items = joined;
}

fn part(document: Document) -> Result<Part<'static>, Document> {
    if matches!(document, Document::String(_) | Document::Number(_)) {
        return Ok(Part {
            text: json_fields::text(document).ok(),
            ..Part::default()
        });
    }
    let mut fields = Fields::of(document)?;
    Ok(Part {
        text: fields.text("text"),
        image: fields.with("image", json_fields::only_text),
        audio: fields.with("audio", audio),
        extra: fields.rest(),
    })
}

fn audio(document: Document) -> Result<Audio<'static>, Document> {
    if let Document::String(url) = document {
        return Ok(Audio::at(Text(Cow::Owned(url))));
    }
    let mut fields = Fields::of(document)?;
    Ok(Audio {
        data: fields.with("data", quoted),
        url: fields.text("url"),
        id: fields.text("id"),
        expires_at: fields.whole("expires_at"),
        extra: fields.rest(),
        may_be_file: false,
    })
}

/// Reads a string.
pub(crate) fn quoted(document: Document) -> Result<Quoted<'static>, Document> {
    json_fields::only_text(document).map(|Text(text)| Quoted(text))
}

fn tool_call(document: Document) -> Result<ToolCall<'static>, Document> {
    let mut fields = Fields::of(document)?;
    Ok(ToolCall {
        index: fields.whole("index"),
        id: fields.text("id"),
        kind: fields.text("type"),
        function: fields.with("function", function),
        extra: fields.rest(),
    })
}

/// Reads the function of a tool call.
pub(crate) fn function(document: Document) -> Result<Function<'static>, Document> {
    let mut fields = Fields::of(document)?;
    Ok(Function {
        name: fields.text("name"),
        arguments: fields.text("arguments"),
        extra: fields.rest(),
    })
}

fn annotation(document: Document) -> Result<Annotation<'static>, Document> {
    if let Document::String(kind) = document {
        return Ok(Annotation {
            kind: Some(Text(Cow::Owned(kind))),
            ..Annotation::default()
        });
    }
    let mut fields = Fields::of(document)?;
    Ok(Annotation {
        kind: fields.text("type"),
        language: fields.text("language"),
        emotion: fields.text("emotion"),
        extra: fields.rest(),
    })
}

/// The object, or the list expected under this key.
fn of_list(key: &str, document: Document) -> Result<Fields, Document> {
    if let Document::List(_) = document {
        return Ok(Fields::from(Object(vec![(key.to_owned(), document)])));
    }
    Fields::of(document)
}

/// Reads log probabilities.
pub(crate) fn logprobs(document: Document) -> Result<Logprobs<'static>, Document> {
    let mut fields = of_list("content", document)?;
    Ok(Logprobs {
        content: fields.list("content", token),
        extra: fields.rest(),
    })
}

fn token(document: Document) -> Result<TokenLogprob<'static>, Document> {
    let mut fields = Fields::of(document)?;
    let bytes = |document: Document| {
        let byte = |item: &Document| whole(item).and_then(|byte| u8::try_from(byte).ok());
        if let Document::List(items) = &document
            && let Some(bytes) = items.iter().map(byte).collect::<Option<Vec<u8>>>()
        {
            return Ok(bytes);
        }
        Err(document)
    };
    Ok(TokenLogprob {
        token: fields.text("token"),
        bytes: fields.with("bytes", bytes),
        logprob: fields.with("logprob", number),
        top_logprobs: fields.list("top_logprobs", token),
        extra: fields.rest(),
    })
}

fn search_info(document: Document) -> Result<SearchInfo<'static>, Document> {
    let mut fields = of_list("search_results", document)?;
    Ok(SearchInfo {
        results: fields.list("search_results", search_result),
        extra: fields.rest(),
    })
}

fn search_result(document: Document) -> Result<SearchResult<'static>, Document> {
    let mut fields = Fields::of(document)?;
    Ok(SearchResult {
        index: fields.whole("index"),
        title: fields.text("title"),
        url: fields.text("url"),
        site_name: fields.text("site_name"),
        icon: fields.text("icon"),
        extra: fields.rest(),
    })
}
