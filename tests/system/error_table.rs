//! Every fault of DashScope's, in every place where it can arise, and every way in which a
//! connection can fail: the exact status each time.

use dashgate::grpc::pb;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::*;

/// One row of the table.
struct Row {
    status: u16,
    code: &'static str,
    message: &'static str,
    expected: Code,
    reason: &'static str,
}

/// The table of faults, as data.
fn rows() -> Vec<Row> {
    let lines = include_str!("error_table.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    let rows: Vec<Row> = lines.map(row).collect();
    assert!(rows.len() > 170, "the table is cut short");
    rows
}

fn row(line: &'static str) -> Row {
    let [status, code, message, expected, reason] = line.split(" | ").collect::<Vec<_>>()[..]
    else {
        panic!("five columns: {line}")
    };
    let named = |code: &Code| format!("{code:?}") == pascal(expected);
    let expected = (1..=16).map(Code::from_i32).find(named).expect(expected);
    Row {
        status: status.parse().unwrap(),
        code,
        message,
        expected,
        reason,
    }
}

fn pascal(name: &str) -> String {
    name.split('_')
        .map(|word| word[..1].to_owned() + &word[1..].to_lowercase())
        .collect()
}

const SSE: &str = "content-type: text/event-stream\r\n";

fn body(code: &str, message: &str) -> String {
    serde_json::json!({"code": code, "message": message, "request_id": "up-9"}).to_string()
}

fn event(status: u16, code: &str, message: &str) -> String {
    let body = body(code, message);
    format!("id:1\nevent:error\n:HTTP_STATUS/{status}\ndata:{body}\n\n")
}

/// The errors of gateways that send one request and get these steps, whole and as a stream. Each
/// call has its own gateway, because an error may pause the account.
async fn outcomes(steps: Vec<Step>) -> [Status; 2] {
    let upstream = Upstream::always(steps).await;
    let gateway = async || {
        let mut settings = settings(&upstream);
        settings.retry.max_attempts = 1;
        gateway_with(settings).await
    };
    let whole = gateway()
        .await
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap_err();
    let stream = match gateway()
        .await
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
    {
        Err(status) => status,
        Ok(events) => {
            let events: Vec<_> = events.into_inner().collect().await;
            events.into_iter().find_map(Result::err).expect("never OK")
        }
    };
    [whole, stream]
}

#[tokio::test(start_paused = true)]
async fn u9_u10_every_code_in_every_place_before_output() {
    for Row {
        status,
        code,
        message,
        expected,
        reason,
    } in rows()
    {
        let error = body(code, message);
        for steps in [
            json(status, &error),
            json(200, &error),
            http(status, "", error.as_bytes()),
            http(status, SSE, event(status, code, message).as_bytes()),
            vec![sse(), piece(event(status, code, message)), end()],
        ] {
            for fault in outcomes(steps.clone()).await {
                // A code that nobody knows has only its status to go by, and a body that comes with
                // 200 has none.
                if code == "Brand.New" && steps == json(200, &error) {
                    assert_ne!(fault.code(), Code::Ok);
                    continue;
                }
                assert_fault(&fault, expected, reason);
                let info = fault.get_error_details();
                let info = info.error_info().unwrap().metadata.clone();
                let found = info.get("upstream_code").map(String::as_str);
                assert_eq!(found, Some(code), "{fault:?}");
                assert_eq!(info["upstream_request_id"], "up-9");
                assert_eq!(
                    fault.metadata().get("x-dashscope-request-id").unwrap(),
                    "up-9"
                );
                if message.len() > 1 {
                    assert!(
                        !fault.message().contains(message),
                        "raw words are not passed on"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn u9_every_code_in_the_middle_of_a_stream() {
    for Row {
        status,
        code,
        message,
        expected,
        reason,
    } in rows()
    {
        for before in [1, 7] {
            let mut steps = vec![sse()];
            steps.extend((1..=before).map(|id| piece(frame(id, &format!("{id} 字"), "null"))));
            steps.extend([piece(event(status, code, message)), end()]);
            for fault in outcomes(steps).await {
                // Output was billed: what was "nothing was done, call again" is so no more.
                let expected = if expected == Code::Unavailable {
                    Code::Internal
                } else {
                    expected
                };
                assert_fault(&fault, expected, reason);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_is_refused_is_the_field_that_its_path_names() {
    let words = "<400> InternalError.Algo.InvalidParameter: Input should be 'Cherry', 'Serena', \
                 'Ethan' or 'Chelsie': ";
    let audio = serde_json::json!({"audio": {"voice": "Nobody"}});
    let speech = serde_json::json!({"speech": {"voice": "Nobody"}});
    for (model, options, path, field) in [
        (
            "qwen3-omni-flash",
            audio,
            "parameters.audio.voice",
            "options.audio.voice",
        ),
        (
            "qwen3-tts-flash",
            speech,
            "input.voice",
            "options.speech.voice",
        ),
    ] {
        let text = format!("{words}{path}");
        for steps in [
            json(400, &body("InvalidParameter", &text)),
            vec![sse(), piece(event(400, "InvalidParameter", &text)), end()],
        ] {
            let upstream = Upstream::always(steps).await;
            let gateway = gateway(&upstream).await;
            let request = serde_json::json!({"conversation": {"model": model, "messages": [
                {"role": "ROLE_USER", "content": [{"text": "hi"}]}]}, "options": options});
            let whole: pb::ConverseRequest = crate::notation::message(&request);
            let whole = gateway.conversation().converse(whole).await;
            let stream: pb::ConverseStreamRequest = crate::notation::message(&request);
            let stream = gateway.conversation().converse_stream(stream).await;
            for fault in [whole.unwrap_err(), stream.unwrap_err()] {
                assert_eq!(fault.code(), Code::InvalidArgument, "{fault:?}");
                assert_eq!(violations(&fault), [field], "{fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn u10_what_is_no_answer_of_dashscopes_goes_by_its_status() {
    let html = "<html><head><title>502 Bad Gateway</title></head></html>";
    for (status, expected) in [
        (400, Code::InvalidArgument),
        (401, Code::FailedPrecondition),
        (403, Code::FailedPrecondition),
        (404, Code::NotFound),
        (408, Code::DeadlineExceeded),
        (413, Code::InvalidArgument),
        (429, Code::ResourceExhausted),
        (500, Code::Unavailable),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::DeadlineExceeded),
    ] {
        for text in [
            html,
            "",
            "upstream connect error",
            "{\"half\":",
            "[]",
            "null",
        ] {
            let steps = http(status, "content-type: text/html\r\n", text.as_bytes());
            for fault in outcomes(steps).await {
                assert_eq!(fault.code(), expected, "{status} {text:?} {fault:?}");
                assert!(!fault.message().contains("html"), "{fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn u10_u18_an_answer_that_cannot_be_read_is_internal_and_never_ok() {
    for text in [
        "",
        "<html></html>",
        "{",
        "null",
        "[]",
        "{}",
        "{\"output\":null}",
        "{\"output\":7,\"request_id\":\"r\"}",
        "{\"output\":{\"choices\":7}}",
        "{\"output\":{\"choices\":[{\"message\":[]}]}}",
    ] {
        for fault in outcomes(json(200, text)).await {
            assert_eq!(fault.code(), Code::Internal, "{text:?} {fault:?}");
            assert_eq!(
                fault.metadata().get("grpc-retry-pushback-ms").unwrap(),
                "-1"
            );
        }
        let frame = format!("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{text}\n\n");
        for fault in outcomes(vec![sse(), piece(frame), end()]).await {
            assert_eq!(fault.code(), Code::Internal, "{text:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn u8_a_cut_is_never_ok() {
    let first = frame(1, "一", "null");
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    for (steps, reason) in [
        (vec![Step::Close], "UPSTREAM_RESET"),
        (vec![Step::Reset], "UPSTREAM_RESET"),
        (vec![sse(), piece(&first), Step::Close], "STREAM_TRUNCATED"),
        (vec![sse(), piece(&first), Step::Reset], "STREAM_TRUNCATED"),
        (vec![sse(), piece(&first), end()], "STREAM_TRUNCATED"),
        (
            vec![
                sse(),
                Step::Write(chunk(&first)[..40].to_vec()),
                Step::Close,
            ],
            "",
        ),
        (vec![sse(), Step::Close], ""),
        (vec![sse(), end()], ""),
    ] {
        for fault in outcomes(steps.clone()).await {
            assert_eq!(fault.code(), Code::Internal, "{steps:?} {fault:?}");
            assert_eq!(
                fault.metadata().get("grpc-retry-pushback-ms").unwrap(),
                "-1"
            );
            if !reason.is_empty() {
                assert_fault(&fault, Code::Internal, reason);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn u16_a_line_without_end_is_bounded() {
    let mut steps = vec![sse()];
    steps.extend((0..160).map(|_| piece("x".repeat(64 * 1024))));
    steps.push(Step::Hang);
    for fault in outcomes(steps).await {
        assert_fault(&fault, Code::Internal, "UPSTREAM_PROTOCOL");
    }
}

#[tokio::test(start_paused = true)]
async fn u22_a_redirect_is_not_followed_and_the_key_stays_here() {
    let elsewhere = Upstream::always(json(200, &whole("x"))).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}/x\r\n", elsewhere.base_url());
        for fault in outcomes(http(status, &location, b"")).await {
            assert_eq!(fault.code(), Code::Internal, "{status} {fault:?}");
        }
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn u19_what_comes_after_the_end_is_ignored() {
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "stop")),
        piece(frame(2, "二", "stop")),
        piece(event(500, "InternalError", "m")),
        end(),
    ])
    .await;
    let gateway = gateway(&upstream).await;
    let events = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    let events: Vec<_> = events.into_inner().collect().await;
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    assert_eq!(texts(&events), ["一"]);
}
