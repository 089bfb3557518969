//! protobuf's JSON by the schema, so that each language may write it in its own way.

use std::sync::OnceLock;

use dashgate::grpc::pb;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Map, Value};

/// The bytes of the message that this JSON says.
pub(crate) fn encode(kind: &str, json: &Value) -> Result<Vec<u8>, String> {
    Ok(read(kind, json)?.encode_to_vec())
}

/// The JSON of the message that these bytes are.
pub(crate) fn decode(kind: &str, bytes: &[u8]) -> Result<Value, String> {
    let message = DynamicMessage::decode(descriptor(kind)?, bytes)
        .map_err(|error| format!("no {kind}: {error}"))?;
    write(&message)
}

/// The same message in the one form that cases are written in: lowerCamelCase, no defaults.
pub(crate) fn normal(kind: &str, json: &Value) -> Result<Value, String> {
    write(&read(kind, json)?)
}

/// A runner's result in the one form that cases are written in: what is empty is left out, and
/// messages are as [`normal`] writes them.
pub(crate) fn result(text: &str) -> Result<Map<String, Value>, String> {
    let result: Value =
        serde_json::from_str(text).map_err(|error| format!("the result is no JSON: {error}"))?;
    let Value::Object(result) = result else {
        return Err(format!("the result is no object: {result}"));
    };
    let mut normalised = Map::new();
    for (key, value) in result {
        let value = match key.as_str() {
            "answers" => each(&value, answer),
            "events" => each(&value, |event| normal("ConverseStreamResponse", event)),
            "uploads" => each(&value, |upload| normal("UploadMediaResponse", upload)),
            "models" => each(&value, |model| normal("Model", model)),
            "live" => each(&value, |event| normal("ConverseLiveResponse", event)),
            "speech" => each(&value, |event| normal("SynthesizeLiveResponse", event)),
            "stored" => each(&value, stored),
            "partial" if !value.is_null() => answer(&value),
            "conversation" if !value.is_null() => normal("Conversation", &value),
            "error" if !value.is_null() => error(&value),
            "deltas" | "tool_calls" | "mime_types" | "elapsed_ms" | "conversation" | "error"
            | "last_turn" | "value" | "partial" => Ok(value),
            _ => Err("a result has no such key".to_owned()),
        };
        let value = value.map_err(|why| format!("{key}: {why}"))?;
        // Cases of both kinds of sessions expect the same key.
        let key = if key == "speech" { "live" } else { &key };
        if !empty(&value) {
            normalised.insert(key.to_owned(), value);
        }
    }
    Ok(normalised)
}

const ANSWER: [&str; 14] = [
    "text",
    "reasoning_text",
    "finish_reason",
    "raw_finish_reason",
    "audio_bytes",
    "audio_crc32",
    "tool_calls",
    "request_id",
    "upstream_request_id",
    "model",
    "usage",
    "message",
    "raw",
    "headers",
];

const STORED: [&str; 6] = [
    "conversation",
    "conversations",
    "turns",
    "answer",
    "cancelled",
    "deleted",
];

const ERROR: [&str; 16] = [
    "code",
    "reason",
    "raw_reason",
    "message",
    "output_started",
    "usage",
    "model",
    "upstream_code",
    "upstream_http_status",
    "upstream_request_id",
    "request_id",
    "attempts",
    "retryable",
    "retry_after_ms",
    "headers",
    "field_violations",
];

fn answer(answer: &Value) -> Result<Value, String> {
    let fields = known(answer, &ANSWER)?;
    let mut normalised = Map::new();
    for (key, value) in fields {
        let value = match key.as_str() {
            "message" => normal("Message", value),
            "raw" => normal("ConverseResponse", value),
            "usage" if !value.is_null() => normal("Usage", value),
            "tool_calls" => each(value, |call| normal("ToolCall", call)),
            _ => Ok(value.clone()),
        };
        let value = value.map_err(|why| format!("{key}: {why}"))?;
        if !value.is_null() {
            normalised.insert(key.clone(), value);
        }
    }
    Ok(Value::Object(normalised))
}

/// The result of one step with stored conversations: its kind, and what was returned.
fn stored(step: &Value) -> Result<Value, String> {
    let fields = known(step, &STORED)?.iter();
    let field = |(key, value): (&String, &Value)| {
        let value = match key.as_str() {
            "conversation" => normal("Conversation", value),
            "conversations" => each(value, |one| normal("Conversation", one)),
            "turns" => each(value, |one| normal("Turn", one)),
            "answer" => answer(value),
            _ => Ok(value.clone()),
        };
        Ok((key.clone(), value.map_err(|why| format!("{key}: {why}"))?))
    };
    fields.map(field).collect()
}

fn error(error: &Value) -> Result<Value, String> {
    let fields = known(error, &ERROR)?.iter();
    let fields = fields.filter(|(_, value)| !empty(value));
    let field = |(key, value): (&String, &Value)| {
        let value = match key.as_str() {
            "usage" => normal("Usage", value),
            _ => Ok(value.clone()),
        };
        Ok((key.clone(), value.map_err(|why| format!("{key}: {why}"))?))
    };
    fields.map(field).collect()
}

fn known<'a>(value: &'a Value, keys: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let fields = value.as_object().ok_or("it is no object")?;
    match fields.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!("there is no key {key}")),
        None => Ok(fields),
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn each(list: &Value, one: impl Fn(&Value) -> Result<Value, String>) -> Result<Value, String> {
    let Value::Array(items) = list else {
        return Err(format!("{list} is no list"));
    };
    items.iter().map(one).collect()
}

fn read(kind: &str, json: &Value) -> Result<DynamicMessage, String> {
    DynamicMessage::deserialize(descriptor(kind)?, json)
        .map_err(|error| format!("no {kind}: {error}"))
}

fn write(message: &DynamicMessage) -> Result<Value, String> {
    serde_json::to_value(message).map_err(|error| error.to_string())
}

fn descriptor(kind: &str) -> Result<MessageDescriptor, String> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(pb::DESCRIPTORS).ok());
    let name = format!("dashgate.v1.{kind}");
    let pool = pool.as_ref().ok_or("the schema cannot be read")?;
    pool.get_message_by_name(&name)
        .ok_or_else(|| format!("there is no {name}"))
}
