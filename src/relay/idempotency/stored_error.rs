//! The error of a failed call as bytes, for replicas that follow the call. What is only for the log
//! of the replica that ran it, such as DashScope's message, is left out.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chat::usage::Usage;
use crate::error::{Error, Reason, Scope, Sent, Upstream, Violation};
use crate::secret::Secret;

/// What readers receive.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    reason: String,
    message: String,
    /// As [`Sent`], in its order.
    sent: u8,
    retry_after: Option<Duration>,
    violations: Vec<(String, String)>,
    upstream: Option<(String, u16)>,
    upstream_request_id: String,
    attempts: u32,
    model: Option<String>,
    usage: Option<Arc<Usage>>,
}

/// The error as bytes.
pub(super) fn encode(error: &Error) -> Vec<u8> {
    let violations = error.violations().iter();
    let stored = Stored {
        reason: error.reason().name().to_owned(),
        message: error.message().to_owned(),
        sent: match error.sent() {
            Sent::No => 0,
            Sent::Refused => 1,
            Sent::Maybe => 2,
            Sent::Begun => 3,
        },
        retry_after: error.retry_after(),
        violations: violations
            .map(|violation| (violation.field.clone(), violation.description.clone()))
            .collect(),
        upstream: error
            .upstream()
            .map(|upstream| (upstream.code.clone(), upstream.http_status)),
        upstream_request_id: error.upstream_request_id().to_owned(),
        attempts: error.attempts(),
        model: error.model().map(str::to_owned),
        usage: error.usage().cloned(),
    };
    rmp_serde::to_vec_named(&stored).unwrap_or_default()
}

/// The error of these bytes.
pub(super) fn decode(bytes: &[u8]) -> Error {
    let stored: Stored = rmp_serde::from_slice(bytes).unwrap_or_default();
    let reasons = Reason::ALL.iter();
    let reason = reasons
        .copied()
        .find(|reason| reason.name() == stored.reason);
    // A reason of the next version of the gateway.
    let reason = reason.unwrap_or(Reason::UpstreamUnknown);
    let sent = match stored.sent {
        0 => Sent::No,
        1 => Sent::Refused,
        2 => Sent::Maybe,
        _ => Sent::Begun,
    };
    let mut error = Error::new(reason, stored.message)
        .with_sent(sent)
        .with_attempts(stored.attempts)
        .with_usage(stored.usage)
        .with_model(stored.model.map(Arc::from));
    if let Some(delay) = stored.retry_after {
        error = error.with_retry_after(delay);
    }
    for (field, description) in stored.violations {
        error = error.with_violation(Violation { field, description });
    }
    if let Some((code, http_status)) = stored.upstream {
        error = error.with_upstream(Upstream {
            scope: Scope::Call,
            code,
            http_status,
            request_id: stored.upstream_request_id.clone(),
            message: Secret::new(""),
        });
    }
    match stored.upstream_request_id.is_empty() {
        true => error,
        false => error.with_upstream_request_id(&stored.upstream_request_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_receive_a_stored_error_as_it_was() {
        let error = Error::new(Reason::UpstreamRate, "too many")
            .with_sent(Sent::Refused)
            .with_attempts(2)
            .with_retry_after(Duration::from_secs(3))
            .with_model(Some(Arc::from("m")))
            .with_usage(Some(Arc::new(Usage {
                input_tokens: Some(7),
                ..Usage::default()
            })))
            .with_upstream(Upstream {
                code: "Throttling".to_owned(),
                http_status: 429,
                message: Secret::new("canary"),
                ..Upstream::default()
            })
            .with_upstream_request_id("r");
        let bytes = encode(&error);
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        let read = decode(&bytes);
        assert_eq!(
            (read.reason(), read.message()),
            (error.reason(), error.message())
        );
        assert_eq!((read.sent(), read.attempts()), (Sent::Refused, 2));
        assert_eq!(read.retry_after(), error.retry_after());
        assert_eq!((read.model(), read.usage()), (error.model(), error.usage()));
        assert_eq!(read.upstream_request_id(), "r");
        let upstream = read.upstream().unwrap();
        assert_eq!((&*upstream.code, upstream.http_status), ("Throttling", 429));
    }

    #[test]
    fn bytes_of_another_version_are_an_error_too() {
        assert_eq!(decode(b"?").reason(), Reason::UpstreamUnknown);
    }
}
