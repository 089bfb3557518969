//! The JSON form of errors.

use serde::ser::{Error as _, SerializeMap as _};
use serde::{Serialize, Serializer};

use crate::error::{Error, FieldViolation, code_name};
use crate::json::dynamic;

/// The values of an error that are set, for logs: `code`, `message`, `reason` (as text), `requestId`,
/// `retryable`, `retryAfter` (in seconds), `outputStarted`, `usage`, `model`, `attempts`,
/// `upstreamCode`, `upstreamHttpStatus`, `upstreamRequestId`, `fieldViolations`.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let usage = self.usage().map(|usage| dynamic("Usage", usage));
        let usage = usage.transpose().map_err(S::Error::custom)?;
        let violations: Vec<_> = self.field_violations().iter().map(Violation).collect();
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", code_name(self.code()))?;
        map.serialize_entry("message", self.message())?;
        map.serialize_entry("retryable", &self.retryable())?;
        map.serialize_entry("outputStarted", &self.output_started())?;
        let after = self.retry_after().map(|after| after.as_secs_f64());
        optional(&mut map, "retryAfter", after)?;
        optional(&mut map, "reason", text(self.raw_reason()))?;
        optional(&mut map, "requestId", text(self.request_id()))?;
        optional(&mut map, "usage", usage)?;
        optional(&mut map, "model", self.model())?;
        optional(&mut map, "attempts", self.attempts())?;
        optional(&mut map, "upstreamCode", self.upstream_code())?;
        optional(&mut map, "upstreamHttpStatus", self.upstream_http_status())?;
        optional(&mut map, "upstreamRequestId", self.upstream_request_id())?;
        let violations = (!violations.is_empty()).then_some(violations);
        optional(&mut map, "fieldViolations", violations)?;
        map.end()
    }
}

fn optional<M: serde::ser::SerializeMap>(
    map: &mut M,
    name: &str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, &value),
        None => Ok(()),
    }
}

struct Violation<'a>(&'a FieldViolation);

impl Serialize for Violation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("field", &self.0.field)?;
        map.serialize_entry("description", &self.0.description)?;
        map.end()
    }
}
