//! Errors, classified by what the caller has to do. Independent of the transport.
//!
//! A [`Reason`] is the specific error, a [`Kind`] its class, which a transport can express. The
//! table in `error/reason.rs` maps one to the other; `grpc/status.rs` maps a kind to a gRPC code.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::chat::usage::Usage;
use crate::secret::Secret;

mod reason;

pub use reason::{Kind, Reason};

/// The name of DashScope in messages.
pub const DASHSCOPE: &str = "DashScope";

/// A message that is written for DashScope, with the name of another server.
pub(crate) fn renamed(text: &str, server: &str) -> String {
    let text = text.replace("operator's DashScope", "operator's upstream");
    text.replace("a DashScope ", "an upstream ")
        .replace(DASHSCOPE, server)
}

/// How far a call had come when it failed. Determines whether it may be retried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Nothing was sent to DashScope.
    #[default]
    No,
    /// DashScope refused it before any output: nothing was billed.
    Refused,
    /// It was sent, and its outcome is unknown.
    Maybe,
    /// Output had begun.
    Begun,
}

/// An invalid field of the request, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, as in `conversation.messages[0].content[1].audio.uri`.
    pub field: String,
    /// What is wrong, and how to fix it.
    pub description: String,
}

/// The scope of an error of DashScope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The call: the next one may succeed.
    #[default]
    Call,
    /// Every call to this model with this API key.
    Model,
    /// Every call with this API key.
    Account,
}

/// An error reported by DashScope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The scope.
    pub scope: Scope,
    /// The code, for example `Throttling.RateQuota`. Empty if absent.
    pub code: String,
    /// The HTTP status, of the response or of the event's comment. 0 if absent.
    pub http_status: u16,
    /// DashScope's request id. Empty if absent.
    pub request_id: String,
    /// The message. It may contain content of the caller or the model, so it is not passed on.
    pub message: Secret,
}

/// An error. It has two texts: `Display` is for the caller; `source` and the message of
/// [`Upstream`] are for the log.
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    reason: Reason,
    message: Cow<'static, str>,
    sent: Sent,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    upstream: Option<Upstream>,
    /// DashScope's request id of the call, if the error itself has none.
    call_request_id: String,
    /// Whether nothing of the answer was received, although it had begun.
    is_empty: bool,
    attempts: u32,
    model: Option<Arc<str>>,
    usage: Option<Arc<Usage>>,
    source: Option<String>,
    /// Values that the caller may act on, by name.
    details: Vec<(&'static str, String)>,
    /// The name of the server, if it is not DashScope.
    server: Option<&'static str>,
}

impl Error {
    /// An error with a message for the caller: lower-case, no full stop, with what to do.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let inner = Box::new(Inner {
            reason,
            message: message.into(),
            sent: Sent::No,
            retry_after: None,
            violations: Vec::new(),
            upstream: None,
            call_request_id: String::new(),
            is_empty: false,
            attempts: 0,
            model: None,
            usage: None,
            source: None,
            details: Vec::new(),
            server: None,
        });
        Self { inner }
    }

    /// The error of an invalid field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        let message = format!("{field}: {description}");
        let violation = Violation { field, description };
        Self::new(Reason::InvalidRequest, message).with_violation(violation)
    }

    /// Adds an invalid field.
    pub fn with_violation(mut self, violation: Violation) -> Self {
        self.inner.violations.push(violation);
        self
    }

    /// Renames the invalid fields.
    pub fn map_fields(mut self, name: impl Fn(String) -> String) -> Self {
        for violation in &mut self.inner.violations {
            violation.field = name(std::mem::take(&mut violation.field));
        }
        self
    }

    /// Names another server than DashScope in the texts. They are written for DashScope, which
    /// serves nearly all calls.
    pub fn of_server(mut self, server: &'static str) -> Self {
        if server == DASHSCOPE {
            return self;
        }
        self.inner.server = Some(server);
        if self.inner.message.contains(DASHSCOPE) {
            self.inner.message = Cow::Owned(renamed(&self.inner.message, server));
        }
        for violation in &mut self.inner.violations {
            violation.description = renamed(&violation.description, server);
        }
        self
    }

    /// Sets how far the call had come.
    pub fn with_sent(mut self, sent: Sent) -> Self {
        self.inner.sent = sent;
        self
    }

    /// Sets the delay before a retry.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.inner.retry_after = Some(delay);
        self
    }

    /// Adds the error reported by DashScope.
    pub fn with_upstream(mut self, upstream: Upstream) -> Self {
        self.inner.upstream = Some(upstream);
        self
    }

    /// Adds DashScope's request id of the call, for an error that DashScope did not report.
    pub fn with_upstream_request_id(mut self, request_id: &str) -> Self {
        request_id.clone_into(&mut self.inner.call_request_id);
        self
    }

    /// Marks an answer that had begun, but of which nothing was received.
    pub fn with_empty_answer(mut self) -> Self {
        self.inner.is_empty = true;
        self
    }

    /// The error for other calls that are refused because of it: with its reason, but with nothing
    /// of the call that failed.
    pub fn for_other_calls(mut self) -> Self {
        if let Some(upstream) = &mut self.inner.upstream {
            upstream.request_id.clear();
            upstream.message = Secret::default();
        }
        self.inner.call_request_id.clear();
        self.inner.violations.clear();
        self.inner.attempts = 0;
        self.inner.model = None;
        self.inner.usage = None;
        self.with_sent(Sent::No)
    }

    /// Sets the number of requests sent to DashScope.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.inner.attempts = attempts;
        self
    }

    /// Sets the model that was called, if one was.
    pub fn with_model(mut self, model: impl Into<Option<Arc<str>>>) -> Self {
        self.inner.model = model.into();
        self
    }

    /// Adds the usage that DashScope reported before the failure, unless the error has one.
    pub fn with_usage(mut self, usage: Option<Arc<Usage>>) -> Self {
        if self.inner.usage.is_none() {
            self.inner.usage = usage;
        }
        self
    }

    /// Adds a value that the caller may act on.
    pub fn with_detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.inner.details.push((name, value.into()));
        self
    }

    /// Adds the cause, for the log only. It must contain no key and no content.
    pub fn with_source(mut self, source: impl fmt::Display) -> Self {
        self.inner.source = Some(source.to_string());
        self
    }

    /// The reason.
    pub fn reason(&self) -> Reason {
        self.inner.reason
    }

    /// The class. [`Kind::Unavailable`], which permits a retry, is returned only if nothing was
    /// executed: once the model may have run, the same error is [`Kind::Broken`].
    pub fn kind(&self) -> Kind {
        let kind = self.inner.reason.kind();
        match (kind, self.inner.sent) {
            (Kind::Unavailable, Sent::Maybe | Sent::Begun) => Kind::Broken,
            _ => kind,
        }
    }

    /// The message for the caller.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// How far the call had come.
    pub fn sent(&self) -> Sent {
        self.inner.sent
    }

    /// The delay before a retry, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// The invalid fields.
    pub fn violations(&self) -> &[Violation] {
        &self.inner.violations
    }

    /// The name of the server that the error is about.
    pub fn server(&self) -> &'static str {
        self.inner.server.unwrap_or(DASHSCOPE)
    }

    /// The error reported by DashScope, if there is one.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.inner.upstream.as_ref()
    }

    /// DashScope's request id: of the error, or of the call. Empty if unknown.
    pub fn upstream_request_id(&self) -> &str {
        match self.upstream() {
            Some(upstream) if !upstream.request_id.is_empty() => &upstream.request_id,
            Some(_) | None => &self.inner.call_request_id,
        }
    }

    /// Whether something of the answer was received.
    pub fn output_started(&self) -> bool {
        self.inner.sent == Sent::Begun && !self.inner.is_empty
    }

    /// The number of requests sent to DashScope.
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }

    /// The model that was called, if known.
    pub fn model(&self) -> Option<&str> {
        self.inner.model.as_deref()
    }

    /// The usage that DashScope reported before the failure.
    pub fn usage(&self) -> Option<&Arc<Usage>> {
        self.inner.usage.as_ref()
    }

    /// The values that the caller may act on, by name.
    pub fn details(&self) -> &[(&'static str, String)] {
        &self.inner.details
    }

    /// The cause, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.inner.source.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_is_reported_only_when_the_model_did_nothing() {
        for sent in [Sent::No, Sent::Refused, Sent::Maybe, Sent::Begun] {
            let error = Error::new(Reason::UpstreamInternal, "failed").with_sent(sent);
            let expected = match sent {
                Sent::No | Sent::Refused => Kind::Unavailable,
                Sent::Maybe | Sent::Begun => Kind::Broken,
            };
            assert_eq!(error.kind(), expected, "{sent:?}");
        }
    }

    #[test]
    fn reasons_have_unique_names_in_upper_snake_case_and_a_meaning() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(
                reason
                    .name()
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b == b'_')
            );
            assert!(reason.meaning().ends_with('.'), "{reason:?}");
        }
    }

    #[test]
    fn debug_does_not_show_messages_of_dashscope() {
        let upstream = Upstream {
            message: Secret::new("canary"),
            ..Upstream::default()
        };
        let error = Error::new(Reason::UpstreamInternal, "failed").with_upstream(upstream);
        assert!(!format!("{error:?} {error}").contains("canary"));
    }
}
