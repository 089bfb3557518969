//! Converts DashScope's errors to [`Error`].
//!
//! The tables are in `error_codes.rs` and `error_phrases.rs`, with the precedence of code, phrases
//! and HTTP status. The status in an event's comment takes precedence over that of the response.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::answer_json::{Body, ErrorObject, Output, Raw};
use super::error_codes::{Meaning, Row, by_code, by_status};
use super::error_fields;
use super::error_messages::MESSAGES;
use super::json_fields::Fields;
use super::json_text::Text;
use super::json_tree::any_document;
use super::lenient;
use super::sse::{Decoder, Limits};
use super::usage;
use crate::chat::document::Document;
use crate::error::{Error, Kind, Reason, Scope, Sent, Upstream};
use crate::http1::headers::Headers;
use crate::secret::Secret;
use crate::untrusted;

/// The maximum `Retry-After` that is passed on. Callers would not wait longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How long DashScope takes to make a newly uploaded file readable.
const MEDIA_READY: Duration = Duration::from_secs(2);

/// The fields of an error response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorReport<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) request_id: &'a str,
    pub(super) http_status: u16,
    pub(super) param: &'a str,
}

impl<'a> ErrorReport<'a> {
    /// The error in a body or event, if it has one.
    pub(super) fn in_body(body: &'a Body<'_>, error: &'a ErrorObject<'_>) -> Option<Self> {
        // A task that failed has its error in an output without an answer.
        let is_task = |output: &&Output<'_>| {
            !output.has_content() && output.extra.value("task_status").is_some()
        };
        let failed = body.output.as_ref().filter(is_task);
        let of_task = |key| match failed.and_then(|output| output.extra.value(key)) {
            Some(Document::String(text)) => text.as_str(),
            _ => "",
        };
        let of_body = |key| match body.extra.value(key) {
            Some(Document::String(text)) => text.as_str(),
            _ => "",
        };
        let is_bare = body.output.is_none() && body.usage.is_none();
        // OpenAI-style servers have an HTTP status as the code, and a name as the type. SGLang has
        // the status as both.
        let codes = [&body.code, &error.code, &error.kind].map(Text::or_empty);
        let status = codes.into_iter().chain([of_body("type")]);
        let http_status = status.filter_map(http_status).next().unwrap_or_default();
        let kind = match http_status {
            0 => "",
            _ => of_body("type"),
        };
        let [code, error_code, error_kind] = codes;
        let names = [code, error_code, error_kind, kind, of_task("code")];
        let code = first_said(names.map(|name| match self::http_status(name) {
            Some(_) => "",
            None => name,
        }));
        let message = first_said([
            Text::or_empty(&body.message),
            Text::or_empty(&error.message),
            of_task("message"),
            if is_bare {
                said(body.extra.value("detail"))
            } else {
                ""
            },
        ]);
        if code.is_empty() && message.is_empty() && http_status < 400 {
            return None;
        }
        Some(Self {
            code,
            message,
            request_id: Text::or_empty(&body.request_id),
            http_status,
            param: Text::or_empty(&error.param),
        })
    }

    /// Converts it to an [`Error`].
    pub(super) fn error(self, sent: Sent) -> Error {
        let Meaning { reason, scope } = self.meaning();
        let sent = match (reason, sent) {
            // The model was running until DashScope's timeout.
            (Reason::UpstreamTimeout, Sent::Refused) => Sent::Maybe,
            _ => sent,
        };
        let says_nothing = self.code.is_empty() && self.message.is_empty();
        let is_bare = says_nothing && self.http_status == 400;
        let message = if is_bare { BARE_REFUSAL } else { words(reason) };
        let mut error = Error::new(reason, message)
            .with_sent(sent)
            .with_upstream(Upstream {
                scope,
                code: self.shown_code(),
                http_status: self.http_status,
                request_id: untrusted::id(self.request_id),
                message: Secret::new(untrusted::message(self.message)),
            });
        if reason == Reason::MediaNotReady {
            error = error.with_retry_after(MEDIA_READY);
        }
        if reason.kind() == Kind::Invalid {
            let violations = error_fields::violations(self.message, self.param);
            error = violations.into_iter().fold(error, Error::with_violation);
        }
        error
    }

    /// The code in printable form. One of the table's is known text, spaces included.
    fn shown_code(self) -> String {
        match by_code(self.code, self.http_status) {
            Some(row) if row.code == self.code => row.code.to_owned(),
            _ => untrusted::code(self.code),
        }
    }

    /// Its reason and scope.
    pub(super) fn meaning_of(self) -> (Reason, Scope) {
        let Meaning { reason, scope } = self.meaning();
        (reason, scope)
    }

    fn meaning(self) -> Meaning {
        let message = self.message.to_ascii_lowercase();
        if self.http_status == 404 && self.code.is_empty() && message == NO_SUCH_PATH {
            return Meaning {
                reason: Reason::GatewayConfig,
                scope: Scope::Call,
            };
        }
        let wrapped = unwrap(self.message);
        let Some(row) = by_code(self.code, self.http_status) else {
            let status = match (self.http_status, wrapped) {
                (0 | 200, Some((status, _))) if self.code.is_empty() => {
                    // A phrase alone never means that a key was refused.
                    return call_only(by_status(status).meaning(&message));
                }
                (status, _) => status,
            };
            return by_status(status).meaning(&message);
        };
        // A code inside the message is part of its text.
        let inner = wrapped.and_then(|(status, code)| Some((status, by_code(code, status)?)));
        match inner {
            Some((status, inner)) if inner.is_internal() && row.scope == Scope::Call => {
                beside_internal(row, inner, status, &message)
            }
            Some((_, inner)) if row.scope == Scope::Call && inner.scope == Scope::Call => {
                inner.meaning(&message)
            }
            // Retryable, as the inner code says, but without pausing the model: it comes from a
            // message.
            Some((_, inner)) if row.is_internal() && inner.reason == Reason::UpstreamRate => {
                call_only(inner.meaning(&message))
            }
            _ => row.meaning(&message),
        }
    }
}

/// The meaning of a code whose message wraps another that only reports an internal failure: the
/// status beside the wrapped code is more specific.
fn beside_internal(row: &Row, inner: &Row, status: u16, message: &str) -> Meaning {
    let by_words = row.meaning(message);
    let is_input = row.reason == Reason::UpstreamRejected;
    match status {
        // The two that are transient and do not concern the request.
        408 | 429 => call_only(by_status(status).meaning(message)),
        400..=499 if row.is_internal() && by_words.reason == row.reason => {
            call_only(by_status(status).meaning(message))
        }
        // DashScope reports failures of its models as invalid parameters, and nothing else.
        500.. if is_input => inner.meaning(message),
        _ => by_words,
    }
}

/// The meaning with the scope of the call. A reason with a wider scope becomes unknown.
fn call_only(meaning: Meaning) -> Meaning {
    match meaning.scope {
        Scope::Call => meaning,
        Scope::Model | Scope::Account => Meaning {
            reason: if meaning.reason == Reason::UpstreamRate {
                Reason::UpstreamRate
            } else {
                Reason::UpstreamUnknown
            },
            scope: Scope::Call,
        },
    }
}

/// The error of a response whose status is not a success. The body may be JSON, events, HTML or
/// empty, whatever its content type.
pub fn of_answer(status: u16, headers: &Headers, body: &[u8]) -> Error {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let error = of_json(status, headers, body)
        .or_else(|| of_events(status, headers, body))
        .unwrap_or_else(|| {
            let report = ErrorReport {
                http_status: status,
                request_id: request_id(headers),
                ..ErrorReport::default()
            };
            report.error(Sent::Refused)
        });
    match retry_after(headers, SystemTime::now()) {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

fn of_json(status: u16, headers: &Headers, body: &[u8]) -> Option<Error> {
    let text = String::from_utf8_lossy(body);
    let body = lenient::read(&text)?;
    let error = error_object(&body);
    let mut report = ErrorReport::in_body(&body, &error)?;
    report.http_status = status;
    if report.request_id.is_empty() {
        report.request_id = request_id(headers);
    }
    let counts = body.usage.and_then(|Raw(counts)| usage::read(counts));
    let usage = counts.map(|(usage, _)| Arc::new(usage));
    Some(report.error(Sent::Refused).with_usage(usage))
}

fn of_events(status: u16, headers: &Headers, body: &[u8]) -> Option<Error> {
    let mut decoder = Decoder::new(Limits {
        line_bytes: body.len(),
        event_bytes: body.len(),
    });
    decoder.push(bytes::Bytes::copy_from_slice(body));
    decoder.end();
    let frame = decoder.next().ok()??;
    of_json(frame.http_status.unwrap_or(status), headers, &frame.data)
}

/// The message of Python's web frameworks for a path that they do not have.
const NO_SUCH_PATH: &str = "not found";

/// The HTTP status that a code is.
fn http_status(code: &str) -> Option<u16> {
    let status = code.parse().ok();
    status.filter(|status| code.len() == 3 && (100..=599).contains(status))
}

/// A refusal without code and message: speech recognition models return `400 {}` when a parameter
/// is missing or the audio has no speech.
const BARE_REFUSAL: &str = "DashScope refused the request and gave no reason: a parameter of the \
                            model may be missing, or the audio holds no speech; speech \
                            recognition models require format, sample_rate or language_hints in \
                            options.extra_parameters";

/// The object of `{"error": {...}}`, or an empty one.
pub(super) fn error_object<'a>(body: &Body<'a>) -> ErrorObject<'a> {
    let Some(raw) = body.error else {
        return ErrorObject::default();
    };
    serde_json::from_str(raw.get()).unwrap_or_else(|_| lenient_error(raw.get()))
}

/// Parses the value of `error`: an object, or a message alone.
fn lenient_error(json: &str) -> ErrorObject<'static> {
    match any_document(json).map(|(document, _)| document) {
        Some(Document::Object(object)) => {
            let mut fields = Fields::from(object);
            ErrorObject {
                code: fields.text("code"),
                kind: fields.text("type"),
                message: fields.text("message"),
                param: fields.text("param"),
            }
        }
        Some(Document::String(message)) => ErrorObject {
            message: Some(Text(Cow::Owned(message))),
            ..ErrorObject::default()
        },
        _ => ErrorObject::default(),
    }
}

/// The error of a response that cannot be decoded.
pub(super) fn unreadable(what: &'static str, sent: Sent) -> Error {
    Error::new(Reason::UpstreamProtocol, words(Reason::UpstreamProtocol))
        .with_sent(sent)
        .with_source(what)
}

/// The error of a response that ended too early.
pub(super) fn truncated(what: &'static str, sent: Sent) -> Error {
    Error::new(
        Reason::StreamTruncated,
        "DashScope's answer ended before it was complete",
    )
    .with_sent(sent)
    .with_source(what)
}

/// DashScope's request id, from the response headers.
pub(crate) fn request_id(headers: &Headers) -> &str {
    let mut values = ["x-request-id", "x-dashscope-requestid"].into_iter();
    values
        .find_map(|name| headers.text(name))
        .unwrap_or_default()
}

/// The delay in `Retry-After`.
fn retry_after(headers: &Headers, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.text(name).map(str::trim);
    let delay = match text("retry-after-ms").and_then(|ms| ms.parse().ok()) {
        Some(ms) => Duration::from_millis(ms),
        None => {
            let value = text("retry-after")?;
            // HTTP allows whole seconds only; similar servers send fractions.
            let seconds = value.parse().ok();
            match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                Some(delay) => delay,
                None => {
                    let date = httpdate::parse_http_date(value).ok()?;
                    date.duration_since(now).unwrap_or_default()
                }
            }
        }
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

/// The status and code of a wrapped error: `<400> InternalError.Algo.X: words`.
fn unwrap(message: &str) -> Option<(u16, &str)> {
    let (status, rest) = message.trim_start().strip_prefix('<')?.split_once('>')?;
    let status = status.parse().ok()?;
    let (code, _) = rest.trim_start().split_once(':')?;
    (!code.contains(' ')).then_some((status, code))
}

/// The message for callers.
pub(crate) fn words(reason: Reason) -> &'static str {
    MESSAGES
        .iter()
        .find(|(known, _)| *known == reason)
        .map_or_else(|| reason.meaning(), |(_, words)| words)
}

/// The text of `detail`, as Python's web frameworks write it: a string, an object with a message,
/// or a list of them with one for each wrong field.
fn said(detail: Option<&Document>) -> &str {
    const TEXTS: [&str; 3] = ["msg", "message", "error"];
    let detail = match detail {
        Some(Document::List(all)) => all.first(),
        detail => detail,
    };
    match detail {
        Some(Document::String(text)) => text,
        Some(Document::Object(object)) => {
            let mut texts = TEXTS.iter().filter_map(|key| object.value(key));
            texts
                .find_map(|value| {
                    let Document::String(text) = value else {
                        return None;
                    };
                    Some(text.as_str())
                })
                .unwrap_or_default()
        }
        _ => "",
    }
}

fn first_said<const N: usize>(texts: [&str; N]) -> &str {
    texts
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashscope::error_phrases::{LISTS, QUOTA};
    use crate::error::Reason::*;

    fn error(status: u16, code: &str, message: &str) -> Error {
        let body = serde_json::json!({ "code": code, "message": message, "request_id": "r" });
        of_answer(status, &Headers::default(), body.to_string().as_bytes())
    }

    /// Every documented code of DashScope.
    const CODES: &[(&str, Reason)] = &[
        ("InvalidParameter", UpstreamRejected),
        ("invalid_parameter_error", UpstreamRejected),
        ("invalid_request_error", UpstreamRejected),
        ("invalid_value", UpstreamRejected),
        ("BadRequest.EmptyInput", UpstreamRejected),
        ("BadRequest.EmptyParameters", UpstreamRejected),
        ("BadRequest.EmptyModel", UpstreamRejected),
        ("BadRequest.IllegalInput", UpstreamRejected),
        ("InvalidSchemaFormat", UpstreamRejected),
        ("InternalError.Algo.InvalidParameter", UpstreamRejected),
        ("ModelNotFound", ModelNotFound),
        ("model_not_found", ModelNotFound),
        ("InvalidParameter.DataInspection", MediaUnreachable),
        ("InvalidURL.Timeout", MediaUnreachable),
        ("InvalidURL.ConnectionRefused", MediaUnreachable),
        ("BadRequest.InputDownloadFailed", MediaUnreachable),
        ("InvalidFile.DownloadFailed", MediaUnreachable),
        ("InvalidURL", MediaUrl),
        ("InvalidFile.Format", MediaFormat),
        ("InvalidFile.Duration", MediaFormat),
        ("InvalidFile.AudioLengthError", MediaFormat),
        ("InvalidFile.Openerror", MediaFormat),
        ("BadRequest.UnsupportedFileFormat", MediaFormat),
        ("Audio.DecoderError", MediaFormat),
        ("Audio.AudioRateError", MediaFormat),
        ("Audio.DurationLimitError", MediaFormat),
        ("Audio.PreprocessError", MediaFormat),
        ("InvalidFile.Size", MediaTooLarge),
        ("BadRequest.TooLarge", MediaTooLarge),
        ("DataInspectionFailed", ContentBlocked),
        ("data_inspection_failed", ContentBlocked),
        ("IPInfringementSuspect", ContentBlocked),
        ("FaqRuleBlocked", ContentBlocked),
        ("CustomRoleBlocked", ContentBlocked),
        ("Arrearage", UpstreamBilling),
        ("PrepaidBillOverdue", UpstreamBilling),
        ("PostpaidBillOverdue", UpstreamBilling),
        ("CommodityNotPurchased", UpstreamBilling),
        ("AccessDenied.Unpurchased", UpstreamBilling),
        ("AllocationQuota.FreeTierOnly", UpstreamBilling),
        ("InvalidFile.NoHuman", MediaContent),
        ("InvalidImage.FullFace", MediaContent),
        ("InvalidPerson", MediaContent),
        ("InvalidGarment", MediaContent),
        ("InvalidInputLength", MediaContent),
        ("BadRequestException", MediaContent),
        ("BadRequest.ResourceNotExist", ResourceNotFound),
        ("BadRequest.VoiceNotFound", ResourceNotFound),
        ("FlowNotPublished", UpstreamApp),
        ("APIConnectionError", UpstreamInternal),
        ("UnsupportedOperation", UnsupportedOperation),
        ("model_not_supported", UnsupportedOperation),
        ("ClientDisconnect", UpstreamInternal),
        ("InvalidApiKey", UpstreamCredential),
        ("invalid_api_key", UpstreamCredential),
        ("NOT AUTHORIZED", UpstreamCredential),
        ("AccessDenied", UpstreamPermission),
        ("access_denied", UpstreamPermission),
        ("Model.AccessDenied", UpstreamPermission),
        ("App.AccessDenied", UpstreamPermission),
        ("Workspace.AccessDenied", UpstreamPermission),
        ("WorkSpaceNotFound", GatewayConfig),
        ("RequestTimeOut", UpstreamTimeout),
        ("ResponseTimeout", UpstreamTimeout),
        ("InternalError.Timeout", UpstreamTimeout),
        ("Throttling", UpstreamRate),
        ("Throttling.RateQuota", UpstreamRate),
        ("LimitRequests", UpstreamRate),
        ("limit_requests", UpstreamRate),
        ("Throttling.BurstRate", UpstreamBurst),
        ("limit_burst_rate", UpstreamBurst),
        ("Throttling.AllocationQuota", UpstreamTokens),
        ("insufficient_quota", UpstreamTokens),
        ("InternalError", UpstreamInternal),
        ("internal_error", UpstreamInternal),
        ("InternalError.Algo", UpstreamInternal),
        ("SystemError", UpstreamInternal),
        ("ModelServiceFailed", UpstreamInternal),
        ("RewriteFailed", UpstreamInternal),
        ("InternalError.FileUpload", UpstreamStorage),
        ("InternalError.Upload", UpstreamStorage),
        ("InvokePluginFailed", UpstreamApp),
        ("AppProcessFailed", UpstreamApp),
        ("RetrievalFailed", UpstreamApp),
        ("ModelServingError", UpstreamOverloaded),
        ("ModelUnavailable", UpstreamOverloaded),
        ("ServiceUnavailableError", UpstreamOverloaded),
    ];

    #[test]
    fn every_documented_code_is_in_the_table() {
        for (code, reason) in CODES {
            // 418 is not in the table, so that the code alone decides.
            assert_eq!(by_code(code, 418).unwrap().reason, *reason, "{code}");
            assert_eq!(error(418, code, "x").reason(), *reason, "{code}");
        }
    }

    /// Codes whose meaning depends on the message.
    const SAYINGS: &[(u16, &str, &str, Reason)] = &[
        (
            400,
            "InvalidParameter",
            "This model only support stream mode, please",
            StreamOnly,
        ),
        (
            400,
            "InvalidParameter",
            "current user api does not support http call.",
            StreamOnly,
        ),
        (
            400,
            "InvalidParameter",
            "'audio' output only support with stream=true",
            StreamOnly,
        ),
        (
            400,
            "InvalidParameter",
            "parameter.enable_thinking must be set to false for non-streaming calls",
            StreamOnly,
        ),
        (
            400,
            "InvalidParameter",
            "Range of input length should be [1, 6000]",
            ContextTooLong,
        ),
        (400, "InvalidParameter", "Model not exist.", ModelNotFound),
        (
            400,
            "InvalidParameter",
            "File parsing in progress, try later",
            MediaNotReady,
        ),
        (
            400,
            "InvalidParameter",
            "<400> InternalError.Algo.InvalidParameter: Failed to download multimodal content",
            MediaUnreachable,
        ),
        (400, "InvalidParameter", "The audio is empty", MediaFormat),
        (
            400,
            "InvalidParameter",
            "The provided URL does not appear to be valid.",
            MediaUrl,
        ),
        (
            400,
            "InvalidParameter",
            "Exceeded limit on max bytes per data-uri item : 10485760'.",
            MediaTooLarge,
        ),
        (
            400,
            "InvalidParameter",
            "Don't have authorization to access the media resource",
            MediaExpired,
        ),
        (
            403,
            "AccessDenied",
            "Invalid according to Policy: Policy expired.",
            MediaExpired,
        ),
        (
            403,
            "AccessDenied",
            "Current user api does not support asynchronous calls.",
            GatewayBug,
        ),
        (404, "NotFound", "Request path not found", GatewayConfig),
        (
            429,
            "Throttling.AllocationQuota",
            "Allocated quota exceeded",
            UpstreamTokens,
        ),
        (
            429,
            "Throttling.AllocationQuota",
            "Free allocated quota exceeded.",
            UpstreamBilling,
        ),
        (
            400,
            "Throttling.AllocationQuota",
            "too many voices",
            UpstreamQuota,
        ),
        (
            500,
            "InternalError.Algo",
            "list index out of range",
            UpstreamRejected,
        ),
        (
            500,
            "InternalError.Algo",
            "Missing Content-Length of multimodal url",
            MediaUnreachable,
        ),
        (
            500,
            "InternalError.Algo",
            "Expecting ',' delimiter: line 1",
            ModelOutput,
        ),
        (
            400,
            "ServiceUnavailableError",
            "Role must be user or assistant",
            UpstreamRejected,
        ),
        (
            500,
            "InternalError.Algo",
            "<400> InternalError.Algo.InvalidParameter: bad",
            UpstreamRejected,
        ),
        (200, "", "Too many requests, slow down", UpstreamRate),
        (
            400,
            "InvalidParameter",
            "This model only supports stream mode",
            StreamOnly,
        ),
        (
            400,
            "InvalidParameter",
            "This model does not support stream mode",
            WholeOnly,
        ),
        (
            400,
            "InvalidParameter",
            "incremental_output must be true when thinking",
            ModelCapability,
        ),
        (
            400,
            "InvalidParameter",
            "The prompt does not comply with Green Network rules",
            ContentBlocked,
        ),
        (
            400,
            "InvalidParameter",
            "The lyrics content is illegal",
            ContentBlocked,
        ),
        (
            400,
            "InvalidParameter",
            "The image download failed",
            MediaUnreachable,
        ),
        (
            400,
            "InvalidParameter",
            "oss download error",
            MediaUnreachable,
        ),
        (
            400,
            "InvalidParameter",
            "The file exceeds size limit",
            MediaTooLarge,
        ),
        (
            400,
            "InvalidParameter",
            "The file exceeds page limits",
            MediaTooLarge,
        ),
        (
            400,
            "InvalidParameter",
            "The size of input image is too small or too large",
            MediaFormat,
        ),
        (400, "InvalidParameter", "video read error", MediaFormat),
        (400, "InvalidParameter", "image format error", MediaFormat),
        (
            403,
            "AccessDenied",
            "Current user api does not support synchronous calls.",
            GatewayBug,
        ),
        (
            429,
            "Throttling.AllocationQuota",
            "The voice storage limit is reached",
            UpstreamQuota,
        ),
        (500, "Brand.New", "The rate limit was hit", UpstreamRate),
        // Of OpenAI-style servers.
        (
            400,
            "BadRequestError",
            "This model's maximum context length is 4096 tokens",
            ContextTooLong,
        ),
        (
            400,
            "BadRequestError",
            "The input (9 tokens) is longer than the model's context length (8 tokens)",
            ContextTooLong,
        ),
        (
            400,
            "BadRequestError",
            "The decoder prompt is longer than the maximum model length of 8",
            ContextTooLong,
        ),
        (
            400,
            "BadRequestError",
            "Unsupported output modalities: smell",
            ModelCapability,
        ),
        (
            400,
            "BadRequestError",
            "Qwen3 is not a multimodal model",
            ModelCapability,
        ),
        (
            400,
            "BadRequestError",
            "At most 1 audio(s) may be provided in one prompt",
            ModelCapability,
        ),
        (
            400,
            "BadRequestError",
            "\"auto\" tool choice requires --enable-auto-tool-choice to be set",
            ModelCapability,
        ),
        (
            400,
            "BadRequestError",
            "cannot identify image file",
            MediaFormat,
        ),
        (
            400,
            "BadRequestError",
            "Invalid or unsupported audio file.",
            MediaFormat,
        ),
        (
            500,
            "InternalServerError",
            "Error opening <_io.BytesIO>: Format not recognised.",
            MediaFormat,
        ),
        (503, "", "The request queue is full.", UpstreamOverloaded),
        (
            200,
            "",
            "Unexpected endpoint or method. (POST /chat/completions)",
            GatewayConfig,
        ),
    ];

    /// The messages of the samples here and of the table that drives the whole gateway.
    fn sample_messages() -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/error_table.txt");
        let table = std::fs::read_to_string(path).unwrap();
        let rows = table.lines().filter(|line| !line.starts_with('#'));
        let rows = rows.map(|row| row.split(" | ").nth(2).unwrap());
        let sayings = SAYINGS.iter().map(|(_, _, message, _)| *message);
        rows.chain(sayings).map(str::to_lowercase).collect()
    }

    #[test]
    fn every_phrase_occurs_in_a_sample() {
        let messages = sample_messages();
        let lists = LISTS.iter().chain([&QUOTA]).copied().flatten();
        let unused: Vec<_> = lists
            .map(|(phrase, _)| *phrase)
            .filter(|phrase| !messages.iter().any(|message| message.contains(phrase)))
            .collect();
        assert!(unused.is_empty(), "no sample has {unused:?}");
    }

    #[test]
    fn phrases_refine_ambiguous_codes() {
        for (status, code, message, reason) in SAYINGS {
            let seen = error(*status, code, message).reason();
            assert_eq!(seen, *reason, "{code} {message}");
        }
    }

    /// DashScope's message for text rejected by content inspection.
    const BLOCKED: &str = "<400> InternalError.Algo.DataInspectionFailed: inappropriate content";

    /// Wrapping codes: the code that refused the call is more specific than its wrapper.
    const WRAPPED: &[(&str, &str, Reason)] = &[
        ("data_inspection_failed", BLOCKED, ContentBlocked),
        ("DataInspectionFailed", BLOCKED, ContentBlocked),
        ("InvalidParameter", BLOCKED, ContentBlocked),
        ("InternalError.Algo", BLOCKED, ContentBlocked),
        (
            "InternalError.Algo.DataInspectionFailed",
            "",
            ContentBlocked,
        ),
        (
            "ModelNotFound",
            "<404> InternalError.Algo.ModelNotFound: m",
            ModelNotFound,
        ),
        (
            "ModelNotFound",
            "<404> InternalError.Algo.NewCode: m",
            ModelNotFound,
        ),
        (
            "InvalidParameter",
            "<400> InternalError.Algo.NewCode: m",
            UpstreamRejected,
        ),
        (
            "InternalError.Algo",
            "<400> InternalError.Algo.NewCode: m",
            UpstreamRejected,
        ),
        (
            "InternalError.Algo",
            "<500> InternalError.Algo: m",
            UpstreamInternal,
        ),
        (
            "InternalError",
            "<400> InternalError.Algo.InvalidParameter: m",
            UpstreamRejected,
        ),
        (
            "internal_error",
            "<400> InternalError.Algo.NewCode: m",
            UpstreamRejected,
        ),
        (
            "DataInspectionFailed",
            "<500> InternalError.Algo: m",
            ContentBlocked,
        ),
        (
            "InvalidParameter",
            "<500> InternalError.Algo: m",
            UpstreamInternal,
        ),
        (
            "InternalError.Timeout",
            "<500> InternalError.Algo: m",
            UpstreamTimeout,
        ),
        (
            "InternalError.Algo",
            "<429> InternalError.Algo: m",
            UpstreamRate,
        ),
        (
            "InternalError.Algo",
            "<429> InternalError.Algo.Throttling: m",
            UpstreamRate,
        ),
        (
            "InvalidParameter",
            "<429> InternalError.Algo: m",
            UpstreamRate,
        ),
        (
            "InternalError",
            "<408> InternalError.Algo: m",
            UpstreamTimeout,
        ),
        // Never the account, whatever the message says.
        ("InternalError.Algo.InvalidApiKey", "", UpstreamInternal),
    ];

    #[test]
    fn u27_a_wrapped_code_never_turns_a_refusal_into_an_internal_failure() {
        for (code, message, reason) in WRAPPED {
            let seen = error(400, code, message);
            assert_eq!(seen.reason(), *reason, "{code} {message}");
            assert_eq!(seen.upstream().unwrap().scope, Scope::Call);
        }
    }

    #[test]
    fn u10_a_body_of_unknown_format_is_classified_by_its_status() {
        for (status, reason) in [
            (302, UpstreamProtocol),
            (400, UpstreamRejected),
            (401, UpstreamCredential),
            (403, UpstreamPermission),
            (404, ResourceNotFound),
            (408, UpstreamTimeout),
            (409, UpstreamConflict),
            (413, MediaTooLarge),
            (429, UpstreamRate),
            (500, UpstreamUnknown),
            (502, UpstreamUnknown),
            (503, UpstreamUnknown),
            (504, UpstreamTimeout),
        ] {
            for body in [
                "",
                "<html>nginx</html>",
                "{",
                "{}",
                "[1]",
                "null",
                "\u{feff}",
            ] {
                let error = of_answer(status, &Headers::default(), body.as_bytes());
                assert_eq!(error.reason(), reason, "{status} {body}");
                assert_eq!(error.upstream().unwrap().http_status, status);
            }
            assert_eq!(error(status, "NewCode", "?").reason(), reason, "{status}");
        }
    }

    #[test]
    fn an_error_is_found_in_every_format_of_body() {
        for body in [
            r#"{"code":"Arrearage","message":"m","request_id":"r"}"#,
            "\u{feff}{\"request_id\":\"r\",\"message\":\"m\",\"code\":\"Arrearage\"}\n",
            r#"{"request_id":"r","error":{"code":"Arrearage","message":"m","type":"x"}}"#,
            r#"{"request_id":"r","error":{"type":"Arrearage","message":"m","code":null}}"#,
            r#"{"request_id":"r","error":{"code":"Arrearage","message":"m","param":[5]}}"#,
            r#"{"code":"Arrearage","code":"Arrearage","message":"m","request_id":"r"}"#,
            r#"{"code":"Arrearage","message":"m","request_id":"r","output":"?","usage":7}"#,
            r#"{"code":"Arrearage","error":"m","request_id":"r"}"#,
            "id:1\nevent:error\n\
             data:{\"code\":\"Arrearage\",\"message\":\"m\",\"request_id\":\"r\"}\n",
        ] {
            let error = of_answer(400, &Headers::default(), body.as_bytes());
            assert_eq!(error.reason(), Reason::UpstreamBilling, "{body}");
            assert_eq!(error.sent(), Sent::Refused);
            let upstream = error.upstream().unwrap();
            assert_eq!((&*upstream.code, &*upstream.request_id), ("Arrearage", "r"));
            assert_eq!(upstream.message.expose(), "m");
            assert!(!error.to_string().contains("m\""));
        }
    }

    #[test]
    fn messages_of_dashscope_are_not_passed_on() {
        let error = error(400, "InvalidParameter", "canary: my secret diary");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn a_timeout_of_dashscope_counts_as_possibly_executed() {
        assert_eq!(error(500, "RequestTimeOut", "x").sent(), Sent::Maybe);
        assert_eq!(error(500, "InternalError", "x").sent(), Sent::Refused);
    }

    #[test]
    fn retry_after_is_parsed_in_every_format_and_bounded() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap();
        let seconds = |s| Some(Duration::from_secs(s));
        for (name, value, expected) in [
            ("retry-after", "7", seconds(7)),
            ("retry-after", " 7 ", seconds(7)),
            ("retry-after", "86400", seconds(60)),
            ("retry-after", "0.1", Some(Duration::from_millis(100))),
            ("retry-after", "NaN", None),
            ("retry-after", "Sun, 22 Nov 2026 10:00:30 GMT", seconds(30)),
            ("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT", seconds(0)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after-ms", "250", Some(Duration::from_millis(250))),
            ("x-other", "7", None),
        ] {
            let mut headers = Headers::default();
            headers.add(name, value.as_bytes());
            assert_eq!(retry_after(&headers, now), expected, "{name}: {value}");
        }
    }

    #[test]
    fn the_detail_of_a_web_framework_is_the_message() {
        let list = r#"{"detail":[{"loc":["body","x"],"msg":"field required","type":"missing"}]}"#;
        let object = r#"{"detail":{"success":false,"message":"field required"}}"#;
        let text = r#"{"detail":"field required"}"#;
        for body in [list, object, text] {
            let error = of_answer(422, &Headers::default(), body.as_bytes());
            let message = error.upstream().map(|upstream| upstream.message.expose());
            assert_eq!(message, Some("field required"), "{body}");
        }
    }
}
