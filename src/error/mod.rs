//! What can go wrong, sorted by what the caller must do next. Knows no transport.
//!
//! A [`Reason`] is the exact fault, a [`Kind`] is the class that a transport can show. The table in
//! `error/reason.rs` joins the two; `grpc/status.rs` turns a kind into a gRPC code.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::chat::usage::Usage;
use crate::secret::Secret;

mod reason;

pub use reason::{Kind, Reason};

/// How far a call had come when it failed. Decides whether it may be made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sent {
    /// No byte of it reached DashScope.
    #[default]
    No,
    /// DashScope refused it before any output: nothing was billed.
    Refused,
    /// It was sent, and what became of it is not known.
    Maybe,
    /// Output had begun.
    Begun,
}

/// An invalid field of the request, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, as in `conversation.messages[0].content[1].audio.uri`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub description: String,
}

/// Whose matter a fault of DashScope's is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The call's own: the next one may fare better.
    #[default]
    Call,
    /// Every call to this model with this key.
    Model,
    /// Every call with this key.
    Account,
}

/// What DashScope said of a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Whom it concerns.
    pub scope: Scope,
    /// Its code, for example `Throttling.RateQuota`. Empty if it gave none.
    pub code: String,
    /// The HTTP status, of the answer or of the event's comment. 0 if there was none.
    pub http_status: u16,
    /// Its name of the request. Empty if it gave none.
    pub request_id: String,
    /// Its words. They may hold what the caller or the model said, so they are not shown.
    pub message: Secret,
}

/// One fault. Two texts: `Display` is for the caller, `source` and `upstream.message` for the log.
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
    attempts: u32,
    model: Option<Arc<str>>,
    usage: Option<Arc<Usage>>,
    source: Option<String>,
}

impl Error {
    /// A fault with a text for the caller: lower-case, no full stop, says what to do.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let inner = Box::new(Inner {
            reason,
            message: message.into(),
            sent: Sent::No,
            retry_after: None,
            violations: Vec::new(),
            upstream: None,
            attempts: 0,
            model: None,
            usage: None,
            source: None,
        });
        Self { inner }
    }

    /// A field that is wrong.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        let message = format!("{field}: {description}");
        let violation = Violation { field, description };
        Self::new(Reason::InvalidRequest, message).with_violation(violation)
    }

    /// Adds a field that is wrong.
    pub fn with_violation(mut self, violation: Violation) -> Self {
        self.inner.violations.push(violation);
        self
    }

    /// Names its fields anew.
    pub fn map_fields(mut self, name: impl Fn(String) -> String) -> Self {
        for violation in &mut self.inner.violations {
            violation.field = name(std::mem::take(&mut violation.field));
        }
        self
    }

    /// Says how far the call had come.
    pub fn with_sent(mut self, sent: Sent) -> Self {
        self.inner.sent = sent;
        self
    }

    /// Says how long to wait before the next try.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.inner.retry_after = Some(delay);
        self
    }

    /// Adds what DashScope said.
    pub fn with_upstream(mut self, upstream: Upstream) -> Self {
        self.inner.upstream = Some(upstream);
        self
    }

    /// Says how often DashScope was asked.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.inner.attempts = attempts;
        self
    }

    /// Adds the model that was called.
    pub fn with_model(mut self, model: Arc<str>) -> Self {
        self.inner.model = Some(model);
        self
    }

    /// Adds the usage that DashScope reported before the failure, unless the error has one.
    pub fn with_usage(mut self, usage: Option<Arc<Usage>>) -> Self {
        if self.inner.usage.is_none() {
            self.inner.usage = usage;
        }
        self
    }

    /// Adds the cause, for the log alone. It must hold no key and no content.
    pub fn with_source(mut self, source: impl fmt::Display) -> Self {
        self.inner.source = Some(source.to_string());
        self
    }

    /// The exact fault.
    pub fn reason(&self) -> Reason {
        self.inner.reason
    }

    /// What the caller must do next. "Call again, nothing was done" is said only when that is sure:
    /// once the model may have run, the same fault is [`Kind::Broken`].
    pub fn kind(&self) -> Kind {
        let kind = self.inner.reason.kind();
        match (kind, self.inner.sent) {
            (Kind::Unavailable, Sent::Maybe | Sent::Begun) => Kind::Broken,
            _ => kind,
        }
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// How far the call had come.
    pub fn sent(&self) -> Sent {
        self.inner.sent
    }

    /// How long to wait before the next try, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// The fields that are wrong.
    pub fn violations(&self) -> &[Violation] {
        &self.inner.violations
    }

    /// What DashScope said, if it was DashScope.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.inner.upstream.as_ref()
    }

    /// How often DashScope was asked.
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }

    /// The model that was called, if that is known.
    pub fn model(&self) -> Option<&str> {
        self.inner.model.as_deref()
    }

    /// The usage that DashScope reported before the failure.
    pub fn usage(&self) -> Option<&Arc<Usage>> {
        self.inner.usage.as_ref()
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
    fn unavailable_is_said_only_when_the_model_did_nothing() {
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
    fn debug_does_not_show_what_dashscope_said() {
        let upstream = Upstream {
            message: Secret::new("canary"),
            ..Upstream::default()
        };
        let error = Error::new(Reason::UpstreamInternal, "failed").with_upstream(upstream);
        assert!(!format!("{error:?} {error}").contains("canary"));
    }
}
