//! The error of a failed call.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

use crate::headers;
use crate::headers::Headers;
use crate::status::of_connection;
use crate::v1::{CallFailure, ErrorReason, Usage};

pub use tonic_types::FieldViolation;

/// The type of the detail that the gateway adds to each of its errors.
const CALL_FAILURE: &str = "dashgate.v1.CallFailure";

/// The error of a failed call.
///
/// [`code`](Self::code) determines how to react, [`reason`](Self::reason) is the cause.
///
/// ```no_run
/// # async fn ask(client: dashgate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// # let conversation = dashgate_client::Conversation::new("qwen3.6-plus");
/// use dashgate_client::v1::ErrorReason;
///
/// match client.converse(&conversation).await {
///     Ok(answer) => println!("{}", answer.text()),
///     Err(error) if error.reason() == ErrorReason::ContentBlocked => println!("blocked"),
///     Err(error) if error.retryable() => println!("retry in {:?}", error.retry_after()),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    status: Status,
    details: ErrorDetails,
    reason: ErrorReason,
    failure: Option<CallFailure>,
    /// Of an earlier stream of the session.
    earlier_usage: Option<Usage>,
    output_started: bool,
    request_id: String,
    headers: Headers,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns the gRPC code.
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// Returns the error message, in English. Its wording may change.
    pub fn message(&self) -> &str {
        self.0.status.message()
    }

    /// Returns the cause. Unspecified if the gateway did not create the error, or if its reason is
    /// newer than this crate: see [`raw_reason`](Self::raw_reason).
    pub fn reason(&self) -> ErrorReason {
        self.0.reason
    }

    /// Returns the reason as text, for example `UPSTREAM_RATE`. `STREAM_IDLE`, `TOOL_ROUNDS` and
    /// `OUTPUT_INVALID` are created by this crate only, and have no value of [`ErrorReason`]. Empty if
    /// the gRPC library created the error.
    pub fn raw_reason(&self) -> &str {
        let info = self.0.details.error_info();
        info.map_or("", |info| info.reason.as_str())
    }

    /// Returns the usage of the call until it failed, as counted by DashScope; `None` if it
    /// reported nothing.
    pub fn usage(&self) -> Option<&Usage> {
        let failure = self.0.failure.as_ref();
        let own = failure.and_then(|failure| failure.usage.as_ref());
        own.or(self.0.earlier_usage.as_ref())
    }

    /// Returns whether a part of the answer was produced: reported by the gateway, or received by
    /// this stream.
    pub fn output_started(&self) -> bool {
        let failure = self.0.failure.as_ref();
        self.0.output_started || failure.is_some_and(|failure| failure.output_started)
    }

    /// Returns DashScope's error code, for example `Throttling.RateQuota`.
    pub fn upstream_code(&self) -> Option<&str> {
        self.text(|failure| &failure.upstream_code)
    }

    /// Returns the HTTP status of DashScope's response.
    pub fn upstream_http_status(&self) -> Option<u16> {
        let status = self.0.failure.as_ref()?.upstream_http_status?;
        u16::try_from(status).ok()
    }

    /// Returns DashScope's request id, for its support.
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.text(|failure| &failure.upstream_request_id)
    }

    /// Returns how many requests were sent to DashScope; `None` if the gateway did not create the
    /// error.
    pub fn attempts(&self) -> Option<u32> {
        u32::try_from(self.0.failure.as_ref()?.attempts).ok()
    }

    /// Returns the model that was called, after the gateway's mapping.
    pub fn model(&self) -> Option<&str> {
        self.text(|failure| &failure.model)
    }

    /// Returns the request id, as in the gateway's log. Empty if there was no call.
    pub fn request_id(&self) -> &str {
        let info = self.0.details.request_info();
        let id = info.map(|info| info.request_id.as_str());
        id.filter(|id| !id.is_empty()).unwrap_or(&self.0.request_id)
    }

    /// Returns whether the same call may succeed later. It is true with a
    /// [`retry_after`](Self::retry_after), and if the gateway was not reached; the time is then not
    /// known.
    pub fn retryable(&self) -> bool {
        self.retry_after().is_some()
            || (self.code() == Code::Unavailable
                && self.raw_reason().is_empty()
                && pushback(&self.0.status) != Pushback::No)
    }

    /// Returns the time to wait before a retry; `None` if it is not known, or if the call must not be
    /// retried: see [`retryable`](Self::retryable).
    pub fn retry_after(&self) -> Option<Duration> {
        let info = self.0.details.retry_info();
        info.and_then(|info| info.retry_delay)
            .or_else(|| match pushback(&self.0.status) {
                Pushback::After(pause) => Some(pause),
                Pushback::No | Pushback::Unsaid => None,
            })
    }

    /// Returns the invalid fields of the request: path and problem.
    pub fn field_violations(&self) -> &[FieldViolation] {
        let bad = self.0.details.bad_request();
        bad.map_or(&[], |bad| bad.field_violations.as_slice())
    }

    /// Returns the metadata of the response: its headers and trailers, without binary ones. Empty if
    /// there was no response.
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// Returns the raw status with its metadata.
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// Returns the standard details of the status.
    pub fn details(&self) -> &ErrorDetails {
        &self.0.details
    }

    fn text(&self, field: impl FnOnce(&CallFailure) -> &String) -> Option<&str> {
        let text = self.0.failure.as_ref().map(field)?;
        (!text.is_empty()).then_some(text)
    }

    /// Creates the error of a call that ended with this status.
    pub(crate) fn of_call(status: Status, request_id: &str) -> Self {
        let failure = call_failure(&status);
        let reason = failure.as_ref().map(CallFailure::reason);
        Self::of_status(status, reason, failure, request_id)
    }

    fn of_status(
        status: Status,
        reason: Option<ErrorReason>,
        failure: Option<CallFailure>,
        request_id: &str,
    ) -> Self {
        // Details that cannot be decoded are ignored; the status keeps their bytes.
        let details = status.check_error_details().unwrap_or_default();
        Self(Arc::new(Inner {
            headers: headers::texts(status.metadata()),
            status,
            details,
            reason: reason.unwrap_or_default(),
            failure,
            earlier_usage: None,
            output_started: false,
            request_id: request_id.to_owned(),
            source: None,
        }))
    }

    /// Creates an error that this crate detects during a call.
    pub(crate) fn of_client(code: Code, reason: &str, message: &str, request_id: &str) -> Self {
        let details = match reason {
            "" => ErrorDetails::new(),
            reason => ErrorDetails::with_error_info(reason, "dashgate", HashMap::new()),
        };
        let reason = ErrorReason::from_str_name(reason);
        let status = Status::with_error_details(code, message, details);
        Self::of_status(status, reason, None, request_id)
    }

    /// Marks the error of a stream that had received a part of the answer.
    pub(crate) fn after_output(mut self) -> Self {
        Arc::make_mut(&mut self.0).output_started = true;
        self
    }

    /// Adds the usage of an earlier stream of the session. The error's own usage is preferred.
    pub(crate) fn with_usage(mut self, usage: &Usage) -> Self {
        Arc::make_mut(&mut self.0).earlier_usage = Some(usage.clone());
        self
    }

    /// Adds what is known of the call.
    pub(crate) fn with_failure(mut self, failure: CallFailure) -> Self {
        Arc::make_mut(&mut self.0).failure = Some(failure);
        self
    }

    /// Adds the headers of the stream that failed.
    pub(crate) fn with_headers(mut self, headers: &Headers) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        for (name, value) in headers {
            let present = inner.headers.entry(name.clone());
            present.or_insert_with(|| value.clone());
        }
        self
    }

    /// Creates the error of an invalid argument.
    pub(crate) fn of_argument(message: impl Into<String>) -> Self {
        Self::of_call(Status::invalid_argument(message), "")
    }

    /// Creates the error of an invalid argument, with the cause.
    pub(crate) fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::of_argument(message).with_source(source)
    }

    /// Adds the cause.
    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Arc::make_mut(&mut self.0).source = Some(source.into().into());
        self
    }

    /// Creates the error of a call whose deadline ended before the gateway was reached.
    pub(crate) fn unreached(target: &str, request_id: &str) -> Self {
        let message = format!("{target}: no connection could be made in time");
        Self::of_client(Code::Unavailable, "", &message, request_id)
    }

    /// Creates the error of a connection that could not be opened.
    pub(crate) fn unconnected(target: &str, error: tonic::transport::Error) -> Self {
        let error = Arc::new(error);
        let mut status = Status::unavailable(error.to_string());
        status.set_source(Arc::clone(&error) as _);
        Self::of_call(of_connection(status, target), "").with_source(error)
    }

    /// Whether the same call could not be made: the gateway was not reached, or the connection broke.
    pub(crate) fn is_of_connection(&self) -> bool {
        self.code() == Code::Unavailable && self.raw_reason().is_empty()
    }

    pub(crate) fn deadline(request_id: &str) -> Self {
        let message = "the deadline passed before the call was done";
        Self::of_client(
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            message,
            request_id,
        )
    }
}

/// Returns the gateway's own detail of a status, if it can be decoded.
fn call_failure(status: &Status) -> Option<CallFailure> {
    let status = pb::Status::decode(status.details()).ok()?;
    let is_failure = |url: &str| url.rsplit('/').next() == Some(CALL_FAILURE);
    let mut details = status.details.iter();
    let found = details.find(|detail| is_failure(&detail.type_url))?;
    CallFailure::decode(found.value.as_slice()).ok()
}

/// The server's instruction for retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// No instruction.
    Unsaid,
    /// Do not retry.
    No,
    /// Retry after this time.
    After(Duration),
}

/// Reads `grpc-retry-pushback-ms`: negative or invalid means no retry.
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
        let code = code_name(self.code());
        to.write_str(code)?;
        if !self.raw_reason().is_empty() && self.raw_reason() != code {
            write!(to, " ({})", self.raw_reason())?;
        }
        write!(to, ": {}", self.message())?;
        let id = self.request_id();
        let ends_word = |c: char| c.is_whitespace() || "()[],;".contains(c);
        let mut words = self.message().split(ends_word);
        let is_named = words.any(|word| word == id || word.strip_suffix([':', '.']) == Some(id));
        if !id.is_empty() && !is_named {
            write!(to, " (request id {id})")?;
        }
        Ok(())
    }
}

/// The name of a code in the specification of gRPC.
pub(crate) fn code_name(code: Code) -> &'static str {
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

impl fmt::Debug for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Error")
            .field("code", &self.code())
            .field("reason", &self.raw_reason())
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
