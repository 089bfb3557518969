//! From what DashScope says of a fault to an [`Error`].
//!
//! Decided in this order: the code together with words of the message, the code alone, then the HTTP
//! status, where the one in an event's comment stands above that of the answer. The table is in
//! `codes.rs`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::codes::{FIELDS, WORDS, by_status, known};
use super::sse::{Decoder, Limits};
use super::wire::{Body, ErrorObject, Text};
use crate::error::{Error, Reason, Sent, Upstream, Violation};
use crate::secret::Secret;

/// The longest wait that a server may ask of us. More is not believed: a caller would be gone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How long DashScope takes to read a file that it was just given.
const MEDIA_READY: Duration = Duration::from_secs(2);

/// Names of one word that are said of nothing else.
const PLAIN_NAMES: &[&str] = &["temperature", "modalities", "logprobs"];

/// The most fields that are named: more is a message that lists all there are.
const MAX_VIOLATIONS: usize = 4;

/// What was said of a fault.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) request_id: &'a str,
    pub(super) http_status: u16,
    pub(super) param: &'a str,
}

impl<'a> Said<'a> {
    /// The fault in an answer or event, if there is one in it.
    pub(super) fn in_body(body: &'a Body<'_>, error: &'a ErrorObject<'_>) -> Option<Self> {
        let code = first_said([
            Text::or_empty(&body.code),
            Text::or_empty(&error.code),
            Text::or_empty(&error.kind),
        ]);
        let message = first_said([
            Text::or_empty(&body.message),
            Text::or_empty(&error.message),
        ]);
        if code.is_empty() && message.is_empty() {
            return None;
        }
        Some(Self {
            code,
            message,
            request_id: Text::or_empty(&body.request_id),
            http_status: 0,
            param: Text::or_empty(&error.param),
        })
    }

    /// The error that it is.
    pub(super) fn error(self, sent: Sent) -> Error {
        let reason = self.reason();
        let sent = match (reason, sent) {
            // The model worked until DashScope gave up.
            (Reason::UpstreamTimeout, Sent::Refused) => Sent::Maybe,
            _ => sent,
        };
        let mut error = Error::new(reason, words(reason))
            .with_sent(sent)
            .with_upstream(Upstream {
                code: self.code.to_owned(),
                http_status: self.http_status,
                request_id: self.request_id.to_owned(),
                message: Secret::new(self.message),
            });
        if reason == Reason::MediaNotReady {
            error = error.with_retry_after(MEDIA_READY);
        }
        if matches!(reason, Reason::UpstreamRejected | Reason::ModelCapability) {
            error = self.violations().fold(error, Error::with_violation);
        }
        error
    }

    fn reason(self) -> Reason {
        let message = self.message.to_ascii_lowercase();
        let wrapped = unwrap(self.message);
        let inner = wrapped.and_then(|(status, code)| known(code, &message, status));
        inner
            .or_else(|| known(self.code, &message, self.http_status))
            .unwrap_or_else(|| match (self.http_status, wrapped) {
                (0 | 200, Some((status, _))) => by_status(status),
                (status, _) => by_status(status),
            })
    }

    fn violations(self) -> impl Iterator<Item = Violation> {
        let message = self.message.to_ascii_lowercase();
        FIELDS
            .iter()
            .filter(move |(name, _)| *name == self.param || is_named(&message, name))
            .take(MAX_VIOLATIONS)
            .map(|(_, field)| Violation {
                field: (*field).to_owned(),
                description: "dashscope refused its value".to_owned(),
            })
    }
}

/// The error of an answer whose status is not one of success. The body may be JSON, events, HTML or
/// nothing, whatever its content type says.
pub(super) fn of_answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let error = of_json(status, headers, body)
        .or_else(|| of_events(status, headers, body))
        .unwrap_or_else(|| {
            let said = Said {
                http_status: status,
                request_id: request_id(headers),
                ..Said::default()
            };
            said.error(Sent::Refused)
        });
    match retry_after(headers, SystemTime::now()) {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

fn of_json(status: u16, headers: &HeaderMap, body: &[u8]) -> Option<Error> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let error = error_object(&body);
    let mut said = Said::in_body(&body, &error)?;
    said.http_status = status;
    if said.request_id.is_empty() {
        said.request_id = request_id(headers);
    }
    Some(said.error(Sent::Refused))
}

fn of_events(status: u16, headers: &HeaderMap, body: &[u8]) -> Option<Error> {
    let mut decoder = Decoder::new(Limits {
        line_bytes: body.len(),
        event_bytes: body.len(),
    });
    decoder.push(bytes::Bytes::copy_from_slice(body));
    decoder.end();
    let frame = decoder.next().ok()??;
    of_json(frame.http_status.unwrap_or(status), headers, &frame.data)
}

/// The object of `{"error": {...}}`, or an empty one.
pub(super) fn error_object<'a>(body: &Body<'a>) -> ErrorObject<'a> {
    body.error
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// An answer that cannot be read.
pub(super) fn unreadable(what: &'static str, sent: Sent) -> Error {
    Error::new(Reason::UpstreamProtocol, words(Reason::UpstreamProtocol))
        .with_sent(sent)
        .with_source(what)
}

/// An answer that ended too early.
pub(super) fn truncated(what: &'static str, sent: Sent) -> Error {
    Error::new(
        Reason::StreamTruncated,
        "dashscope's answer ended before it was complete",
    )
    .with_sent(sent)
    .with_source(what)
}

/// DashScope's name of a call, from the head of the answer.
pub(super) fn request_id(headers: &HeaderMap) -> &str {
    headers
        .get("x-request-id")
        .or_else(|| headers.get("x-dashscope-requestid"))
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// How long the server asks to wait.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let delay = match text("retry-after-ms").and_then(|ms| ms.parse().ok()) {
        Some(ms) => Duration::from_millis(ms),
        None => {
            let value = text("retry-after")?;
            match value.parse() {
                Ok(seconds) => Duration::from_secs(seconds),
                Err(_) => {
                    let date = httpdate::parse_http_date(value).ok()?;
                    date.duration_since(now).unwrap_or_default()
                }
            }
        }
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

/// The status and code of a fault that was wrapped: `<400> InternalError.Algo.X: words`.
fn unwrap(message: &str) -> Option<(u16, &str)> {
    let (status, rest) = message.trim_start().strip_prefix('<')?.split_once('>')?;
    let status = status.parse().ok()?;
    let (code, _) = rest.trim_start().split_once(':')?;
    (!code.contains(' ')).then_some((status, code))
}

fn words(reason: Reason) -> &'static str {
    WORDS
        .iter()
        .find(|(known, _)| *known == reason)
        .map_or_else(|| reason.meaning(), |(_, words)| words)
}

/// Whether a message in lower case speaks of a parameter. A name that is also a word of English must be
/// marked as a name: quoted, after a dot, or in "range of seed".
fn is_named(message: &str, name: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    message.match_indices(name).any(|(at, _)| {
        let (before, after) = (message.get(..at), message.get(at + name.len()..));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let whole = !before.ends_with(in_word) && !after.starts_with(in_word);
        let marked = before.ends_with(['"', '\'', '`', '.', '['])
            || before.ends_with("range of ")
            || before.ends_with("parameter ");
        whole && (marked || name.contains('_') || PLAIN_NAMES.contains(&name))
    })
}

fn first_said<const N: usize>(texts: [&str; N]) -> &str {
    texts
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}
