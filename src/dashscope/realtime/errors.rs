//! Errors of a realtime connection: refusals in events, and closed connections.

use crate::chat::live_event::UpstreamError;
use crate::dashscope::error_codes::by_code;
use crate::dashscope::errors::{ErrorReport, words};
use crate::error::{Error, Kind, Reason, Scope, Sent, Upstream, Violation};
use crate::secret::Secret;
use crate::untrusted;

/// Phrases of a message in lower case, for ends of a session that have no code of their own. The
/// first that matches applies.
const PHRASES: &[(&str, Reason)] = &[
    ("no response was generated for", Reason::SessionIdle),
    ("idle timeout", Reason::SessionIdle),
    ("maximum duration", Reason::SessionExpired),
    ("maximum session duration", Reason::SessionExpired),
    ("session timeout", Reason::SessionExpired),
    ("120 minutes", Reason::SessionExpired),
];

/// Codes of ends of a session, unless a phrase says otherwise.
const CODES: &[(&str, Reason)] = &[
    ("session_expired", Reason::SessionExpired),
    ("session_timeout", Reason::SessionExpired),
    ("idle_timeout", Reason::SessionIdle),
];

/// The keys of `session`, and the field of the setup that sets each.
const FIELDS: &[(&str, &str)] = &[
    ("session.modalities", "modalities"),
    ("session.output_modalities", "modalities"),
    ("session.instructions", "instructions"),
    ("session.voice", "voice"),
    ("session.audio.output.voice", "voice"),
    ("session.audio.output.format", "output_audio"),
    ("session.audio.input.format", "input_audio"),
    ("session.audio.input.turn_detection", "turn_detection"),
    ("session.input_audio_format", "input_audio"),
    ("session.output_audio_format", "output_audio"),
    ("session.response_format", "output_audio"),
    ("session.sample_rate", "output_audio"),
    ("session.input_audio_transcription", "input_transcription"),
    ("session.turn_detection", "turn_detection"),
    ("session.tools", "tools"),
    ("session.tool_choice", "tool_choice"),
    ("session.enable_search", "enable_search"),
    ("session.search_options", "search_options"),
    ("session.temperature", "sampling.temperature"),
    ("session.top_p", "sampling.top_p"),
    ("session.top_k", "sampling.top_k"),
    ("session.seed", "sampling.seed"),
    ("session.max_tokens", "sampling.max_tokens"),
    ("session.repetition_penalty", "sampling.repetition_penalty"),
    ("session.presence_penalty", "sampling.presence_penalty"),
];

/// Events as `param` names them, and the fields that send each.
const EVENTS: &[(&str, &str)] = &[
    ("response.create", "create_response"),
    ("response.cancel", "cancel_response"),
    ("input_audio_buffer.append", "audio"),
    ("input_audio_buffer.commit", "commit"),
    ("input_audio_buffer.clear", "clear"),
    ("input_image_buffer.append", "image"),
    ("input_text_buffer.append", "text"),
    ("input_text_buffer.commit", "commit"),
];

/// The messages of reasons that only a session has.
const MESSAGES: &[(Reason, &str)] = &[
    (
        Reason::SessionIdle,
        "DashScope ended the session: no activity for too long",
    ),
    (
        Reason::SessionExpired,
        "DashScope ended the session at its time limit",
    ),
];

/// The longest name of a key that is repeated to the caller.
const MAX_NAME: usize = 64;

/// The error of an event of type `error`.
pub fn error_of(error: &UpstreamError) -> Error {
    let report = ErrorReport {
        code: if by_code(&error.code, 0).is_some() || error.kind.is_empty() {
            &error.code
        } else {
            &error.kind
        },
        message: &error.message,
        ..ErrorReport::default()
    };
    let ended = session_end(&error.code, &error.message);
    let (reason, scope) = ended.map_or_else(|| report.meaning_of(), |of| (of, Scope::Call));
    let shown = if error.code.is_empty() {
        &error.kind
    } else {
        &error.code
    };
    let found = built(reason, scope, shown, &error.message);
    match violation(&error.param).filter(|_| reason.kind() == Kind::Invalid) {
        Some(violation) => found.with_violation(violation),
        None => found,
    }
}

/// The error of a connection that ended without being finished, with the code and the reason of the
/// close frame, or without one.
pub fn close_error(code: Option<u16>, reason: &str) -> Error {
    let name = reason.split_once(':').map_or(reason, |(name, _)| name);
    let name = name.trim();
    if let Some(of) = session_end(name, reason) {
        return built(of, Scope::Call, "", reason);
    }
    if by_code(name, 0).is_some() {
        let report = ErrorReport {
            code: name,
            message: reason,
            ..ErrorReport::default()
        };
        let (of, scope) = report.meaning_of();
        return built(of, scope, name, reason);
    }
    let of = match code {
        Some(1002 | 1003 | 1007 | 1009) => Reason::GatewayBug,
        Some(1008) => Reason::UpstreamRejected,
        Some(1011) => Reason::UpstreamInternal,
        Some(1013) => Reason::UpstreamOverloaded,
        Some(3000..) => Reason::UpstreamUnknown,
        Some(_) | None => {
            let message = "the connection to DashScope ended before the session was finished";
            let error = Error::new(Reason::StreamTruncated, message).with_sent(Sent::Begun);
            return match code {
                Some(code) => error.with_source(format_args!("close code {code}")),
                None => error.with_source("no close frame"),
            };
        }
    };
    let source = format!("close code {}", code.unwrap_or_default());
    built(of, Scope::Call, "", reason).with_source(source)
}

/// Why a session ended, if that is what the code or message says.
fn session_end(code: &str, message: &str) -> Option<Reason> {
    let message = message.to_ascii_lowercase();
    let phrase = PHRASES.iter().find(|(says, _)| message.contains(says));
    let found = phrase.or_else(|| CODES.iter().find(|(known, _)| *known == code));
    found.map(|(_, reason)| *reason)
}

fn built(reason: Reason, scope: Scope, code: &str, message: &str) -> Error {
    let text = MESSAGES.iter().find(|(of, _)| *of == reason);
    let text = text.map_or_else(|| words(reason), |(_, text)| text);
    Error::new(reason, text)
        .with_sent(Sent::Begun)
        .with_upstream(Upstream {
            scope,
            code: untrusted::code(code),
            message: Secret::new(untrusted::message(message)),
            ..Upstream::default()
        })
}

/// The field that a parameter is set by.
fn violation(param: &str) -> Option<Violation> {
    let field = match EVENTS.iter().find(|(name, _)| *name == param) {
        Some((_, field)) => (*field).to_owned(),
        None => setup_field(param)?,
    };
    let description = "DashScope refused this value".to_owned();
    Some(Violation { field, description })
}

fn setup_field(param: &str) -> Option<String> {
    let is_below = |key: &str| {
        let rest = param.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let known = FIELDS.iter().find(|(key, _)| is_below(key));
    if let Some((_, field)) = known {
        return Some(format!("setup.{field}"));
    }
    let name = param.strip_prefix("session.")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let is_plain = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_name);
    is_plain.then(|| format!("setup.extra_session.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(kind: &str, code: &str, message: &str, param: &str) -> UpstreamError {
        UpstreamError {
            kind: kind.to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            param: param.to_owned(),
            event_id: String::new(),
        }
    }

    #[test]
    fn errors_have_the_reasons_of_http() {
        const IDLE: &str =
            "Your session was closed because no response was generated for 300 seconds.";
        for (kind, code, message, reason) in [
            (
                "server_error",
                "internal_error",
                "Internal server error.",
                Reason::UpstreamInternal,
            ),
            (
                "server_error",
                "InternalError",
                "Internal server error.",
                Reason::UpstreamInternal,
            ),
            (
                "server_error",
                "server_error",
                "upstream failed",
                Reason::UpstreamInternal,
            ),
            ("server_error", "future_code", "?", Reason::UpstreamInternal),
            (
                "invalid_request_error",
                "invalid_value",
                "?",
                Reason::UpstreamRejected,
            ),
            (
                "invalid_request_error",
                "future_code",
                "?",
                Reason::UpstreamRejected,
            ),
            ("", "Throttling.RateQuota", "?", Reason::UpstreamRate),
            (
                "server_error",
                "Throttling.AllocationQuota",
                "?",
                Reason::UpstreamTokens,
            ),
            ("rate_limit_exceeded", "", "?", Reason::UpstreamRate),
            ("", "DataInspectionFailed", "?", Reason::ContentBlocked),
            ("", "InvalidApiKey", "?", Reason::UpstreamCredential),
            ("server_error", "session_expired", IDLE, Reason::SessionIdle),
            (
                "server_error",
                "session_expired",
                "?",
                Reason::SessionExpired,
            ),
            (
                "server_error",
                "x",
                "Your session hit the maximum duration of 120 minutes.",
                Reason::SessionExpired,
            ),
            ("", "", "", Reason::UpstreamUnknown),
        ] {
            let error = error_of(&upstream(kind, code, message, ""));
            assert_eq!(error.reason(), reason, "{kind} {code} {message}");
            assert_eq!(error.sent(), Sent::Begun);
            assert!(!error.message().is_empty() && !error.message().contains("300"));
        }
    }

    #[test]
    fn the_parameter_of_a_refusal_is_named_as_the_field_that_sets_it() {
        for (param, field) in [
            ("session.modalities", Some("setup.modalities")),
            (
                "session.turn_detection.threshold",
                Some("setup.turn_detection"),
            ),
            ("session.tools[0].function", Some("setup.tools")),
            ("session.max_tokens", Some("setup.sampling.max_tokens")),
            (
                "session.max_history_turns",
                Some("setup.extra_session.max_history_turns"),
            ),
            ("response.create", Some("create_response")),
            ("input_audio_buffer.commit", Some("commit")),
            ("session", None),
            ("session.<script>", None),
            ("type", None),
            ("", None),
        ] {
            let refused = upstream("invalid_request_error", "invalid_value", "?", param);
            let error = error_of(&refused);
            let found = error.violations().first().map(|found| found.field.as_str());
            assert_eq!(found, field, "{param}");
        }
        let failed = upstream("server_error", "internal_error", "?", "session.voice");
        assert!(error_of(&failed).violations().is_empty());
    }

    #[test]
    fn closed_connections_have_the_reason_that_the_frame_says() {
        for (code, reason, expected) in [
            (None, "", Reason::StreamTruncated),
            (Some(1000), "", Reason::StreamTruncated),
            (Some(1001), "going away", Reason::StreamTruncated),
            (Some(1006), "", Reason::StreamTruncated),
            (Some(1007), "", Reason::GatewayBug),
            (Some(1008), "policy", Reason::UpstreamRejected),
            (Some(1011), "internal error", Reason::UpstreamInternal),
            (Some(1013), "", Reason::UpstreamOverloaded),
            (Some(4000), "", Reason::UpstreamUnknown),
            (
                Some(1008),
                "InvalidApiKey: Invalid API-key provided.",
                Reason::UpstreamCredential,
            ),
            (Some(1011), "Throttling.RateQuota", Reason::UpstreamRate),
            (
                Some(1000),
                "Your session was closed because no response was generated for 180 seconds.",
                Reason::SessionIdle,
            ),
        ] {
            let error = close_error(code, reason);
            assert_eq!(error.reason(), expected, "{code:?} {reason}");
            assert_eq!(error.sent(), Sent::Begun);
        }
    }
}
