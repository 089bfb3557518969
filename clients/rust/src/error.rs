//! Why a call failed, and what to do about it.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use tonic_types::FieldViolation;

/// Why a call failed.
///
/// [`code`](Self::code) says what to do next, [`reason`](Self::reason) what happened exactly: the
/// gateway's documentation lists all reasons.
///
/// ```no_run
/// # async fn ask(client: dashgate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// # let conversation = dashgate_client::Conversation::new("qwen3.6-plus");
/// match client.converse(&conversation).await {
///     Ok(answer) => println!("{}", answer.text()),
///     Err(error) => match error.retry_after() {
///         Some(pause) => println!("busy, try again in {pause:?}"),
///         None => return Err(error.into()),
///     },
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    status: Status,
    details: ErrorDetails,
    request_id: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// What happened, for a person.
    pub fn message(&self) -> &str {
        self.0.status.message()
    }

    /// What happened, for a program: `UPSTREAM_RATE`, `INVALID_REQUEST`, ... Empty when the gateway
    /// was not reached, or went away.
    pub fn reason(&self) -> &str {
        let info = self.0.details.error_info();
        info.map_or("", |info| info.reason.as_str())
    }

    /// DashScope's own code, when it was DashScope that refused.
    pub fn upstream_code(&self) -> Option<&str> {
        self.metadata("upstream_code")
    }

    /// The HTTP status that DashScope answered with.
    pub fn upstream_http_status(&self) -> Option<u16> {
        self.metadata("upstream_http_status")?.parse().ok()
    }

    /// DashScope's name of the call, for its support.
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.metadata("upstream_request_id")
    }

    /// How often DashScope was asked.
    pub fn attempts(&self) -> Option<u32> {
        self.metadata("attempts")?.parse().ok()
    }

    /// The name of the call, as in the gateway's log. Empty when there was no call.
    pub fn request_id(&self) -> &str {
        let told = self.0.details.request_info();
        let told = told.map(|info| info.request_id.as_str());
        told.filter(|id| !id.is_empty())
            .unwrap_or(&self.0.request_id)
    }

    /// After how long to call again; `None` means: do not.
    pub fn retry_after(&self) -> Option<Duration> {
        let told = self.0.details.retry_info();
        told.and_then(|info| info.retry_delay)
            .or_else(|| match pushback(&self.0.status) {
                Pushback::After(pause) => Some(pause),
                Pushback::No | Pushback::Unsaid => None,
            })
    }

    /// The fields of the request that are wrong, by their path, and what is wrong with each.
    pub fn field_violations(&self) -> &[FieldViolation] {
        let told = self.0.details.bad_request();
        told.map_or(&[], |bad| bad.field_violations.as_slice())
    }

    /// The status as gRPC has it, with its metadata.
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// All of the status's details.
    pub fn details(&self) -> &ErrorDetails {
        &self.0.details
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        let info = self.0.details.error_info()?;
        let value = info.metadata.get(key)?;
        (!value.is_empty()).then_some(value)
    }

    /// A call that came back with a status.
    pub(crate) fn of_call(status: Status, request_id: &str) -> Self {
        // Details that cannot be read are as good as none; the bytes stay in the status.
        let details = status.check_error_details().unwrap_or_default();
        Self(Arc::new(Inner {
            status,
            details,
            request_id: request_id.to_owned(),
            source: None,
        }))
    }

    /// A fault that is found on this side, during a call.
    pub(crate) fn of_client(code: Code, reason: &str, message: &str, request_id: &str) -> Self {
        let details = match reason {
            "" => ErrorDetails::new(),
            reason => ErrorDetails::with_error_info(reason, "dashgate", HashMap::new()),
        };
        Self::of_call(
            Status::with_error_details(code, message, details),
            request_id,
        )
    }

    /// Something that was given to this library and that it cannot take.
    pub(crate) fn of_argument(message: impl Into<String>) -> Self {
        Self::of_call(Status::invalid_argument(message), "")
    }

    /// The same, with what is behind it.
    pub(crate) fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            status: Status::invalid_argument(message),
            details: ErrorDetails::new(),
            request_id: String::new(),
            source: Some(source.into()),
        }))
    }

    pub(crate) fn deadline(request_id: &str) -> Self {
        let message = "the deadline passed before the call was done";
        Self::of_client(Code::DeadlineExceeded, "", message, request_id)
    }
}

/// What a status says about the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// Nothing.
    Unsaid,
    /// Not at all.
    No,
    /// After this long.
    After(Duration),
}

/// What `grpc-retry-pushback-ms` says: below zero or unreadable is no.
pub(crate) fn pushback(status: &Status) -> Pushback {
    let Some(value) = status.metadata().get("grpc-retry-pushback-ms") else {
        return Pushback::Unsaid;
    };
    let pause = value.to_str().ok().and_then(|text| text.parse().ok());
    pause.map_or(Pushback::No, |ms| {
        Pushback::After(Duration::from_millis(ms))
    })
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}", self.code())?;
        if !self.reason().is_empty() {
            write!(to, " ({})", self.reason())?;
        }
        write!(to, ": {}", self.message())?;
        for violation in self.field_violations() {
            write!(to, "; {}: {}", violation.field, violation.description)?;
        }
        if !self.request_id().is_empty() {
            write!(to, " [call {}]", self.request_id())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Error")
            .field("code", &self.code())
            .field("reason", &self.reason())
            .field("message", &self.message())
            .field("upstream_code", &self.upstream_code())
            .field("request_id", &self.request_id())
            .field("retry_after", &self.retry_after())
            .field("field_violations", &self.field_violations())
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref();
        source.map(|source| source as &(dyn StdError + 'static))
    }
}
