//! Failures of commands, as text with advice and as JSON.

use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::Serialize;
use tonic::Code;

use crate::config::ConfigErrors;
use crate::error::{Error, Kind};
use crate::grpc::status_code;

use super::exit::Exit;
use super::message_json::Fields;
use super::terminal::Unwritten;

/// Why a command failed. Boxed, so that successful results stay small.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Failure(Box<Told>);

/// The details of a failure.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Told {
    /// The exit code.
    #[serde(skip)]
    pub(crate) exit: Option<Exit>,
    /// Whether the gRPC library created the error, in which case the server may not be a gateway.
    #[serde(skip)]
    pub(crate) transport: bool,
    /// The gRPC code, or `USAGE`, `UNREACHABLE`, `CANCELLED`, `OUTPUT`, `CLOSED` for errors of the
    /// command itself.
    pub(crate) code: String,
    /// The message.
    pub(crate) message: String,
    /// The reason in `google.rpc.ErrorInfo`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// The invalid fields of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fields: Vec<Field>,
    /// Further details from the gateway: DashScope's code, its HTTP status, the attempts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<Detail>,
    /// Whether output of the model was received before the failure.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) output_started: bool,
    /// The usage that DashScope reported before the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Fields>,
    /// The usage as text.
    #[serde(skip)]
    pub(crate) used: String,
    /// The request id of the call.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) request_id: String,
    /// DashScope's request id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) upstream_request_id: String,
    /// The retry pushback in milliseconds; negative: do not retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<i64>,
    /// What to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) advice: Vec<String>,
}

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Field {
    /// Its path.
    pub(crate) field: String,
    /// The problem.
    pub(crate) description: String,
}

/// A named detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Detail {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

impl Deref for Failure {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

impl DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Told {
        &mut self.0
    }
}

impl Failure {
    /// An error of the command itself.
    fn own(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Told {
            exit: Some(exit),
            code: code.to_owned(),
            message: message.into(),
            ..Told::default()
        }))
    }

    /// An invalid command line or file.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::own(Exit::Usage, "USAGE", message)
    }

    /// The server cannot be reached.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::own(Exit::Unreachable, "UNREACHABLE", message)
    }

    /// The command did not succeed.
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::own(Exit::Failed, code, message)
    }

    /// The command was interrupted.
    pub(crate) fn cancelled() -> Self {
        Self::own(Exit::Cancelled, "CANCELLED", "stopped")
    }

    /// Adds advice.
    pub(crate) fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit.unwrap_or(Exit::Failed)
    }

    /// The text: one line with the message, then lines with details.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}", self.message);
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(text, "\n  {name}: {value}");
            }
        };
        match self.reason.as_str() {
            "" => {}
            reason => line("reason", &format!("{reason} ({})", self.code)),
        }
        // The message may already contain the only field.
        let told =
            |field: &&Field| self.message != format!("{}: {}", field.field, field.description);
        for field in self.fields.iter().filter(told) {
            line(&field.field, &field.description);
        }
        // A single attempt is not worth a line.
        let once = |detail: &Detail| {
            detail.name == "attempts" && matches!(detail.value.as_str(), "0" | "1")
        };
        for detail in self.details.iter().filter(|detail| !once(detail)) {
            line(&detail.name.replace('_', " "), &detail.value);
        }
        line("usage", &self.used);
        line("request id", &self.request_id);
        line("upstream request id", &self.upstream_request_id);
        if let Some(wait) = self.retry_after_ms {
            line("retry", &self.retry_words(wait));
        }
        for advice in &self.advice {
            line("try", advice);
        }
        text
    }

    /// A negative pushback means that the request has to change, or that a retry may be billed.
    fn retry_words(&self, milliseconds: i64) -> String {
        let request_has_to_change = [
            Code::InvalidArgument,
            Code::NotFound,
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::Unimplemented,
            Code::Unauthenticated,
        ]
        .iter()
        .any(|code| self.code == status_code::name(*code));
        match u64::try_from(milliseconds) {
            Err(_) if request_has_to_change && !self.output_started => {
                "no: the same request will fail again".to_owned()
            }
            Err(_) => "not automatically: the model may have run, and a retry may be billed again"
                .to_owned(),
            Ok(0) => "at once".to_owned(),
            Ok(wait) => format!("after {:?}", Duration::from_millis(wait)),
        }
    }

    /// One JSON object, `{"error": {...}}`.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: &'a Failure,
        }
        serde_json::to_string(&Envelope { error: self }).unwrap_or_default()
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::usage(errors.to_string()).with_advice(
            "`dashgate config check` checks settings, docs/configuration.md lists them",
        )
    }
}

impl From<Unwritten> for Failure {
    fn from(why: Unwritten) -> Self {
        match why {
            Unwritten::Closed => Self::own(Exit::Done, "CLOSED", "stdout is not read"),
            Unwritten::Failed(why) => {
                Self::failed("OUTPUT", format!("cannot write to stdout: {why}"))
            }
        }
    }
}

/// An error in starting or running the gateway in this process.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            Kind::Unavailable | Kind::Lost | Kind::Broken => Self::unreachable(error.message()),
            Kind::Invalid
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Exists
            | Kind::OutOfRange
            | Kind::Precondition
            | Kind::Exhausted
            | Kind::TimedOut
            | Kind::Aborted
            | Kind::Unsupported => Self::usage(error.message()),
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// rustls's error when a server requires a client certificate.
pub(crate) const NO_CLIENT_CERTIFICATE: &str = "CertificateRequired";

impl Failure {
    /// The gateway requires a client certificate.
    pub(crate) fn without_certificate() -> Self {
        Self::unreachable("the gateway requires a client certificate")
            .with_advice("set DASHGATE_TLS_CERTIFICATE and DASHGATE_TLS_KEY")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn rich() -> Status {
        let metadata = HashMap::from([
            ("upstream_code".to_owned(), "InvalidParameter".to_owned()),
            ("upstream_request_id".to_owned(), "up-1".to_owned()),
            ("attempts".to_owned(), "2".to_owned()),
        ]);
        let mut details = ErrorDetails::with_error_info("UPSTREAM_REJECTED", "dashgate", metadata);
        details
            .add_bad_request_violation("options.top_p", "must be below 1")
            .set_retry_info(Some(Duration::from_millis(1500)));
        let code = Code::InvalidArgument;
        let mut status = Status::with_error_details(code, "top_p is out of range", details);
        let headers = status.metadata_mut();
        headers.insert("x-request-id", "call-1".parse().unwrap());
        headers.insert("x-dashscope-request-id", "up-1".parse().unwrap());
        status
    }

    #[test]
    fn a_status_is_told_with_all_that_helps() {
        let failure = Failure::from(rich());
        assert_eq!(
            failure.text(),
            "error: top_p is out of range\n  \
             reason: UPSTREAM_REJECTED (INVALID_ARGUMENT)\n  \
             options.top_p: must be below 1\n  \
             attempts: 2\n  \
             upstream code: InvalidParameter\n  \
             request id: call-1\n  \
             upstream request id: up-1\n  \
             retry: after 1.5s"
        );
        assert_eq!(failure.exit(), Exit::Failed);
    }

    #[test]
    fn the_json_of_a_failure_is_one_object() {
        let json = Failure::from(rich()).json();
        for part in [
            r#"{"error":{"code":"INVALID_ARGUMENT","message":"top_p is out of range""#,
            r#""reason":"UPSTREAM_REJECTED""#,
            r#""fields":[{"field":"options.top_p","description":"must be below 1"}]"#,
            r#""retry_after_ms":1500"#,
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        assert!(!json.contains("\"exit\"") && !json.contains("advice"));
    }

    #[test]
    fn a_negative_pushback_advises_against_a_retry() {
        for (mut status, expected) in [
            (Status::internal("broke"), "billed again"),
            (Status::resource_exhausted("throttled"), "billed again"),
            (Status::deadline_exceeded("first event"), "billed again"),
            (Status::invalid_argument("top_p"), "will fail again"),
            (Status::not_found("no model"), "will fail again"),
        ] {
            let never = "-1".parse().unwrap();
            status
                .metadata_mut()
                .insert("grpc-retry-pushback-ms", never);
            let text = Failure::from(status).text();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_status_of_the_library_is_told_with_its_cause_and_advice() {
        let cause = std::io::Error::other("connection reset by peer");
        let text = Failure::from(Status::from_error(Box::new(cause))).text();
        assert!(text.contains("connection reset by peer"), "{text}");
        assert!(text.contains("dashgate health"), "{text}");
    }
}
