//! Converts an error to a gRPC status with its details: one exhaustive table.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::error::{DASHSCOPE, Error, Kind, Reason, Sent};

use super::{call_failure, metadata_keys};

/// The domain of every reason in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "dashgate";

/// The retry delay of a throttled call without `Retry-After`. DashScope's limits count per second
/// and per minute; this is between, and most throttling is of the first kind.
const THROTTLED_PUSHBACK: Duration = Duration::from_secs(5);

/// The retry delay after a transient error.
const PASSING_PUSHBACK: Duration = Duration::from_secs(1);

/// The maximum length of a status message. Longer ones exceed the header limits of common proxies
/// together with the details.
const MAX_MESSAGE: usize = 1024;

/// The maximum length of the status details, beyond which a usage is reduced to its counts. As
/// base64 they take 4 KiB: with the longest message, percent-encoded, they stay below the 8 KiB of
/// header fields that gRPC libraries and proxies accept by default.
const MAX_DETAILS: usize = 3 * 1024;

/// The gRPC code of a kind.
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::TimedOut => Code::DeadlineExceeded,
        Kind::Aborted => Code::Aborted,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Lost => Code::DataLoss,
        Kind::Broken => Code::Internal,
    }
}

/// The delay before a retry; `None` if a retry cannot help.
pub fn pushback(error: &Error) -> Option<Duration> {
    let default = match (error.kind(), error.reason()) {
        // Sizes and slow readers do not change by waiting.
        (
            _,
            Reason::MessageTooLarge
            | Reason::MetadataTooLarge
            | Reason::SlowConsumer
            | Reason::UpstreamQuota,
        ) => None,
        (_, Reason::UpstreamTls) => None,
        // The model has run, and would be billed again.
        (Kind::Exhausted, _) if matches!(error.sent(), Sent::Maybe | Sent::Begun) => None,
        (Kind::Exhausted, _) => Some(THROTTLED_PUSHBACK),
        (_, Reason::ConversationBusy) if error.sent() == Sent::No => Some(PASSING_PUSHBACK),
        (Kind::Unavailable, _) => Some(PASSING_PUSHBACK),
        _ => None,
    };
    default.map(|default| error.retry_after().unwrap_or(default))
}

/// The status of an error, for the call with this request id.
pub fn status(error: &Error, request_id: &str, show_upstream: bool) -> Status {
    let pushback = pushback(error);
    let message = message(error, show_upstream);
    let details = details(error, request_id, pushback);
    let mut metadata = MetadataMap::with_capacity(3);
    let pushback = pushback_value(pushback);
    metadata
        .as_mut()
        .insert(metadata_keys::GRPC_RETRY_PUSHBACK, pushback);
    insert(&mut metadata, metadata_keys::X_REQUEST_ID, request_id);
    let upstream_request_id = error.upstream_request_id();
    if !upstream_request_id.is_empty() {
        let name = metadata_keys::X_DASHSCOPE_REQUEST_ID;
        insert(&mut metadata, name, upstream_request_id);
    }
    let code = code(error.kind());
    let details = Status::with_error_details(code, message.as_str(), details);
    let details = with_call_failure(details.details(), error);
    Status::with_details_and_metadata(code, message, details, metadata)
}

/// Adds the detail of this schema to an encoded `google.rpc.Status`.
fn with_call_failure(details: &[u8], error: &Error) -> Bytes {
    let room = MAX_DETAILS.saturating_sub(details.len());
    // Concatenated protobuf messages are merged by decoders.
    let more = tonic_types::Status {
        details: vec![call_failure::detail(error, room)],
        ..tonic_types::Status::default()
    };
    [details, &more.encode_to_vec()].concat().into()
}

fn pushback_value(pushback: Option<Duration>) -> HeaderValue {
    match pushback {
        // Never zero: some releases of gRPC's C core then wait forever.
        Some(wait) => i64::try_from(wait.as_millis())
            .unwrap_or(i64::MAX)
            .max(1)
            .into(),
        None => HeaderValue::from_static("-1"),
    }
}

/// Adds a request id, unless there is one. One that is not valid in a header is omitted.
pub fn insert(metadata: &mut MetadataMap, name: HeaderName, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        // It never occurs again. In HPACK's tables it would displace entries that do, on both
        // sides.
        value.set_sensitive(true);
        metadata.as_mut().entry(name).or_insert(value);
    }
}

fn message(error: &Error, show_upstream: bool) -> String {
    let mut message = error.message().to_owned();
    if error.kind() == Kind::Unavailable {
        message.push_str(match pushback(error) {
            Some(_) => "; nothing was done, retry",
            None => "; nothing was done",
        });
    }
    if let Some(upstream) = error.upstream() {
        let words = if show_upstream {
            upstream.message.expose()
        } else {
            ""
        };
        let said = [upstream.code.as_str(), words]
            .into_iter()
            .filter(|said| !said.is_empty());
        let said = said.collect::<Vec<_>>().join(": ");
        if !said.is_empty() {
            let whose = match error.server() {
                DASHSCOPE => DASHSCOPE,
                _ => "upstream",
            };
            message.push_str(&format!(" ({whose}: {said})"));
        }
    }
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut message: String = message.chars().map(clean).collect();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    }
    message
}

fn details(error: &Error, request_id: &str, pushback: Option<Duration>) -> ErrorDetails {
    let mut metadata = HashMap::new();
    metadata.insert("attempts".to_owned(), error.attempts().to_string());
    let upstream_request_id = error.upstream_request_id();
    if !upstream_request_id.is_empty() {
        let key = "upstream_request_id".to_owned();
        metadata.insert(key, upstream_request_id.to_owned());
    }
    for (name, value) in error.details() {
        metadata.insert((*name).to_owned(), value.clone());
    }
    if let Some(upstream) = error.upstream() {
        let status = upstream.http_status;
        let http_status = if status == 0 {
            String::new()
        } else {
            status.to_string()
        };
        for (key, value) in [
            ("upstream_code", upstream.code.clone()),
            ("upstream_http_status", http_status),
        ] {
            if !value.is_empty() {
                metadata.insert(key.to_owned(), value);
            }
        }
    }
    let mut details = ErrorDetails::with_error_info(error.reason().name(), DOMAIN, metadata);
    details.set_request_info(request_id, "");
    if let Some(wait) = pushback {
        details.set_retry_info(Some(wait));
    }
    if !error.violations().is_empty() {
        let violations: Vec<_> = error
            .violations()
            .iter()
            .map(|violation| FieldViolation::new(&violation.field, &violation.description))
            .collect();
        details.set_bad_request(violations);
    }
    add_specific(&mut details, error);
    details
}

/// The details that only some errors have.
fn add_specific(details: &mut ErrorDetails, error: &Error) {
    let (reason, message) = (error.reason(), error.message());
    match error.kind() {
        Kind::Exhausted => {
            details.add_quota_failure_violation(quota_subject(reason), message);
        }
        Kind::Precondition => {
            details.add_precondition_failure_violation(reason.name(), "dashscope", message);
        }
        Kind::NotFound => {
            let resource = if reason == Reason::ModelNotFound {
                "model"
            } else if reason == Reason::ConversationNotFound {
                "conversation"
            } else {
                "resource"
            };
            details.set_resource_info(resource, "", "", message);
        }
        Kind::Invalid
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::Exists
        | Kind::OutOfRange
        | Kind::Unavailable
        | Kind::TimedOut
        | Kind::Aborted
        | Kind::Unsupported
        | Kind::Lost
        | Kind::Broken => {}
    }
    if error.upstream().is_some() && error.server() == DASHSCOPE {
        details.add_help_link(
            "DashScope's error codes",
            "https://www.alibabacloud.com/help/en/model-studio/error-code",
        );
    }
}

/// Whose limit was exceeded.
fn quota_subject(reason: Reason) -> &'static str {
    let ours = matches!(
        reason,
        Reason::MessageTooLarge | Reason::MetadataTooLarge | Reason::SlowConsumer
    );
    let callers = matches!(
        reason,
        Reason::CallerRate | Reason::CallerTokens | Reason::CallerStreams | Reason::CallerBudget
    );
    if ours {
        "dashgate"
    } else if callers {
        "caller"
    } else {
        "dashscope-account"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Sent, Upstream};
    use crate::secret::Secret;

    #[test]
    fn every_reason_has_a_status_with_info_and_pushback() {
        for &reason in Reason::ALL {
            for sent in [Sent::No, Sent::Refused, Sent::Maybe, Sent::Begun] {
                let error = Error::new(reason, "it failed").with_sent(sent);
                let status = status(&error, "r1", false);
                let details = status.get_error_details();
                let info = details.error_info().unwrap();
                assert_eq!(
                    (info.reason.as_str(), info.domain.as_str()),
                    (reason.name(), DOMAIN)
                );
                assert_eq!(details.request_info().unwrap().request_id, "r1");
                let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
                let wait = details.retry_info().and_then(|info| info.retry_delay);
                match wait {
                    Some(wait) => assert_eq!(pushback, &wait.as_millis().to_string()[..]),
                    None => assert_eq!(pushback, "-1"),
                }
                let again = status.message().contains("call again");
                assert!(!again || wait.is_some(), "{reason:?}: {}", status.message());
                if matches!(sent, Sent::Maybe | Sent::Begun) {
                    assert_ne!(status.code(), Code::Unavailable, "{reason:?}");
                    // It would be billed again.
                    assert_eq!(pushback, "-1", "{reason:?}");
                }
                assert_ne!(status.code(), Code::Cancelled);
                assert!(status.details().len() <= 4096);
            }
        }
    }

    #[test]
    fn messages_of_dashscope_are_shown_only_if_the_operator_allows_it() {
        let upstream = Upstream {
            message: Secret::new("canary\r\n\0"),
            ..Upstream::default()
        };
        let error = Error::new(Reason::UpstreamRejected, "refused").with_upstream(upstream);
        assert!(!format!("{:?}", status(&error, "r", false)).contains("canary"));
        assert_eq!(
            status(&error, "r", true).message(),
            "refused (DashScope: canary   )"
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = Error::new(Reason::UpstreamRejected, "字".repeat(2000));
        assert!(status(&error, "r", false).message().len() <= MAX_MESSAGE);
    }
}
