//! Encodes an answer, an error or raw bytes into the steps of a response, in DashScope's format
//! with the changes of a script.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::Value;

use super::error::ApiError;
use super::response_plan::{Plan, Step};
use super::script_rule::{Comment, ErrorPlacement, Refusal, Reply, Wire};

/// The content of a response, before it is encoded.
#[derive(Clone, Debug)]
pub(super) enum ResponseContent {
    /// A JSON body.
    Json(u16, Value),
    /// The frames of a stream.
    Frames(u16, Vec<Frame>),
    /// A body of another media type, with further headers.
    Other(u16, &'static str, Bytes),
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    event: &'static str,
    comment: Option<u16>,
    data: String,
}

/// DashScope's time limit of a call in seconds, as in the newest recordings.
const TIMEOUT_SECONDS: &str = "600";

impl ResponseContent {
    /// A stream of result frames.
    pub(super) fn frames(frames: Vec<Value>) -> Self {
        Self::Frames(200, frames.iter().map(result).collect())
    }

    /// An error where DashScope places it.
    pub(super) fn error(error: &ApiError, stream: bool, id: &str) -> Self {
        let body = error.json(id);
        if stream {
            Self::Frames(200, vec![error_frame(Some(error.status), &body)])
        } else {
            Self::Json(error.status, body)
        }
    }

    /// An error where a script places it, after some frames of an answer.
    pub(super) fn refusal(refusal: &Refusal, stream: bool, id: &str, before: Vec<Value>) -> Self {
        let status = refusal.status();
        let error = ApiError::new(status, refusal.code.clone(), refusal.message.clone());
        let body = error.json(id);
        let event = |under: u16| {
            let before = before.iter().take(refusal.after_chunks.unwrap_or(0));
            let mut frames: Vec<Frame> = before.map(result).collect();
            let comment = match refusal.comment {
                None | Some(Comment::Shown(true)) => Some(status),
                Some(Comment::Shown(false)) => None,
                Some(Comment::Other(status)) => Some(status),
            };
            frames.push(error_frame(comment, &body));
            Self::Frames(under, frames)
        };
        match refusal.placement {
            ErrorPlacement::Natural if stream => event(200),
            ErrorPlacement::Natural | ErrorPlacement::Http => Self::Json(status, body),
            ErrorPlacement::Body => Self::Json(200, body),
            ErrorPlacement::Event => event(200),
            ErrorPlacement::Sse => event(status),
        }
    }

    /// Encodes the content.
    pub(super) fn into_plan(self, reply: &Reply, id: &str) -> Plan {
        let wire = &reply.wire;
        let mut plan = Plan {
            head_delay: reply.delays.head,
            ..Plan::default()
        };
        let (status, mime, frames) = match self {
            Self::Json(status, body) => {
                let text = broken(body.to_string(), 1, wire);
                (status, "application/json", vec![Bytes::from(text)])
            }
            Self::Other(status, mime, body) => (status, mime, vec![body]),
            Self::Frames(status, frames) => {
                let mut bytes = Vec::new();
                for (n, frame) in (1..).zip(frames) {
                    bytes.push(Bytes::from(text(n, frame, wire)));
                }
                if wire.done == Some(true) {
                    bytes.push(Bytes::from_static(b"data:[DONE]\n\n"));
                }
                plan.set("x-dashscope-finished", Some("false"));
                (status, "text/event-stream;charset=UTF-8", bytes)
            }
        };
        plan.status = reply.status.unwrap_or(status);
        if !mime.is_empty() {
            plan.set("content-type", Some(mime));
        }
        recorded_headers(&mut plan, id);
        plan.steps = steps(frames, reply);
        finish(plan, reply)
    }
}

/// Encodes raw bytes. Only the headers of the script are sent.
pub(super) fn raw(reply: &Reply, pieces: &[(Duration, Bytes)]) -> Plan {
    let mut steps = VecDeque::new();
    for (wait, bytes) in pieces {
        if !wait.is_zero() {
            steps.push_back(Step::Wait(*wait));
        }
        steps.push_back(Step::Send(bytes.clone(), true));
    }
    let plan = Plan {
        status: reply.status.unwrap_or(200),
        head_delay: reply.delays.head,
        steps,
        ..Plan::default()
    };
    finish(plan, reply)
}

/// Applies the headers and wire options of a script.
pub(super) fn finish(mut plan: Plan, reply: &Reply) -> Plan {
    for (name, value) in &reply.headers {
        plan.set(name, value.as_str());
    }
    plan.apply_wire(&reply.wire);
    plan
}

/// The headers that recorded responses have in common.
fn recorded_headers(plan: &mut Plan, id: &str) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    let cost = plan.head_delay.as_millis();
    plan.set("x-request-id", Some(id));
    plan.set("x-dashscope-call-gateway", Some("true"));
    plan.set("x-dashscope-timeout", Some(TIMEOUT_SECONDS));
    if plan
        .headers
        .iter()
        .all(|(name, _)| name != "x-dashscope-finished")
    {
        plan.set("x-dashscope-finished", Some("true"));
    }
    plan.set("req-cost-time", Some(&cost.to_string()));
    plan.set("req-arrive-time", Some(&now.to_string()));
    plan.set("resp-start-time", Some(&(now + cost).to_string()));
    plan.set("x-envoy-upstream-service-time", Some(&cost.to_string()));
    plan.set(
        "vary",
        Some("Origin,Access-Control-Request-Method,Access-Control-Request-Headers"),
    );
    plan.set("server", Some("istio-envoy"));
}

fn result(body: &Value) -> Frame {
    Frame {
        event: "result",
        comment: Some(200),
        data: body.to_string(),
    }
}

fn error_frame(comment: Option<u16>, body: &Value) -> Frame {
    Frame {
        event: "error",
        comment,
        data: body.to_string(),
    }
}

fn text(n: usize, frame: Frame, wire: &Wire) -> String {
    let end = wire.line_end.text();
    let space = if wire.space { " " } else { "" };
    let Frame {
        event,
        comment,
        data,
    } = frame;
    let data = broken(data, n, wire);
    let mut text = format!("id:{space}{n}{end}event:{space}{event}{end}");
    if let Some(status) = comment {
        text += &format!(":HTTP_STATUS/{status}{end}");
    }
    text += &format!("data:{space}{data}{end}");
    if wire.blank_lines != Some(false) {
        text += end;
    }
    text
}

/// Truncates the JSON if this is the frame that a script selects.
pub(super) fn broken(mut json: String, n: usize, wire: &Wire) -> String {
    if wire.malformed_frame == Some(n) {
        let middle = (0..=json.len() / 2).rev();
        let middle = middle.into_iter().find(|at| json.is_char_boundary(*at));
        json.truncate(middle.unwrap_or(0));
    }
    json
}

/// The frames with the waits before them.
pub(super) fn steps(frames: Vec<Bytes>, reply: &Reply) -> VecDeque<Step> {
    let mut steps = VecDeque::new();
    if reply.wire.bom {
        steps.push_back(Step::Send(Bytes::from_static("\u{feff}".as_bytes()), false));
    }
    for (n, frame) in frames.into_iter().enumerate() {
        let delays = reply.delays;
        let wait = if n == 0 { delays.first } else { delays.between };
        waits(wait, delays.heartbeat, &mut steps);
        steps.push_back(Step::Send(frame, true));
    }
    steps
}

fn waits(wait: Duration, heartbeat: Option<Duration>, steps: &mut VecDeque<Step>) {
    let mut left = wait;
    if let Some(beat) = heartbeat {
        while left > beat {
            steps.push_back(Step::Wait(beat));
            steps.push_back(Step::Send(Bytes::from_static(b":heartbeat\n\n"), false));
            left -= beat;
        }
    }
    if !left.is_zero() {
        steps.push_back(Step::Wait(left));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::response_plan::joined;
    use crate::emulator::script_rule::{Delays, LineEnd};

    fn refusal(placement: ErrorPlacement) -> Refusal {
        Refusal {
            status: Some(429),
            code: "Throttling".into(),
            message: "Requests throttling triggered.".into(),
            placement,
            after_chunks: Some(1),
            comment: None,
        }
    }

    fn played(content: ResponseContent, reply: &Reply) -> (u16, String) {
        let plan = content.into_plan(reply, "r-1");
        (
            plan.status,
            String::from_utf8(joined(&plan.steps).to_vec()).unwrap(),
        )
    }

    const BODY: &str =
        r#"{"code":"Throttling","message":"Requests throttling triggered.","request_id":"r-1"}"#;

    #[test]
    fn a_frame_is_byte_for_byte_as_recorded() {
        let (status, text) = played(
            ResponseContent::frames(vec![json!({"a": 1}), json!({})]),
            &Reply::default(),
        );
        assert_eq!(status, 200);
        assert_eq!(
            text,
            "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"a\":1}\n\n\
             id:2\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n"
        );
    }

    #[test]
    fn a_parameter_error_on_a_stream_is_byte_for_byte_as_recorded() {
        let words = "Role must be user or assistant and Content length must be greater than 0";
        let id = "9a4d7e31-62c5-9b08-8f1e-d3a0b5c94e76";
        let content = ResponseContent::error(&ApiError::parameter(words), true, id);
        let plan = content.into_plan(&Reply::default(), id);
        assert_eq!(
            joined(&plan.steps),
            "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"InvalidParameter\",\"message\":\
             \"Role must be user or assistant and Content length must be greater than 0\",\
             \"request_id\":\"9a4d7e31-62c5-9b08-8f1e-d3a0b5c94e76\"}\n\n"
        );
        let header = |name: &str| {
            let mut headers = plan.headers.iter();
            headers
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(plan.status, 200);
        assert_eq!(
            header("content-type"),
            Some("text/event-stream;charset=UTF-8")
        );
        assert_eq!(header("x-request-id"), Some(id));
    }

    #[test]
    fn an_error_is_placed_where_the_script_sets_it() {
        let first = "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n";
        let event = format!("{first}id:2\nevent:error\n:HTTP_STATUS/429\ndata:{BODY}\n\n");
        for (placement, stream, status, expected) in [
            (ErrorPlacement::Natural, false, 429, BODY),
            (ErrorPlacement::Natural, true, 200, event.as_str()),
            (ErrorPlacement::Http, true, 429, BODY),
            (ErrorPlacement::Body, false, 200, BODY),
            (ErrorPlacement::Event, false, 200, event.as_str()),
            (ErrorPlacement::Sse, true, 429, event.as_str()),
        ] {
            let content = ResponseContent::refusal(
                &refusal(placement),
                stream,
                "r-1",
                vec![json!({}), json!({})],
            );
            let found = played(content, &Reply::default());
            assert_eq!(found, (status, expected.to_owned()), "{placement:?}");
        }
        for (comment, line) in [
            (Comment::Shown(false), ""),
            (Comment::Other(503), ":HTTP_STATUS/503\n"),
        ] {
            let refusal = Refusal {
                comment: Some(comment),
                after_chunks: None,
                ..refusal(ErrorPlacement::Event)
            };
            let (_, text) = played(
                ResponseContent::refusal(&refusal, true, "r-1", Vec::new()),
                &Reply::default(),
            );
            assert_eq!(text, format!("id:1\nevent:error\n{line}data:{BODY}\n\n"));
        }
    }

    #[test]
    fn wire_options_are_applied() {
        for (wire, expected) in [
            (
                Wire {
                    line_end: LineEnd::CrLf,
                    ..Wire::default()
                },
                "id:1\r\nevent:result\r\n:HTTP_STATUS/200\r\ndata:{\"a\":1}\r\n\r\n",
            ),
            (
                Wire {
                    blank_lines: Some(false),
                    space: true,
                    ..Wire::default()
                },
                "id: 1\nevent: result\n:HTTP_STATUS/200\ndata: {\"a\":1}\n",
            ),
            (
                Wire {
                    bom: true,
                    malformed_frame: Some(1),
                    ..Wire::default()
                },
                "\u{feff}id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"a\n\n",
            ),
            (
                Wire {
                    done: Some(true),
                    line_end: LineEnd::Cr,
                    ..Wire::default()
                },
                "id:1\revent:result\r:HTTP_STATUS/200\rdata:{\"a\":1}\r\rdata:[DONE]\n\n",
            ),
        ] {
            let reply = Reply {
                wire,
                ..Reply::default()
            };
            assert_eq!(
                played(ResponseContent::frames(vec![json!({"a": 1})]), &reply).1,
                expected
            );
        }
    }

    #[test]
    fn waits_are_filled_with_heartbeats() {
        let second = Duration::from_secs(1);
        let delays = Delays {
            head: second * 5,
            first: second * 2,
            between: second * 3,
            heartbeat: Some(second),
        };
        let reply = Reply {
            delays,
            ..Reply::default()
        };
        let plan = ResponseContent::frames(vec![json!({}), json!({})]).into_plan(&reply, "x");
        assert_eq!(plan.head_delay, second * 5);
        let waited: Duration = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Wait(wait) => *wait,
                Step::Send(..) | Step::Cut(_) => Duration::ZERO,
            })
            .sum();
        assert_eq!(waited, second * 5);
        let text = String::from_utf8(joined(&plan.steps).to_vec()).unwrap();
        assert_eq!(text.matches(":heartbeat\n\n").count(), 3);
    }

    #[test]
    fn scripted_headers_replace_and_remove() {
        let headers = [
            ("Retry-After".into(), "1".into()),
            ("Content-Type".into(), Value::Null),
        ];
        let reply = Reply {
            headers: headers.into_iter().collect(),
            status: Some(503),
            ..Reply::default()
        };
        let plan = ResponseContent::Json(200, json!({})).into_plan(&reply, "x");
        let names: Vec<_> = plan.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"Retry-After") && !names.contains(&"content-type"));
        assert_eq!(plan.status, 503);
        let bytes = Bytes::from_static(b"<html>");
        let plan = raw(&reply, &[(Duration::from_secs(1), bytes.clone())]);
        assert_eq!(
            plan.steps,
            [Step::Wait(Duration::from_secs(1)), Step::Send(bytes, true)]
        );
        assert_eq!(plan.headers.len(), 1);
    }
}
