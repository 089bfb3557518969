//! Encodes OpenAI-style answers and errors into the steps of a response.

use bytes::Bytes;
use serde_json::Value;

use super::dialect::Dialect;
use super::openai_error::OpenAiError;
use super::response_plan::Plan;
use super::response_steps::{broken, finish, steps};
use super::script_rule::{ErrorPlacement, Refusal, Reply, Wire};

/// The content of a response, before it is encoded.
#[derive(Clone, Debug)]
pub(super) enum OpenAiContent {
    /// A JSON body.
    Json(u16, Value),
    /// A body without content.
    Empty(u16),
    /// The chunks of a stream, and whether `[DONE]` follows.
    Chunks(u16, Vec<Value>, bool),
}

impl OpenAiContent {
    /// An error before an answer, which has the HTTP status for streams, too.
    pub(super) fn error(error: &OpenAiError, dialect: Dialect, id: &str) -> Self {
        Self::Json(error.http_status(dialect), error.body(dialect, id))
    }

    /// An error where a script places it, after some chunks of an answer.
    pub(super) fn refusal(
        refusal: &Refusal,
        dialect: Dialect,
        stream: bool,
        id: &str,
        before: Vec<Value>,
    ) -> Self {
        let error = OpenAiError::from(refusal);
        let kept = refusal.after_chunks.unwrap_or(0).min(before.len());
        let event = |status: u16| {
            let mut chunks = before.clone();
            chunks.truncate(kept);
            chunks.push(error.event(dialect, id));
            // Self-hosted servers end a failed stream as they end a complete one.
            Self::Chunks(status, chunks, dialect.is_self_hosted())
        };
        match refusal.placement {
            ErrorPlacement::Natural if stream && kept > 0 => event(200),
            ErrorPlacement::Natural | ErrorPlacement::Http => Self::error(&error, dialect, id),
            ErrorPlacement::Body => Self::Json(200, error.body(dialect, id)),
            ErrorPlacement::Event => event(200),
            ErrorPlacement::Sse => event(refusal.status()),
        }
    }

    /// Encodes the content.
    pub(super) fn into_plan(self, dialect: Dialect, reply: &Reply, id: &str) -> Plan {
        let wire = &reply.wire;
        let mut plan = Plan {
            head_delay: reply.delays.head,
            ..Plan::default()
        };
        let (status, mime, frames) = match self {
            Self::Empty(status) => (status, "", Vec::new()),
            Self::Json(status, body) => {
                let text = broken(body.to_string(), 1, wire);
                (status, "application/json", vec![Bytes::from(text)])
            }
            Self::Chunks(status, chunks, done) => {
                let mut frames = Vec::new();
                for (n, chunk) in (1..).zip(chunks) {
                    let data = broken(chunk.to_string(), n, wire);
                    frames.push(Bytes::from(event(&data, wire)));
                }
                if wire.done.unwrap_or(done) {
                    frames.push(Bytes::from(event("[DONE]", wire)));
                }
                let mime = if dialect == Dialect::DashScope {
                    "text/event-stream;charset=UTF-8"
                } else {
                    "text/event-stream; charset=utf-8"
                };
                (status, mime, frames)
            }
        };
        plan.status = reply.status.unwrap_or(status);
        if !mime.is_empty() {
            plan.set("content-type", Some(mime));
        }
        plan.set("x-request-id", Some(id));
        plan.set("server", Some(server(dialect)));
        plan.steps = steps(frames, reply);
        finish(plan, reply)
    }
}

fn server(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::DashScope => "istio-envoy",
        Dialect::OpenAi => "cloudflare",
        Dialect::Vllm | Dialect::VllmOmni | Dialect::Sglang | Dialect::SglangOmni => "uvicorn",
    }
}

/// One event of a stream. All dialects send a space after the colon.
fn event(data: &str, wire: &Wire) -> String {
    let end = wire.line_end.text();
    let blank = if wire.blank_lines == Some(false) {
        ""
    } else {
        end
    };
    format!("data: {data}{end}{blank}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::response_plan::joined;
    use crate::emulator::script_rule::LineEnd;

    fn played(content: OpenAiContent, reply: &Reply) -> (u16, String) {
        let plan = content.into_plan(Dialect::Vllm, reply, "r-1");
        let text = joined(&plan.steps).to_vec();
        (plan.status, String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_stream_ends_with_done() {
        let chunks = || OpenAiContent::Chunks(200, vec![json!({"a": 1}), json!({})], true);
        let (status, text) = played(chunks(), &Reply::default());
        assert_eq!(status, 200);
        assert_eq!(text, "data: {\"a\":1}\n\ndata: {}\n\ndata: [DONE]\n\n");
        let wire = Wire {
            line_end: LineEnd::CrLf,
            blank_lines: Some(false),
            malformed_frame: Some(1),
            done: Some(false),
            ..Wire::default()
        };
        let reply = Reply {
            wire,
            ..Reply::default()
        };
        assert_eq!(played(chunks(), &reply).1, "data: {\"a\r\ndata: {}\r\n");
    }

    #[test]
    fn an_error_is_placed_where_the_script_sets_it() {
        let body = "{\"error\":{\"message\":\"busy\",\"type\":\"RateLimitError\",\"param\":null,\
                    \"code\":429}}";
        let alone = format!("data: {body}\n\ndata: [DONE]\n\n");
        let after = format!("data: {{}}\n\n{alone}");
        for (placement, after_chunks, stream, status, expected) in [
            (ErrorPlacement::Natural, None, true, 429, body),
            (ErrorPlacement::Natural, None, false, 429, body),
            (ErrorPlacement::Natural, Some(1), true, 200, after.as_str()),
            (ErrorPlacement::Http, Some(1), true, 429, body),
            (ErrorPlacement::Body, None, true, 200, body),
            (ErrorPlacement::Event, None, true, 200, alone.as_str()),
            (ErrorPlacement::Sse, None, true, 429, alone.as_str()),
        ] {
            let refusal = Refusal {
                status: Some(429),
                message: "busy".into(),
                placement,
                after_chunks,
                ..Refusal::default()
            };
            let before = vec![json!({}), json!({})];
            let content = OpenAiContent::refusal(&refusal, Dialect::Vllm, stream, "r-1", before);
            let found = played(content, &Reply::default());
            assert_eq!(found, (status, expected.to_owned()), "{placement:?}");
        }
    }
}
