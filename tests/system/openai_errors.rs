//! Errors of OpenAI-style servers: each form becomes the reason that DashScope's would.

use dashgate::config::ServerKind::{self, DashScopeCompatible, OpenAi, Sglang, Vllm};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::openai_answers::{chunk, settings_of, words};
use crate::support::*;

fn error(message: &str, kind: &str, code: impl Into<Value>) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code.into()}})
}

/// A kind of server, its response, and the error that it is.
type Row = (ServerKind, u16, Value, Code, &'static str);

fn bare(message: &str, kind: &str, code: u16) -> Value {
    json!({"object": "error", "message": message, "type": kind, "param": null, "code": code})
}

fn errors() -> Vec<Row> {
    [errors_of_vllm(), errors_of_others(), errors_of_more()].concat()
}

fn errors_of_vllm() -> Vec<Row> {
    let long = "This model's maximum context length is 4096 tokens. However, you requested 5000";
    vec![
        (
            Vllm,
            404,
            error("The model `x` does not exist.", "NotFoundError", 404),
            Code::NotFound,
            "MODEL_NOT_FOUND",
        ),
        (
            Vllm,
            404,
            bare("The model `x` does not exist.", "NotFoundError", 404),
            Code::NotFound,
            "MODEL_NOT_FOUND",
        ),
        (
            Vllm,
            400,
            error(long, "BadRequestError", 400),
            Code::FailedPrecondition,
            "CONTEXT_TOO_LONG",
        ),
        (
            Vllm,
            400,
            error(
                "At most 0 audio(s) may be provided in one prompt.",
                "BadRequestError",
                400,
            ),
            Code::InvalidArgument,
            "MODEL_CAPABILITY",
        ),
        (
            Vllm,
            400,
            error("1 validation error", "Bad Request", 400),
            Code::InvalidArgument,
            "UPSTREAM_REJECTED",
        ),
        (
            Vllm,
            404,
            json!({"detail": "Not Found"}),
            Code::Internal,
            "GATEWAY_CONFIG",
        ),
        (
            Vllm,
            401,
            json!({"error": "Unauthorized"}),
            Code::FailedPrecondition,
            "UPSTREAM_CREDENTIAL",
        ),
        (
            Vllm,
            500,
            error("", "InternalServerError", 500),
            Code::Unavailable,
            "UPSTREAM_INTERNAL",
        ),
    ]
}

fn errors_of_others() -> Vec<Row> {
    vec![
        (
            Sglang,
            400,
            bare(
                "The input (9 tokens) is longer than the model's context length (8 \
            tokens).",
                "BadRequestError",
                400,
            ),
            Code::FailedPrecondition,
            "CONTEXT_TOO_LONG",
        ),
        (
            OpenAi,
            429,
            error("Rate limit reached", "requests", "rate_limit_exceeded"),
            Code::ResourceExhausted,
            "UPSTREAM_RATE",
        ),
        (
            OpenAi,
            401,
            error(
                "Incorrect API key",
                "invalid_request_error",
                "invalid_api_key",
            ),
            Code::FailedPrecondition,
            "UPSTREAM_CREDENTIAL",
        ),
        (
            OpenAi,
            400,
            error(
                "too long",
                "invalid_request_error",
                "context_length_exceeded",
            ),
            Code::FailedPrecondition,
            "CONTEXT_TOO_LONG",
        ),
        (
            DashScopeCompatible,
            400,
            error(
                "<400> InternalError.Algo.DataInspectionFailed: x",
                "data_inspection_failed",
                "data_inspection_failed",
            ),
            Code::InvalidArgument,
            "CONTENT_BLOCKED",
        ),
        (
            DashScopeCompatible,
            404,
            error(
                "The model `x` does not exist",
                "invalid_request_error",
                "model_not_found",
            ),
            Code::NotFound,
            "MODEL_NOT_FOUND",
        ),
    ]
}

/// Errors of servers with other names and forms, and of those in between.
fn errors_of_more() -> Vec<Row> {
    let row = |status, body, code, reason| (OpenAi, status, body, code, reason);
    vec![
        row(
            404,
            error("model 'x' not found", "not_found_error", Value::Null),
            Code::NotFound,
            "MODEL_NOT_FOUND",
        ),
        row(
            404,
            error("File Not Found", "not_found_error", 404),
            Code::Internal,
            "GATEWAY_CONFIG",
        ),
        row(
            405,
            json!({"detail": "Method Not Allowed"}),
            Code::Internal,
            "GATEWAY_CONFIG",
        ),
        row(
            400,
            error("too long", "exceed_context_size_error", 400),
            Code::FailedPrecondition,
            "CONTEXT_TOO_LONG",
        ),
        row(
            400,
            error("filtered", "invalid_request_error", "content_filter"),
            Code::InvalidArgument,
            "CONTENT_BLOCKED",
        ),
        row(
            400,
            error(
                "flagged",
                "invalid_request_error",
                "content_policy_violation",
            ),
            Code::InvalidArgument,
            "CONTENT_BLOCKED",
        ),
        row(
            503,
            error("Loading model", "unavailable_error", 503),
            Code::Unavailable,
            "UPSTREAM_OVERLOADED",
        ),
        row(
            529,
            error("overloaded", "overloaded_error", Value::Null),
            Code::Unavailable,
            "UPSTREAM_OVERLOADED",
        ),
        row(
            503,
            bare("The request queue is full.", "503", 503),
            Code::Unavailable,
            "UPSTREAM_OVERLOADED",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_error_has_the_reason_that_its_code_status_or_words_mean() {
    for (kind, status, body, code, reason) in errors() {
        let upstream = Upstream::always(json(status, &body.to_string())).await;
        let mut settings = settings_of(kind, &upstream);
        settings.retry.max_attempts = 1;
        let gateway = gateway_with(settings).await;
        let mut client = gateway.conversation();
        let failed = client.converse(ask_whole(words())).await.unwrap_err();
        assert_fault(&failed, code, reason);
        let names_dashscope = failed.message().contains("DashScope");
        assert!(
            kind == DashScopeCompatible || !names_dashscope,
            "{failed:?}"
        );
        assert_eq!(
            call_failure(&failed).upstream_http_status,
            Some(i32::from(status)),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_stream_is_the_error_of_the_call() {
    let begun = chunk(&json!({"content": "Hel"}), Value::Null);
    let broken = json!({"error": {"message": "CUDA out of memory", "type": "internal_error",
        "param": null, "code": 500}});
    let busy = json!({"error": {"message": "too many requests", "type": "RateLimitError",
        "code": 429}});
    for (bodies, code, reason, started) in [
        (
            vec![begun.clone(), broken.clone()],
            Code::Internal,
            "UPSTREAM_INTERNAL",
            true,
        ),
        (vec![busy], Code::ResourceExhausted, "UPSTREAM_RATE", false),
    ] {
        let event = |body: &Value| piece(format!("data: {body}\n\n"));
        let mut steps = vec![sse()];
        steps.extend(bodies.iter().map(event));
        steps.push(end());
        let upstream = Upstream::always(steps).await;
        let mut settings = settings_of(ServerKind::SglangOmni, &upstream);
        settings.retry.max_attempts = 1;
        let gateway = gateway_with(settings).await;
        let mut client = gateway.conversation();
        let failed = match client.converse_stream(ask_stream(words())).await {
            Ok(answer) => {
                let mut answer = answer.into_inner();
                let mut last = None;
                while let Some(event) = answer.next().await {
                    last = Some(event);
                }
                last.unwrap().unwrap_err()
            }
            Err(status) => status,
        };
        assert_fault(&failed, code, reason);
        assert_eq!(call_failure(&failed).output_started, started, "{failed:?}");
    }
}

/// The error of a whole call that got this response.
async fn failure(kind: ServerKind, steps: Vec<Step>) -> tonic::Status {
    let upstream = Upstream::always(steps).await;
    let mut settings = settings_of(kind, &upstream);
    settings.retry.max_attempts = 1;
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    client.converse(ask_whole(words())).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_path_that_a_server_does_not_have_is_an_error_of_the_configuration() {
    for status in [301, 302, 307, 308, 404, 405] {
        for body in ["", "404 page not found", "<html>Not Found</html>"] {
            let failed = failure(OpenAi, json(status, body)).await;
            assert_fault(&failed, Code::Internal, "GATEWAY_CONFIG");
            let upstream = call_failure(&failed).upstream_http_status;
            assert_eq!(upstream, Some(i32::from(status)));
        }
    }
    let odd = json!({"error": "Unexpected endpoint or method. (POST /chat/completions)"});
    let failed = failure(OpenAi, json(200, &odd.to_string())).await;
    assert_fault(&failed, Code::Internal, "GATEWAY_CONFIG");
}

#[tokio::test(start_paused = true)]
async fn a_status_as_the_type_of_an_error_is_no_code() {
    let busy = bare("The request queue is full.", "503", 503).to_string();
    let failed = failure(Sglang, json(503, &busy)).await;
    assert_eq!(call_failure(&failed).upstream_code, "");
    let typed = json!({"error": {"message": "slow down", "type": "429", "code": null}});
    let failed = failure(Sglang, json(200, &typed.to_string())).await;
    assert_fault(&failed, Code::ResourceExhausted, "UPSTREAM_RATE");
}

#[tokio::test(start_paused = true)]
async fn the_error_beside_the_end_of_an_answer_says_why_it_failed() {
    for code in [json!(429), json!("rate_limit_exceeded")] {
        for text in ["", "Hel"] {
            let mut last = chunk(&json!({"content": text}), json!("error"));
            last["error"] = json!({"message": "slow down", "code": code});
            let body = format!("data: {last}\n\ndata: [DONE]\n\n");
            let failed = failure(Vllm, vec![sse(), piece(body), end()]).await;
            assert_fault(&failed, Code::ResourceExhausted, "UPSTREAM_RATE");
        }
    }
}
