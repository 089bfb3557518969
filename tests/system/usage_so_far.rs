//! The usage of calls that do not complete: in the error, in the log, and in the metrics.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashgate::grpc::pb;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::*;
use crate::support::*;

/// Two deltas of an answer, whose last count of output tokens is 7, and what comes then.
fn broken(then: Vec<Step>) -> Vec<Step> {
    let deltas = [piece(frame(3, "a", "null")), piece(frame(7, "b", "null"))];
    [vec![sse()], deltas.to_vec(), then].concat()
}

/// An error in an event of its own, without a usage.
fn error_event() -> Step {
    let body = json!({"code": "InternalError", "message": "m", "request_id": "up-1"});
    piece(format!("event:error\n:HTTP_STATUS/500\ndata:{body}\n\n"))
}

fn counts(usage: &pb::Usage) -> [Option<i32>; 3] {
    [usage.input_tokens, usage.output_tokens, usage.audio_tokens]
}

/// Checks the error of a call whose answer had begun.
#[track_caller]
fn assert_used(status: &Status, case: &str) {
    let call = call_failure(status);
    let usage = call.usage.as_ref();
    let usage = usage.unwrap_or_else(|| panic!("{case}: no usage: {status:?}"));
    assert_eq!(counts(usage), [Some(783), Some(7), Some(752)], "{case}");
    assert!(usage.extra.is_none(), "{case}");
    assert!(call.output_started, "{case}");
    assert_eq!(call.attempts, 1, "{case}");
    assert_eq!(call.model, "qwen-audio-turbo", "{case}");
    assert_request_id(status, "up-1", case);
}

/// Checks DashScope's request id in all places of an error; empty for none.
#[track_caller]
fn assert_request_id(status: &Status, expected: &str, case: &str) {
    let call = call_failure(status);
    assert_eq!(call.upstream_request_id, expected, "{case}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap().metadata.clone();
    let expected = Some(expected).filter(|expected| !expected.is_empty());
    let in_info = info.get("upstream_request_id").map(String::as_str);
    assert_eq!(in_info, expected, "{case}");
    let trailer = status.metadata().get("x-dashscope-request-id");
    let trailer = trailer.map(|id| id.to_str().unwrap());
    assert_eq!(trailer, expected, "{case}");
}

#[tokio::test(start_paused = true)]
async fn a_begun_answer_without_content_is_not_output() {
    let empty = |choices: Value| {
        let body = json!({"output": {"choices": choices}, "request_id": "up-1"});
        piece(format!(
            "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{body}\n\n"
        ))
    };
    let says = |content: Value| {
        let message = json!({"role": "assistant", "content": content});
        empty(json!([{"message": message, "finish_reason": "null"}]))
    };
    for (first, expected) in [
        (empty(json!([])), false),
        (says(json!([])), false),
        (says(json!([{"text": ""}])), false),
        (says(json!([{"text": "a"}])), true),
    ] {
        let upstream = Upstream::always(vec![sse(), first.clone(), Step::Reset]).await;
        let mut settings = settings(&upstream);
        settings.upstream.stream_only_models = vec!["*".to_owned()];
        let gateway = gateway_with(settings).await;
        let mut client = gateway.conversation();
        let events = client.converse_stream(ask_stream(question())).await;
        let events: Vec<_> = events.unwrap().into_inner().collect().await;
        let streamed = events.last().unwrap().as_ref().unwrap_err().clone();
        let whole = client.converse(ask_whole(question())).await.unwrap_err();
        for status in [streamed, whole] {
            assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
            let call = call_failure(&status);
            assert_eq!(call.output_started, expected, "{first:?}");
            assert_request_id(&status, "up-1", "empty");
        }
    }
    let body = json!({"output": {"choices": []}, "request_id": "up-1"}).to_string();
    let upstream = Upstream::always(json(200, &body)).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let status = client.converse(ask_whole(question())).await.unwrap_err();
    assert!(!call_failure(&status).output_started);
}

#[tokio::test(start_paused = true)]
async fn a_call_refused_because_of_another_reveals_nothing_of_it() {
    let body = json!({"code": "Throttling.RateQuota", "message": "canary", "request_id": "up-1",
        "usage": {"input_tokens": 5}})
    .to_string();
    let head = "retry-after: 30\r\ncontent-type: application/json\r\n";
    let upstream = Upstream::always(http(429, head, body.as_bytes())).await;
    let mut settings = settings(&upstream);
    settings.upstream.show_messages = true;
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    let mut last = 1;
    for case in ["sent", "refused", "refused again"] {
        let status = client.converse(ask_whole(question())).await.unwrap_err();
        assert_fault(&status, Code::ResourceExhausted, "UPSTREAM_RATE");
        let call = call_failure(&status);
        assert_eq!(call.upstream_code, "Throttling.RateQuota");
        assert_eq!(call.upstream_http_status, Some(429));
        if case == "sent" {
            last = upstream.seen().len();
            assert_eq!(call.model, "qwen-audio-turbo");
            assert_request_id(&status, "up-1", case);
            continue;
        }
        assert_eq!(upstream.seen().len(), last);
        assert_eq!((call.attempts, call.model.as_str()), (0, ""));
        assert!(call.usage.is_none() && !status.message().contains("canary"));
        assert_request_id(&status, "", case);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_without_a_request_id_has_no_header_for_it() {
    let head = "content-type: text/html\r\n";
    let upstream = Upstream::always(http(502, head, b"<html>")).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let status = client.converse(ask_whole(question())).await.unwrap_err();
    assert_eq!(call_failure(&status).upstream_http_status, Some(502));
    assert_request_id(&status, "", "502");
}

fn stream_of(name: &str) -> Request<pb::ConverseStreamRequest> {
    Request::new(pb::ConverseStreamRequest {
        request_id: name.to_owned(),
        ..ask_stream(question())
    })
}

/// The error that a stream ends with.
async fn failed_stream(gateway: &Running, request: Request<pb::ConverseStreamRequest>) -> Status {
    let events = gateway.conversation().converse_stream(request).await;
    let events: Vec<_> = events.unwrap().into_inner().collect().await;
    assert_eq!(texts(&events), ["a", "b"]);
    events.last().unwrap().as_ref().unwrap_err().clone()
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_reports_the_usage_so_far() {
    for (case, then) in [
        ("reset", vec![Step::Reset]),
        ("cut", vec![Step::Close]),
        ("ended", vec![end()]),
        ("not JSON", vec![piece("data:{{{\n\n"), end()]),
        ("error", vec![error_event(), end()]),
        ("silent", vec![Step::Hang]),
    ] {
        for name in ["", "named"] {
            let upstream = Upstream::always(broken(then.clone())).await;
            let gateway = gateway(&upstream).await;
            let status = failed_stream(&gateway, stream_of(name)).await;
            assert_used(&status, &format!("{case} {name}"));
            assert_ne!(status.code(), Code::Unavailable, "{case} {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_unary_answer_that_is_streamed_from_dashscope_reports_it_too() {
    for name in ["", "named"] {
        let upstream = Upstream::always(broken(vec![Step::Reset])).await;
        let mut settings = settings(&upstream);
        settings.upstream.stream_only_models = vec!["*".to_owned()];
        let gateway = gateway_with(settings).await;
        let request = pb::ConverseRequest {
            request_id: name.to_owned(),
            ..ask_whole(question())
        };
        let status = gateway.conversation().converse(request).await.unwrap_err();
        assert_used(&status, name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_shutdown_report_it() {
    for name in ["", "named"] {
        let upstream = Upstream::always(broken(vec![Step::Hang])).await;
        let mut settings = settings(&upstream);
        settings.server.drain_timeout = Duration::from_secs(10);
        settings.timeouts.idle = Duration::from_secs(600);
        let gateway = gateway_with(settings).await;
        let mut request = stream_of(name);
        // Not by the client's own clock, which starts later.
        let timeout = "3S".parse().unwrap();
        request.metadata_mut().insert("grpc-timeout", timeout);
        let status = failed_stream(&gateway, request).await;
        assert_fault(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert_used(&status, "deadline");

        let mut client = gateway.conversation();
        let events = client.converse_stream(stream_of("other")).await.unwrap();
        gateway.stop().await;
        let events: Vec<_> = events.into_inner().collect().await;
        let status = events.last().unwrap().as_ref().unwrap_err();
        assert_fault(status, Code::Internal, "SHUTTING_DOWN");
        assert_used(status, "shutdown");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_before_output_has_the_usage_only_if_dashscope_sent_one() {
    let body = |usage: Value| {
        let mut body = json!({"code": "DataInspectionFailed", "message": "m", "request_id": "u"});
        body["usage"] = usage;
        json(400, &body.to_string())
    };
    for (usage, expected) in [
        (json!({"input_tokens": 4}), Some([Some(4), None, None])),
        (Value::Null, None),
    ] {
        let upstream = Upstream::always(body(usage)).await;
        let gateway = gateway(&upstream).await;
        let status = gateway.conversation().converse(ask_whole(question())).await;
        let call = call_failure(&status.unwrap_err());
        assert_eq!(call.reason(), pb::ErrorReason::ContentBlocked);
        assert_eq!(call.usage.as_ref().map(counts), expected);
        assert!(!call.output_started);
        assert_eq!(call.attempts, 1);
        assert_eq!(call.upstream_code, "DataInspectionFailed");
        assert_eq!(call.upstream_http_status, Some(400));
        assert_eq!(call.upstream_request_id, "u");
        assert_eq!(call.model, "qwen-audio-turbo");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_by_the_gateway_has_no_attempts() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let request = pb::ConverseRequest::default();
    let status = gateway.conversation().converse(request).await.unwrap_err();
    let expected = pb::CallFailure {
        reason: pb::ErrorReason::InvalidRequest.into(),
        ..pb::CallFailure::default()
    };
    assert_eq!(call_failure(&status), expected);
}

#[tokio::test(start_paused = true)]
async fn a_large_usage_is_cut_to_its_counts_and_the_status_stays_small() {
    let usage = json!({
        "input_tokens": 4, "cache_type": "c".repeat(4000),
        "unknown": "u".repeat(4000), "plugins": {"search": {"strategy": "s".repeat(4000)}},
    });
    let body = json!({"code": "DataInspectionFailed", "message": "m", "usage": usage});
    let upstream = Upstream::always(json(400, &body.to_string())).await;
    let gateway = gateway(&upstream).await;
    let status = gateway.conversation().converse(ask_whole(question())).await;
    let status = status.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "CONTENT_BLOCKED");
    let usage = call_failure(&status).usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_type), (Some(4), None));
    assert_eq!(
        (usage.extra, usage.plugins.unwrap().search.unwrap().strategy),
        (None, None)
    );
}

/// The lines of the log on this thread, on which all of a test runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// The lines of calls.
    fn calls(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let of_call = |line: &Value| line["target"] == "dashgate::call";
        lines.filter(of_call).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_logs_and_counts_what_was_used() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true);
    let subscriber = subscriber.with_writer(log.clone()).finish();
    // With a single subscriber, places in the code that another thread comes by first are off.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    for name in ["", "named"] {
        let mut upstream = Upstream::always(broken(vec![Step::Hang])).await;
        let gateway = watched(&upstream).await;
        let mut client = gateway.conversation();
        let events = client.converse_stream(stream_of(name)).await;
        let mut events = events.unwrap().into_inner();
        for _ in 0..3 {
            events.next().await.unwrap().unwrap();
        }
        drop(events);
        upstream.closed().await;
        let numbers = scrape(&gateway, 1.0).await;
        for (kind, expected) in [("input", 783.0), ("output", 7.0), ("audio", 752.0)] {
            let series = format!(
                "dashgate_tokens_total{{caller=\"anonymous\",kind=\"{kind}\",model=\
                 \"qwen-audio-turbo\"}}"
            );
            assert_eq!(numbers.value(&series), expected, "{kind} {name}");
        }
        let calls = log.calls();
        let line = calls.last().unwrap();
        for (field, expected) in [
            ("outcome", json!("CANCELLED")),
            ("input_tokens", json!(783)),
            ("output_tokens", json!(7)),
        ] {
            assert_eq!(line[field], expected, "{field} {name}: {line}");
        }
    }
}
