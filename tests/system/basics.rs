//! The main job: a question goes down as DashScope's JSON, its answer comes up as typed messages.

use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, delta};
use tokio_stream::StreamExt;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_question_gets_a_unary_answer() {
    let upstream = Upstream::always(json(200, &whole("未来没有互联网"))).await;
    let gateway = gateway(&upstream).await;
    let request = pb::ConverseRequest {
        conversation: Some(question()),
        ..pb::ConverseRequest::default()
    };

    let response = gateway.conversation().converse(request).await.unwrap();

    assert_eq!(
        response.metadata().get("x-dashscope-request-id").unwrap(),
        "up-1"
    );
    let answer = response.into_inner();
    let choice = &answer.choices[0];
    let text = pb::content::Kind::Text("未来没有互联网".to_owned());
    assert_eq!(choice.message.as_ref().unwrap().content[0].kind, Some(text));
    assert_eq!(choice.finish_reason(), pb::FinishReason::Stop);
    let usage = answer.usage.unwrap();
    assert_eq!(
        (
            usage.input_tokens,
            usage.audio_tokens,
            usage.output_tokens,
            usage.total_tokens
        ),
        (Some(786), Some(752), Some(38), None)
    );
    assert_eq!(answer.timing.unwrap().attempts, 1);

    let seen = upstream.seen().remove(0);
    assert_eq!(
        seen.path,
        "/api/v1/services/aigc/multimodal-generation/generation"
    );
    assert_eq!(seen.header("authorization"), Some("Bearer sk-canary"));
    assert_eq!(seen.header("x-dashscope-sse"), None);
    assert_eq!(
        seen.json(),
        serde_json::json!({
            "model": "qwen-audio-turbo",
            "parameters": {},
            "input": {"messages": [{"role": "user", "content": [
                {"audio": "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav"},
                {"text": "这段音频在说什么?"},
            ]}]},
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_as_a_stream() {
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "先说了一句话", "null")),
        piece(frame(2, "后面还有半句。", "stop")),
        end(),
    ])
    .await;
    let gateway = gateway(&upstream).await;
    let request = pb::ConverseStreamRequest {
        conversation: Some(question()),
        ..pb::ConverseStreamRequest::default()
    };

    let response = gateway
        .conversation()
        .converse_stream(request)
        .await
        .unwrap();
    let events: Vec<_> = response.into_inner().map(Result::unwrap).collect().await;

    let numbers: Vec<_> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let mut kinds = events.into_iter().map(|event| event.event.unwrap());
    let Some(Event::Started(started)) = kinds.next() else {
        panic!("Started comes first")
    };
    assert_eq!(started.upstream_request_id, "up-1");
    for expected in ["先说了一句话", "后面还有半句。"] {
        let Some(Event::Delta(delta)) = kinds.next() else {
            panic!("a Delta follows")
        };
        assert_eq!(delta.part, Some(delta::Part::Text(expected.to_owned())));
    }
    let Some(Event::Completed(completed)) = kinds.next() else {
        panic!("Completed is last")
    };
    assert_eq!(completed.choices[0].finish_reason(), pb::FinishReason::Stop);
    assert_eq!(completed.usage.unwrap().output_tokens, Some(2));

    let seen = upstream.seen().remove(0);
    assert_eq!(seen.header("x-dashscope-sse"), Some("enable"));
    assert_eq!(
        seen.json()["parameters"],
        serde_json::json!({"incremental_output": true})
    );
}
