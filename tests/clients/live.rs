//! Live sessions: what a played gateway receives, and what of the events is judged.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::notation;

/// What is received after the last message of a caller that ends its input.
const HALF_CLOSE: &str = "half-close";

/// The type of the requests of a method, if it is one of live sessions.
pub(crate) fn request_of(method: &str) -> Option<&'static str> {
    match method {
        "ConverseLive" => Some("ConverseLiveRequest"),
        "SynthesizeLive" => Some("SynthesizeLiveRequest"),
        _ => None,
    }
}

/// Reads the messages of a session, and counts them.
pub(crate) async fn receive(
    mut body: Limited<Incoming>,
    kind: &'static str,
    note: impl Fn(Value),
    count: watch::Sender<usize>,
) {
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The connection broke, or the caller left.
            return;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        buffer.extend_from_slice(&data);
        while let Some(message) = first_message(&mut buffer) {
            note(message_of(kind, &message));
            count.send_modify(|count| *count += 1);
        }
    }
    note(json!(HALF_CLOSE));
    count.send_modify(|count| *count += 1);
}

fn first_message(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let ([_flag, size @ ..], rest) = buffer.split_first_chunk::<5>()?;
    let size = u32::from_be_bytes(*size) as usize;
    let message = rest.get(..size)?.to_vec();
    buffer.drain(..size + 5);
    Some(message)
}

/// A message, with the size of audio and images in their place.
fn message_of(kind: &str, bytes: &[u8]) -> Value {
    let mut message = match notation::decode(kind, bytes) {
        Ok(message) => message,
        Err(why) => json!({"fault": why}),
    };
    for key in ["audio", "image"] {
        if let Some(data) = message.get_mut(key) {
            *data = json!(decoded_length(data));
        }
    }
    message
}

/// The number of bytes that this base64 has.
fn decoded_length(data: &Value) -> usize {
    let text = data.as_str().unwrap_or_default().trim_end_matches('=');
    text.len() * 3 / 4
}

/// What is judged of the events of a session: the order of their kinds, the events without deltas,
/// and the responses, assembled. An event that is missing or doubled is a fault.
pub(crate) fn summary(events: &Value) -> Result<Value, String> {
    let events = events.as_array().ok_or("it is no list")?;
    let mut last = None;
    let mut kinds: Vec<String> = Vec::new();
    let mut plain = Vec::new();
    let mut responses: Vec<Map<String, Value>> = Vec::new();
    for event in events {
        last = Some(next_sequence(last, event)?);
        let name = event.as_object().and_then(|fields| {
            let mut names = fields.keys().filter(|key| *key != "sequence");
            names.next().cloned()
        });
        let name = name.unwrap_or_else(|| "unknown".to_owned());
        let content = event.get(&name).cloned().unwrap_or_default();
        match name.as_str() {
            "responseStarted" => responses.push(Map::new()),
            "responseDelta" => add(responses.last_mut(), &content)?,
            "responseCompleted" => {
                let status = content.get("status").cloned().unwrap_or_default();
                if let Some(response) = responses.last_mut() {
                    response.insert("status".to_owned(), status);
                }
            }
            _ => {}
        }
        if name != "responseDelta" {
            plain.push(event.clone());
        }
        if kinds.last() != Some(&name) {
            kinds.push(name);
        }
    }
    Ok(json!({"kinds": kinds, "events": plain, "responses": responses}))
}

fn next_sequence(last: Option<i64>, event: &Value) -> Result<i64, String> {
    let sequence = event.get("sequence").and_then(Value::as_i64);
    let sequence = sequence.unwrap_or_default();
    let started = event.get("sessionStarted");
    let is_resumed = started.and_then(|started| started.get("resumed")) == Some(&json!(true));
    let expected = match last {
        None if is_resumed => sequence,
        None => 1,
        Some(last) if is_resumed => last,
        Some(last) => last + 1,
    };
    match sequence == expected {
        true => Ok(sequence),
        false => Err(format!(
            "event {sequence} is where {expected} must be: {event}"
        )),
    }
}

/// Adds a delta to the last response.
fn add(response: Option<&mut Map<String, Value>>, delta: &Value) -> Result<(), String> {
    let response = response.ok_or("a delta is before its response")?;
    for key in ["text", "transcript"] {
        if let Some(Value::String(piece)) = delta.get(key)
            && let Value::String(text) = response.entry(key).or_insert_with(|| json!(""))
        {
            text.push_str(piece);
        }
    }
    if let Some(audio) = delta.get("audio") {
        let before = response.get("audio_bytes").and_then(Value::as_u64);
        let bytes = before.unwrap_or_default() + decoded_length(audio) as u64;
        response.insert("audio_bytes".to_owned(), json!(bytes));
    }
    if let Some(call) = delta.get("toolCall")
        && let Value::Array(calls) = response.entry("tool_calls").or_insert_with(|| json!([]))
    {
        calls.push(call.clone());
    }
    Ok(())
}
