//! The end of a played call: a status with its details, as trailers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use tonic::{Code, Status as Wire};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt, pb};

use super::notation;

/// The domain of the gateway's reasons.
const DOMAIN: &str = "dashgate";

/// The codes by the names that the protocol gives them; the number is the place.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// How a call ends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Status {
    /// The code's name; empty is OK.
    #[serde(deserialize_with = "known_code")]
    code: String,
    message: String,
    details: Option<Details>,
    /// What stands in `grpc-status-details-bin` instead, in base64.
    details_base64: Option<String>,
}

/// The messages in the status's details.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Details {
    domain: Option<String>,
    reason: Option<String>,
    /// More fields of `dashgate.v1.CallFailure`, in proto3 JSON.
    failure: Map<String, Value>,
    request_id: Option<String>,
    retry_after_ms: Option<u64>,
    field_violations: Vec<Field>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    field: String,
    description: String,
}

fn known_code<'de, D>(from: D) -> Result<String, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let code = String::deserialize(from)?;
    match CODES.contains(&code.as_str()) {
        true => Ok(code),
        false => Err(serde::de::Error::custom(format!("there is no code {code}"))),
    }
}

impl Status {
    /// For a call that the case does not speak of.
    pub(crate) fn not_played() -> Self {
        Self {
            code: "DATA_LOSS".to_owned(),
            message: "the case plays no such call".to_owned(),
            ..Self::default()
        }
    }
}

/// The same on the wire.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let number = CODES.iter().position(|code| *code == status.code);
    let code = Code::from_i32(number.and_then(|at| at.try_into().ok()).unwrap_or(0));
    let wire = match &status.details {
        Some(details) => with_details(code, &status.message, details),
        None => Wire::new(code, &status.message),
    };
    let mut headers = HeaderMap::new();
    // Only a text that no header can hold fails here, and then the client sees no status at all.
    let _added = wire.add_header(&mut headers);
    if let Some(text) = &status.details_base64
        && let Ok(value) = HeaderValue::try_from(text)
    {
        headers.insert("grpc-status-details-bin", value);
    }
    headers
}

fn with_details(code: Code, message: &str, details: &Details) -> Wire {
    let standard = Wire::with_error_details(code, message, wired(details));
    let Some(failure) = failure(details) else {
        return standard;
    };
    // An undecodable status would be sent without details, and fail the case.
    let mut status = pb::Status::decode(standard.details()).unwrap_or_default();
    status.details.push(failure);
    Wire::with_details(code, message, status.encode_to_vec().into())
}

/// What the gateway adds to each of its errors; another domain's errors are not the gateway's.
fn failure(details: &Details) -> Option<prost_types::Any> {
    let is_ours = details.domain.is_none() && details.reason.is_some();
    let mut json = details.failure.clone();
    if let Some(reason) = &details.reason {
        json.entry("reason")
            .or_insert_with(|| reason.as_str().into());
    }
    // What cannot be encoded becomes a detail that cannot be read, and fails the case.
    let value = notation::encode("CallFailure", &Value::Object(json));
    is_ours.then(|| prost_types::Any {
        type_url: "type.googleapis.com/dashgate.v1.CallFailure".to_owned(),
        value: value.unwrap_or_else(String::into_bytes),
    })
}

fn wired(details: &Details) -> ErrorDetails {
    let mut wired = ErrorDetails::new();
    if let Some(reason) = &details.reason {
        let domain = details.domain.as_deref().unwrap_or(DOMAIN);
        wired.set_error_info(reason, domain, HashMap::new());
    }
    if let Some(id) = &details.request_id {
        wired.set_request_info(id, "");
    }
    if let Some(after) = details.retry_after_ms {
        wired.set_retry_info(Some(Duration::from_millis(after)));
    }
    if !details.field_violations.is_empty() {
        let violation = |field: &Field| FieldViolation::new(&field.field, &field.description);
        let violations: Vec<_> = details.field_violations.iter().map(violation).collect();
        wired.set_bad_request(violations);
    }
    wired
}

/// Metadata as headers; what HTTP does not allow is left out.
pub(crate) fn headers(map: &BTreeMap<String, String>) -> HeaderMap {
    let header = |(name, value): (&String, &String)| {
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    };
    map.iter().filter_map(header).collect()
}

/// Sets the type of a body.
pub(crate) fn content_type(headers: &mut HeaderMap, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(http::header::CONTENT_TYPE, value);
    }
}
