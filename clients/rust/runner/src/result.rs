//! The result of a case, and its conversion to JSON.

use std::sync::OnceLock;

use dashgate_client::{Answer, Code, Error, v1};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Fault;

static SCHEMA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schema.bin"));

/// The result of a case.
#[derive(Debug, Default, Serialize)]
pub struct CaseResult {
    /// The answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Value>,
    /// The events of a stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Value>,
    /// The texts of a stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<String>,
    /// The tool calls that were run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Value>,
    /// The events of a live session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Vec<Value>>,
    /// The events of a session that speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech: Option<Vec<Value>>,
    /// The responses of uploads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uploads: Vec<Value>,
    /// The models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Value>,
    /// The MIME types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mime_types: Vec<String>,
    /// What the steps with stored conversations returned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<Value>,
    /// The latest turn that a stored conversation knows at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_turn: Option<i32>,
    /// The value of structured output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The answer so far of a stream that did not end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial: Option<Value>,
    /// The conversation at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Value>,
    /// The error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The duration in milliseconds.
    pub elapsed_ms: u64,
}

/// Converts JSON to a message.
pub fn message<M: Message + Default>(kind: &str, json: &Value) -> Result<M, Fault> {
    let message = DynamicMessage::deserialize(descriptor(kind)?, json)?;
    Ok(M::decode(message.encode_to_vec().as_slice())?)
}

/// Converts a message to JSON.
pub fn json_of<M: Message>(kind: &str, message: &M) -> Result<Value, Fault> {
    let bytes = message.encode_to_vec();
    let message = DynamicMessage::decode(descriptor(kind)?, bytes.as_slice())?;
    Ok(serde_json::to_value(message)?)
}

fn descriptor(kind: &str) -> Result<prost_reflect::MessageDescriptor, Fault> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(SCHEMA).ok());
    let name = format!("dashgate.v1.{kind}");
    let found = pool
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(&name));
    found.ok_or_else(|| format!("there is no {name}").into())
}

/// Converts an answer to JSON.
pub fn answer(answer: &Answer) -> Result<Value, Fault> {
    let mut json = partial(answer)?;
    if let Some(fields) = json.as_object_mut() {
        fields.insert("headers".to_owned(), json!(answer.headers()));
    }
    Ok(json)
}

/// Converts an answer to JSON, without its headers.
pub fn partial(answer: &Answer) -> Result<Value, Fault> {
    let audio = answer.audio();
    let calls = answer.tool_calls().iter();
    let calls = calls.map(|call| json_of("ToolCall", call));
    let number = answer.choices().iter().find(|choice| choice.index == 0);
    let number = number.map_or(0, |choice| choice.finish_reason);
    let reason = v1::FinishReason::try_from(number);
    let usage = answer.usage().map(|usage| json_of("Usage", usage));
    Ok(json!({
        "text": answer.text(),
        "reasoning_text": answer.reasoning_text(),
        "finish_reason": reason.map_or(json!(number), |reason| json!(reason.as_str_name())),
        "raw_finish_reason": answer.raw_finish_reason(),
        "audio_bytes": audio.len(),
        "audio_crc32": crc32fast::hash(&audio),
        "tool_calls": calls.collect::<Result<Vec<_>, _>>()?,
        "request_id": answer.request_id(),
        "upstream_request_id": answer.upstream_request_id(),
        "model": answer.model(),
        "usage": usage.transpose()?,
        "message": json_of("Message", answer.message())?,
        "raw": json_of("ConverseResponse", answer.raw())?,
    }))
}

/// Converts an error to JSON.
pub fn error(error: &Error) -> Result<Value, Fault> {
    let violation = |violation: &dashgate_client::FieldViolation| json!({"field": violation.field, "description": violation.description});
    let violations: Vec<_> = error.field_violations().iter().map(violation).collect();
    let after = error.retry_after().map(|pause| pause.as_millis());
    let reason = Some(error.reason()).filter(|reason| *reason != v1::ErrorReason::Unspecified);
    let usage = error.usage().map(|usage| json_of("Usage", usage));
    Ok(json!({
        "code": code(error.code()),
        "reason": reason.map(|reason| reason.as_str_name()),
        "raw_reason": error.raw_reason(),
        "output_started": error.output_started(),
        "retryable": error.retryable(),
        "headers": error.headers(),
        "usage": usage.transpose()?,
        "model": error.model(),
        "message": error.message(),
        "upstream_code": error.upstream_code(),
        "upstream_http_status": error.upstream_http_status(),
        "upstream_request_id": error.upstream_request_id(),
        "request_id": error.request_id(),
        "attempts": error.attempts(),
        "retry_after_ms": after.and_then(|after| u64::try_from(after).ok()),
        "field_violations": violations,
    }))
}

fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
