//! The ends of answers of OpenAI-style servers: finish reasons of failures, and how long the end is
//! waited for; and what such servers write into the text.

use std::time::Duration;

use dashgate::config::ServerKind;
use dashgate::grpc::pb;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::openai_answers::{chunk, events, settings_of, stream, whole, words};
use crate::support::*;

/// The texts and the last item of a stream.
async fn texts_and_end(steps: Vec<Step>) -> (String, Result<pb::Completed, tonic::Status>) {
    let upstream = Upstream::always(steps).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let events: Vec<_> = answer.into_inner().collect().await;
    let texts = texts(&events).concat();
    let end = events.into_iter().next_back().unwrap();
    let end = end.map(|event| match event.event {
        Some(pb::converse_stream_response::Event::Completed(end)) => *end,
        other => panic!("{other:?}"),
    });
    assert_eq!(upstream.seen().len(), 1, "nothing is repeated");
    (texts, end)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_server_ended_is_an_error_after_its_content() {
    for (reason, expected) in [
        ("abort", "STREAM_TRUNCATED"),
        ("error", "UPSTREAM_INTERNAL"),
    ] {
        let hi = || chunk(&json!({"role": "assistant", "content": "Hi"}), Value::Null);
        let last = chunk(&json!({"content": " there"}), json!(reason));
        let bare = chunk(&json!({}), json!(reason));
        for (bodies, text) in [
            (vec![hi(), last.clone()], "Hi there"),
            (vec![hi(), bare.clone()], "Hi"),
            (vec![bare], ""),
        ] {
            let (texts, end) = texts_and_end(events(&bodies)).await;
            assert_eq!(texts, text);
            let status = end.unwrap_err();
            assert_fault(&status, Code::Internal, expected);
            assert!(status.message().contains(reason), "{status:?}");
            assert!(
                status.message().contains("the upstream server"),
                "{status:?}"
            );
        }
        let choice = json!({"index": 0, "finish_reason": reason,
            "message": {"role": "assistant", "content": "Hi"}});
        let body = json!({"id": "c", "choices": [choice], "usage": {
            "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}});
        let upstream = Upstream::always(json(200, &body.to_string())).await;
        let gateway = gateway_with(settings_of(ServerKind::Sglang, &upstream)).await;
        let status = gateway.conversation().converse(ask_whole(words())).await;
        let status = status.unwrap_err();
        assert_fault(&status, Code::Internal, expected);
        let usage = call_failure(&status).usage.unwrap();
        assert_eq!(
            usage.output_tokens,
            Some(3),
            "what was generated is counted"
        );
        assert_eq!(upstream.seen().len(), 1, "nothing is repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_a_complete_answer_is_ignored() {
    let bodies = [
        chunk(&json!({"content": "Hi"}), json!("stop")),
        chunk(&json!({}), json!("abort")),
    ];
    let (texts, end) = texts_and_end(events(&bodies)).await;
    assert_eq!((&*texts, end.unwrap().choices.len()), ("Hi", 1));
}

#[tokio::test(start_paused = true)]
async fn one_of_several_choices_that_fails_is_an_error_of_the_call() {
    let mut both = chunk(&json!({"content": "a"}), json!("stop"));
    let mut second = both["choices"][0].clone();
    second["index"] = json!(1);
    second["finish_reason"] = json!("abort");
    both["choices"].as_array_mut().unwrap().push(second);
    let upstream = Upstream::always(events(&[both])).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut request = ask_stream(words());
    request.options.get_or_insert_default().n = Some(2);
    let answer = gateway
        .conversation()
        .converse_stream(request)
        .await
        .unwrap();
    let events: Vec<_> = answer.into_inner().collect().await;
    assert_eq!(texts(&events), ["a", "a"]);
    let status = events.into_iter().next_back().unwrap().unwrap_err();
    assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
}

#[tokio::test(start_paused = true)]
async fn comments_do_not_prolong_the_wait_for_the_end() {
    // With modalities, more may follow a finish reason.
    let mut text = chunk(&json!({"content": "Hi"}), json!("stop"));
    text["modality"] = json!("text");
    let mut steps = vec![sse(), piece(format!("data: {text}\n\n"))];
    for _ in 0..60 {
        steps.push(Step::Pause(Duration::from_secs(5)));
        steps.push(piece(": keep-alive\n\n"));
    }
    let begun = Instant::now();
    let (texts, end) = texts_and_end(steps).await;
    assert_eq!((&*texts, end.unwrap().choices.len()), ("Hi", 1));
    let took = begun.elapsed().as_secs();
    assert!((19..=21).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn content_after_a_finish_reason_prolongs_the_wait_for_the_end() {
    let of = |modality: &str, content: &str, finish: Value| {
        let mut body = chunk(&json!({ "content": content }), finish);
        body["modality"] = json!(modality);
        piece(format!("data: {body}\n\n"))
    };
    let mut steps = vec![sse(), of("text", "Hi", json!("stop"))];
    for _ in 0..6 {
        steps.push(Step::Pause(Duration::from_secs(15)));
        steps.push(of("audio", "AQACAA==", Value::Null));
    }
    steps.extend([
        of("audio", "", json!("stop")),
        piece("data: [DONE]\n\n"),
        end(),
    ]);
    let (texts, end) = texts_and_end(steps).await;
    assert_eq!((&*texts, end.unwrap().choices.len()), ("Hi", 1));
}

fn languages(annotations: &[pb::Annotation]) -> Vec<(&str, &str)> {
    let pairs = annotations.iter().map(|one| (&*one.r#type, &*one.language));
    pairs.collect()
}

#[tokio::test(start_paused = true)]
async fn the_language_before_a_transcript_is_an_annotation() {
    let choice = |text: &str| {
        json!({"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": text}})
    };
    let text = "language Chinese<asr_text>欢迎使用。";
    for kind in [ServerKind::Vllm, ServerKind::Sglang, ServerKind::OpenAi] {
        let got = whole(kind, &json!({"id": "c", "choices": [choice(text)]})).await;
        let message = got.choices[0].message.clone().unwrap();
        let expected = pb::content::Kind::Text("欢迎使用。".to_owned());
        assert_eq!(message.content[0].kind, Some(expected), "{kind:?}");
        assert_eq!(languages(&message.annotations), [("audio_info", "zh")]);
        assert!(got.warnings.is_empty(), "{:?}", got.warnings);
    }
    // Silence.
    let got = whole(
        ServerKind::Vllm,
        &json!({"id": "c", "choices": [choice("language None<asr_text>")]}),
    )
    .await;
    let message = got.choices[0].message.clone().unwrap();
    assert!(
        message.content.is_empty() && message.annotations.is_empty(),
        "{message:?}"
    );
    // DashScope's texts are not examined.
    let got = whole(
        ServerKind::DashScopeCompatible,
        &json!({"id": "c", "choices": [choice(text)]}),
    )
    .await;
    let message = got.choices[0].message.clone().unwrap();
    let expected = pb::content::Kind::Text(text.to_owned());
    assert_eq!(message.content[0].kind, Some(expected));
}

#[tokio::test(start_paused = true)]
async fn a_language_may_come_in_any_tokens() {
    let tokens = |all: &[&str], last: Value| {
        let mut bodies = vec![chunk(
            &json!({"role": "assistant", "content": ""}),
            Value::Null,
        )];
        bodies.extend(
            all.iter()
                .map(|text| chunk(&json!({ "content": text }), Value::Null)),
        );
        bodies.push(chunk(&json!({"content": ""}), last));
        bodies
    };
    let all = [
        "language",
        " English",
        "<asr_text>",
        "language",
        " ",
        "language",
        "language",
    ];
    let got = stream(ServerKind::Vllm, &tokens(&all, json!("stop"))).await;
    assert_eq!(got.texts(), "language languagelanguage");
    let notes = got
        .deltas()
        .into_iter()
        .filter_map(|delta| match delta.part {
            Some(pb::delta::Part::Annotation(note)) => Some(note),
            _ => None,
        });
    let notes: Vec<_> = notes.collect();
    assert_eq!(languages(&notes), [("audio_info", "en")]);
    // An ordinary text that begins like it.
    let all = ["language", " model", "s", " are", " language", "language"];
    let got = stream(ServerKind::Vllm, &tokens(&all, json!("length"))).await;
    assert_eq!(got.texts(), all.concat());
    let got = stream(ServerKind::Vllm, &tokens(&["langu"], json!("stop"))).await;
    assert_eq!(got.texts(), "langu");
}
