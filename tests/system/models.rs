//! Models that answer in one way only, asked for the other.

use dashgate::grpc::pb::{self, content};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::support::*;

const STREAM_ONLY: &str = r#"{"code":"InvalidParameter","message":"This model only support stream
    mode, please enable the stream parameter to access the model.","request_id":"r"}"#;

/// A DashScope whose model answers by stream only.
async fn stream_only() -> Upstream {
    Upstream::start(|_, request| match request.header("x-dashscope-sse") {
        Some(_) => vec![
            sse(),
            piece(frame(1, "一", "null")),
            piece(frame(2, "二", "stop")),
            end(),
        ],
        None => json(400, &STREAM_ONLY.replace('\n', " ").replace("     ", " ")),
    })
    .await
}

async fn ask(gateway: &Running, model: &str) -> pb::ConverseResponse {
    let text = content::Kind::Text("?".to_owned());
    let call = ask_whole(conversation(model, vec![text]));
    let answer = gateway
        .conversation()
        .converse(call)
        .await
        .unwrap()
        .into_inner();
    let parts = &answer.choices[0].message.as_ref().unwrap().content;
    assert_eq!(parts[0].kind, Some(content::Kind::Text("一二".to_owned())));
    assert_eq!(answer.choices[0].finish_reason(), pb::FinishReason::Stop);
    answer
}

/// Which of the requests asked for a stream.
fn streamed(upstream: &Upstream) -> Vec<bool> {
    let seen = upstream.seen();
    seen.iter()
        .map(|request| {
            let head = request.header("x-dashscope-sse").is_some();
            let asked = request.json()["parameters"]["incremental_output"] == true;
            assert_eq!(head, asked);
            assert_eq!(request.header("accept") == Some("text/event-stream"), head);
            head
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_model_that_only_streams_is_streamed_and_remembered() {
    let upstream = stream_only().await;
    let mut settings = settings(&upstream);
    // It is no second try: nothing was billed, and it needs no budget.
    settings.retry.max_attempts = 1;
    settings.retry.budget_percent = 0;
    let gateway = gateway_with(settings).await;

    ask(&gateway, "qwen-omni-turbo").await;
    assert_eq!(streamed(&upstream), [false, true]);
    let answer = ask(&gateway, "qwen-omni-turbo").await;
    assert_eq!(streamed(&upstream), [false, true, true]);
    assert_eq!(answer.timing.unwrap().attempts, 1);
    ask(&gateway, "qwen3-omni-flash").await;
    assert_eq!(
        streamed(&upstream)[3..],
        [false, true],
        "each model is its own"
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_that_only_streams_never_gets_a_unary_request() {
    let upstream = stream_only().await;
    let mut settings = settings(&upstream);
    settings.upstream.stream_only_models = vec!["qwen*-omni-*".to_owned(), "qvq-max".to_owned()];
    let gateway = gateway_with(settings).await;
    for model in ["qwen3-omni-flash", "qwen-omni-turbo", "qvq-max"] {
        ask(&gateway, model).await;
    }
    assert_eq!(streamed(&upstream), [true, true, true]);
    ask(&gateway, "qvq-max-latest").await;
    assert_eq!(streamed(&upstream)[3..], [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_stream_gets_a_unary_request() {
    let refused = r#"{"code":"InvalidParameter","message":"This model does not support stream",
        "request_id":"r"}"#;
    let upstream = Upstream::start(|_, request| match request.header("x-dashscope-sse") {
        Some(_) => json(400, refused),
        None => json(200, &whole("好的。")),
    })
    .await;
    let gateway = gateway(&upstream).await;
    for expected in [&[true, false][..], &[true, false, false]] {
        let stream = gateway
            .conversation()
            .converse_stream(ask_stream(question()))
            .await;
        let events: Vec<_> = stream.unwrap().into_inner().collect().await;
        assert_eq!(events.len(), 3, "Started, Delta, Completed");
        assert_eq!(texts(&events), ["好的。"]);
        assert_eq!(streamed(&upstream), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_refuses_both_deliveries_is_not_tried_forever() {
    let upstream = Upstream::start(|_, request| match request.header("x-dashscope-sse") {
        Some(_) => json(
            400,
            r#"{"code":"InvalidParameter","message":"does not support stream"}"#,
        ),
        None => json(
            400,
            r#"{"code":"InvalidParameter","message":"only support stream mode"}"#,
        ),
    })
    .await;
    let gateway = gateway(&upstream).await;
    for _ in 0..2 {
        let status = gateway
            .conversation()
            .converse(ask_whole(question()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert!(upstream.seen().len() <= 4, "{}", upstream.seen().len());
}
