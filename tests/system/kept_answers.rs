//! An answer that was paid for is never thrown away for its form, and never loses a part in
//! silence. What is served here was seen in public reports.

use std::time::Duration;

use dashgate::grpc::pb::{self, content, converse_stream_response::Event, delta};
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;

use crate::notation::{counted, message};
use crate::support::*;

fn event(body: &Value) -> Step {
    piece(format!("event:result\n:HTTP_STATUS/200\ndata:{body}\n\n"))
}

fn choice(index: i32, content: Value, finish: &str) -> Value {
    json!({"index": index, "message": {"role": "assistant", "content": content},
        "finish_reason": finish})
}

async fn converse(upstream: &Upstream, request: Value) -> pb::ConverseResponse {
    let gateway = gateway(upstream).await;
    let request: pb::ConverseRequest = message(&request);
    let answer = gateway.conversation().converse(request).await;
    answer.unwrap().into_inner()
}

fn ask_for(model: &str) -> Value {
    json!({"conversation": {"model": model, "messages": [
        {"role": "ROLE_USER", "content": [{"text": "?"}]}]}})
}

/// Asks by stream through the model's own stream, folded by the gateway.
async fn streamed(steps: Vec<Step>, options: Value) -> pb::ConverseResponse {
    let upstream = Upstream::always(steps).await;
    let mut settings = settings(&upstream);
    settings.upstream.stream_only_models = vec!["*".to_owned()];
    let gateway = gateway_with(settings).await;
    let mut request = ask_for("m");
    request["options"] = options;
    let request: pb::ConverseRequest = message(&request);
    let answer = gateway.conversation().converse(request).await;
    answer.unwrap().into_inner()
}

fn texts(answer: &pb::ConverseResponse) -> Vec<String> {
    let choices = answer.choices.iter();
    let text = |choice: &pb::Choice| {
        let parts = choice.message.iter().flat_map(|message| &message.content);
        let texts = parts.filter_map(|part| match part.kind.as_ref()? {
            content::Kind::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<String>()
    };
    choices.map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn u1_usage_after_the_end_is_waited_for() {
    let last = json!({"output": {"choices": []}, "usage": {"input_tokens": 11}});
    let steps = vec![
        sse(),
        event(&json!({"output": {"choices": [choice(0, json!([{"text": "hi"}]), "null")]}})),
        event(&json!({"output": {"choices": [choice(0, json!([]), "stop")]}})),
        Step::Pause(Duration::from_millis(700)),
        event(&last),
        Step::Hang,
    ];
    let answer = streamed(steps.clone(), json!({})).await;
    assert_eq!(texts(&answer), ["hi"]);
    assert_eq!(answer.usage.unwrap().input_tokens, Some(11));
    let (texts, end) = deltas(steps, json!({})).await;
    assert_eq!(texts, ["hi"]);
    assert_eq!(end.usage.unwrap().input_tokens, Some(11));
}

#[tokio::test(start_paused = true)]
async fn c1_a_requested_choice_is_waited_for() {
    let usage = json!({"input_tokens": 1});
    let one = |choice: Value| event(&json!({"output": {"choices": [choice]}, "usage": usage}));
    let steps = vec![
        sse(),
        one(choice(0, json!([{"text": "a"}]), "stop")),
        Step::Pause(Duration::from_millis(200)),
        one(choice(1, json!([{"text": "b"}]), "stop")),
        Step::Hang,
    ];
    let answer = streamed(steps.clone(), json!({"extra_parameters": {"n": 2}})).await;
    assert_eq!(texts(&answer), ["a", "b"]);
    assert!(answer.warnings.is_empty());
    let answer = streamed(steps.clone(), json!({"n": 3})).await;
    assert_eq!(texts(&answer), ["a", "b"]);
    assert_eq!(answer.warnings[0].code, "ANSWER_PART_DROPPED");
    let (texts, end) = deltas(steps.clone(), json!({"extra_parameters": {"n": 2}})).await;
    assert_eq!(
        (texts, end.choices.len()),
        (vec!["a".to_owned(), "b".to_owned()], 2)
    );
    assert!(end.warnings.is_empty());
    let (texts, end) = deltas(steps, json!({"n": 3})).await;
    assert_eq!(texts, ["a", "b"]);
    assert_eq!(end.warnings[0].code, "ANSWER_PART_DROPPED");
}

/// The texts and the end of the same answer, asked for as a stream.
async fn deltas(steps: Vec<Step>, options: Value) -> (Vec<String>, pb::Completed) {
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let mut request = ask_for("m");
    request["options"] = options;
    let request: pb::ConverseStreamRequest = message(&request);
    let stream = gateway.conversation().converse_stream(request).await;
    let mut stream = stream.unwrap().into_inner();
    let (mut texts, mut end) = (Vec::new(), None);
    while let Some(event) = stream.message().await.unwrap() {
        match event.event {
            Some(Event::Delta(delta)) => {
                if let Some(delta::Part::Text(text)) = delta.part {
                    texts.push(text);
                }
            }
            Some(Event::Completed(completed)) => end = Some(completed),
            _ => {}
        }
    }
    (texts, *end.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_a_bounded_time() {
    let hi = |finish: &str| choice(0, json!([{"text": "hi"}]), finish);
    let body = |choice: Value| json!({"output": {"choices": [choice]}});
    let steps = vec![sse(), event(&body(hi("stop"))), Step::Hang];
    // That of the usage.
    let limits = Duration::from_secs(1)..Duration::from_millis(1100);
    let started = Instant::now();
    let (texts, end) = deltas(steps.clone(), json!({})).await;
    assert!(
        limits.contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!((texts, end.usage), (vec!["hi".to_owned()], None));
    let started = Instant::now();
    let answer = streamed(steps, json!({})).await;
    assert!(
        limits.contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert!(answer.usage.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_unary_image_answer_needs_no_finish_reason() {
    let content = json!([{"image": "https://x.test/a.png"}, {"text": "a cat"}]);
    let usage = json!({"width": 1024, "image_count": 1});
    for reason in [
        None,
        Some(json!(null)),
        Some(json!("null")),
        Some(json!("")),
    ] {
        let mut one = json!({"message": {"content": content}});
        if let Some(reason) = reason {
            one["finish_reason"] = reason;
        }
        let (one, two) = (json!([one]), json!([one, one]));
        for body in [
            json!({"choices": one, "usage": usage}),
            json!({"output": {"choices": one}, "usage": usage}),
            json!({"choices": two, "usage": usage}),
            json!({"output": {"choices": two}, "usage": usage}),
        ] {
            let text = body.to_string();
            let upstream = Upstream::always(json(200, &text)).await;
            let answer = converse(&upstream, ask_for("z-image-turbo")).await;
            let count = if text.matches("a cat").count() == 2 {
                2
            } else {
                1
            };
            assert_eq!(answer.choices.len(), count, "{body}");
            for choice in &answer.choices {
                assert_eq!(choice.finish_reason(), pb::FinishReason::Unspecified);
                assert_eq!(choice.message.as_ref().unwrap().content.len(), 2, "{body}");
            }
            assert_eq!(texts(&answer), vec!["a cat"; count]);
            assert!(format!("{answer:?}").contains("https://x.test/a.png"));
            assert_eq!(counted(answer.usage.as_deref().unwrap()), usage);
            assert!(answer.warnings.is_empty(), "{answer:?}");
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                text.len() + 1
            );
            let cut = [head.as_bytes(), text.as_bytes()].concat();
            let upstream = Upstream::always(vec![Step::Write(cut), Step::Close]).await;
            let gateway = gateway(&upstream).await;
            let request: pb::ConverseRequest = message(&ask_for("z-image-turbo"));
            let status = gateway.conversation().converse(request).await.unwrap_err();
            assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn speech_recognition_answers_without_choices() {
    let sentence =
        json!({"text": "你好", "begin_time": 0, "words": [{"text": "你", "end_time": 9}]});
    for (body, kept) in [
        (json!({"output": {"text": "你好"}}), None),
        (json!({"output": {"sentence": sentence}}), Some("sentence")),
        (
            json!({"output": {"result": {"sentence": sentence}}}),
            Some("result"),
        ),
        (json!({"output": {"output": {"text": "你好"}}}), None),
        (json!({"sentence": sentence}), Some("sentence")),
        (json!({"text": "你好", "request_id": "r"}), None),
    ] {
        let upstream = Upstream::always(json(200, &body.to_string())).await;
        let answer = converse(&upstream, ask_for("fun-asr-flash-2026-06-15")).await;
        assert_eq!(texts(&answer), ["你好"], "{body}");
        let extra = answer.extra_output.unwrap_or_default();
        assert!(
            kept.is_none_or(|key| extra.fields.contains_key(key)),
            "{body}"
        );
        assert_eq!(
            answer.choices[0].finish_reason(),
            pb::FinishReason::Unspecified
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_message_names_what_may_be_missing() {
    let upstream = Upstream::always(json(400, "{}")).await;
    let gateway = gateway(&upstream).await;
    let request: pb::ConverseRequest = message(&ask_for("fun-asr-flash-2026-06-15"));
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    for parameter in ["format", "sample_rate", "language_hints"] {
        assert!(status.message().contains(parameter), "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_an_unknown_kind_comes_and_goes_back() {
    let parts = json!([{"text": "here"}, {"file": {"url": "https://x.test/a.pdf"}}]);
    let message = json!({"role": "assistant", "content": parts, "phase": "final",
        "tool_calls": [
            {"index": 0, "id": "c1", "type": "function", "cost": 2,
             "function": {"name": "f", "arguments": "{}", "strict": true}},
            {"index": 0, "id": "c2", "type": "function",
             "function": {"name": "f", "arguments": "{}"}}]});
    let body = json!({"output": {"choices": [{"finish_reason": "stop", "message": message}]}});
    let upstream = Upstream::always(json(200, &body.to_string())).await;
    let gateway = gateway(&upstream).await;
    let first: pb::ConverseRequest = crate::notation::message(&ask_for("m"));
    let mut again = first.clone();
    let answer = gateway.conversation().converse(first).await;
    let answer = answer.unwrap().into_inner();
    let turn = answer.choices[0].message.clone().unwrap();
    assert_eq!(turn.tool_calls.len(), 2);
    let conversation = again.conversation.as_mut().unwrap();
    conversation.messages.push(turn);
    let input_audio = json!({"role": "ROLE_USER", "content": [
        {"extra": {"type": "input_audio", "input_audio": {"data": "https://x.test/a.wav"}}}]});
    conversation
        .messages
        .push(crate::notation::message(&input_audio));
    gateway.conversation().converse(again).await.unwrap();
    let sent = upstream.seen()[1].json();
    let messages = &sent["input"]["messages"];
    assert_eq!(messages[1]["content"], parts);
    assert_eq!(messages[1]["phase"], "final");
    assert_eq!(messages[1]["tool_calls"][0], message["tool_calls"][0]);
    assert_eq!(messages[1]["tool_calls"][1]["index"], 1);
    assert_eq!(
        messages[2]["content"],
        json!([{"type": "input_audio", "input_audio": {"data": "https://x.test/a.wav"}}])
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_as_it_is_names_its_field() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let user = |part: Value| json!([{"role": "ROLE_USER", "content": [part]}]);
    let text = json!({"text": "x"});
    let with = |messages: Value, options: Value| {
        let conversation = json!({"model": "m", "messages": messages});
        json!({"conversation": conversation, "options": options})
    };
    let path = "conversation.messages[0]";
    for (request, field) in [
        (
            with(user(text.clone()), json!({"stop_token_ids": [{}]})),
            "options.stop_token_ids[0].token_ids".to_owned(),
        ),
        (
            with(
                user(text.clone()),
                json!({"extra_parameters": {"a": {"b": [1, 1e30]}}}),
            ),
            "options.extra_parameters.a.b[1]".to_owned(),
        ),
        (
            with(
                user(json!({"extra": {"image": "https://x.test"}})),
                json!({}),
            ),
            format!("{path}.content[0].extra.image"),
        ),
        (
            with(
                json!([{"role": "ROLE_USER", "content": [text], "extra": {"name": "n"}}]),
                json!({"speech": {"voice": "Cherry"}}),
            ),
            format!("{path}.extra"),
        ),
    ] {
        let request: pb::ConverseRequest = message(&request);
        let status = gateway.conversation().converse(request).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), [field]);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_is_what_the_caller_wrote() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let schema = " \n{\"type\": \"object\" }\n";
    let mut request = ask_for("m");
    request["conversation"]["tools"] = json!([{"function": {"name": "f", "parameters": schema}}]);
    request["conversation"]["messages"] = json!([
        {"role": "ROLE_ASSISTANT", "tool_calls": [
            {"id": "a", "name": "f"}, {"id": "b", "name": "f"}]},
        {"role": "ROLE_TOOL", "tool_call_id": "a", "content": [{"text": "1"}]},
    ]);
    request["options"] = json!({
        "response_format": {"json_schema": {"name": "n", "schema": schema}},
        "extra_parameters": {"big": 9_007_199_254_740_992_i64, "bigger": 1e16, "most": -1e19},
    });
    converse(&upstream, request).await;
    let seen = &upstream.seen()[0];
    let body = String::from_utf8(seen.body.clone()).unwrap();
    assert_eq!(body.matches(schema).count(), 2, "{body}");
    for number in [
        "\"big\":9007199254740992",
        "\"bigger\":10000000000000000",
        "\"most\":-10000000000000000000",
    ] {
        assert!(body.contains(&format!("{number},")) || body.contains(&format!("{number}}}")));
    }
    let calls = &seen.json()["input"]["messages"][0]["tool_calls"];
    assert_eq!(
        (&calls[0]["index"], &calls[1]["index"]),
        (&json!(0), &json!(1))
    );
}
