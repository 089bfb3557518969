//! Answers of OpenAI-style servers whose parts come in an unusual order or place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::config::ServerKind;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_stream::StreamExt as _;

use crate::openai_answers::{chunk, counts, header, settings_of, stream, whole, words};
use crate::openai_calls::timed;
use crate::support::*;
use dashgate::grpc::pb;

const ONE: &[u8] = &[1, 0, 2, 0];
const TWO: &[u8] = &[3, 0, 4, 0];

fn of(modality: &str, delta: &Value, finish: Value) -> Value {
    let mut body = chunk(delta, finish);
    body["modality"] = json!(modality);
    body
}

fn spoken(samples: &[u8], finish: Value) -> Value {
    of(
        "audio",
        &json!({"role": "assistant", "content": STANDARD.encode(samples)}),
        finish,
    )
}

#[tokio::test(start_paused = true)]
async fn each_modality_may_have_a_finish_reason_of_its_own() {
    let hi = || {
        of(
            "text",
            &json!({"role": "assistant", "content": "Hi"}),
            Value::Null,
        )
    };
    let end_of_text = |reason: &str| of("text", &json!({"content": ""}), json!(reason));
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8});
    let with_zero = |mut body: Value| {
        body["usage"] = json!({"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5});
        body
    };
    for (reason, expected) in [
        ("stop", pb::FinishReason::Stop),
        ("length", pb::FinishReason::Length),
    ] {
        let bodies = [
            hi(),
            end_of_text(reason),
            with_zero(spoken(ONE, Value::Null)),
            with_zero(spoken(TWO, json!("stop"))),
            counts(&usage),
        ];
        let got = stream(ServerKind::Vllm, &bodies).await;
        assert_eq!(
            (&*got.texts(), &*got.audio),
            ("Hi", &[ONE, TWO].concat()[..])
        );
        assert_eq!(got.end.choices[0].finish_reason(), expected);
        assert!(got.end.warnings.is_empty(), "{:?}", got.end.warnings);
        let usage = got.end.usage.unwrap();
        assert_eq!(
            (usage.output_tokens, usage.total_tokens),
            (Some(3), Some(8))
        );
    }
    // Counts of continuous usage do not go back to zero.
    let mut text = hi();
    text["usage"] = usage;
    let bodies = [text, with_zero(spoken(ONE, json!("stop")))];
    let got = stream(ServerKind::Vllm, &bodies).await;
    assert!(got.end.warnings.is_empty(), "{:?}", got.end.warnings);
    assert_eq!(got.end.usage.unwrap().output_tokens, Some(3));
}

#[tokio::test(start_paused = true)]
async fn audio_after_a_long_pause_is_waited_for_and_missed_if_it_breaks() {
    let text = of(
        "text",
        &json!({"role": "assistant", "content": "Hi"}),
        json!("stop"),
    );
    let piece_of = |body: &Value| piece(format!("data: {body}\n\n"));
    let begun = [sse(), piece_of(&text), Step::Pause(Duration::from_secs(5))];
    let rest = [piece_of(&spoken(ONE, json!("stop"))), end()];
    let upstream = Upstream::always([&begun[..], &rest].concat()).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let events: Vec<_> = answer.into_inner().collect().await;
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    let has_audio =
        |event: &Result<pb::ConverseStreamResponse, _>| format!("{event:?}").contains("Audio(");
    assert!(events.iter().any(has_audio), "{events:?}");

    let upstream = Upstream::always([&begun[..], &[Step::Close]].concat()).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let last = answer.into_inner().collect::<Vec<_>>().await.pop().unwrap();
    assert_fault(
        &last.unwrap_err(),
        tonic::Code::Internal,
        "STREAM_TRUNCATED",
    );
}

#[tokio::test(start_paused = true)]
async fn many_audio_events_are_audio_without_a_requested_modality() {
    let mut bodies = vec![of("text", &json!({"content": "Hi"}), Value::Null)];
    for _ in 0..5 {
        bodies.push(spoken(ONE, Value::Null));
    }
    bodies.push(of("audio", &json!({"content": ""}), json!("stop")));
    let got = stream(ServerKind::Vllm, &bodies).await;
    assert_eq!((&*got.texts(), &*got.audio), ("Hi", &ONE.repeat(5)[..]));
}

#[tokio::test(start_paused = true)]
async fn a_header_may_be_cut_anywhere() {
    let file = [&header(24_000, 1)[..], ONE, TWO].concat();
    let audio = |bytes: &[u8]| {
        let data = STANDARD.encode(bytes);
        chunk(
            &json!({"audio": {"id": "audio_1", "data": data}}),
            Value::Null,
        )
    };
    for cut in [1, 3, 4, 10, 20, 36, 40, 43, 44, 46] {
        let bodies = [
            audio(&file[..cut]),
            audio(&file[cut..]),
            chunk(&json!({}), json!("stop")),
        ];
        let got = stream(ServerKind::SglangOmni, &bodies).await;
        assert_eq!(got.audio, [ONE, TWO].concat(), "{cut}");
    }
    // Sizes of a stream: unknown, as 0 or as much as possible.
    for size in [0, 0x7fff_ffff_u32, u32::MAX] {
        let mut file = file.clone();
        file[40..44].copy_from_slice(&size.to_le_bytes());
        let bodies = [audio(&file), audio(ONE), chunk(&json!({}), json!("stop"))];
        let got = stream(ServerKind::SglangOmni, &bodies).await;
        assert_eq!(got.audio, [ONE, TWO, ONE].concat(), "{size}");
    }
    // Samples that look like the beginning of a header.
    let bodies = [audio(b"RIFF"), chunk(&json!({}), json!("stop"))];
    assert_eq!(stream(ServerKind::SglangOmni, &bodies).await.audio, b"RIFF");
}

#[tokio::test(start_paused = true)]
async fn choices_of_one_index_are_one_answer() {
    let file = STANDARD.encode([&header(24_000, 1)[..], ONE].concat());
    let text = json!({"role": "assistant", "content": "Hi"});
    let audio = json!({"role": "assistant", "content": null, "audio": {"id": "a", "data": file,
        "expires_at": 9, "transcript": ""}});
    let image = json!({"role": "assistant", "content": [{"type": "image_url",
        "image_url": {"url": "data:image/png;base64,AAAA"}}]});
    let choice = |message: &Value| json!({"index": 0, "message": message, "finish_reason": "stop"});
    let body = json!({"id": "c", "choices": [choice(&text), choice(&audio), choice(&image)]});
    let got = whole(ServerKind::Vllm, &body).await;
    assert!(got.warnings.is_empty(), "{:?}", got.warnings);
    assert_eq!(got.choices.len(), 1);
    let parts = &got.choices[0].message.as_ref().unwrap().content;
    let kinds: Vec<_> = parts
        .iter()
        .map(|part| part.kind.clone().unwrap())
        .collect();
    assert!(
        matches!(&kinds[0], pb::content::Kind::Text(text) if text == "Hi"),
        "{kinds:?}"
    );
    let has_image = |kind: &pb::content::Kind| matches!(kind, pb::content::Kind::Image(_));
    assert!(kinds.iter().any(has_image), "{kinds:?}");
    let samples = kinds.iter().find_map(|kind| match kind {
        pb::content::Kind::Audio(audio) => audio.source.clone(),
        _ => None,
    });
    let expected = pb::audio::Source::Data(ONE.into());
    assert_eq!(samples, Some(expected), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_function_call_is_a_tool_call() {
    let bodies = [
        chunk(
            &json!({"role": "assistant", "content": null,
            "function_call": {"name": "now", "arguments": ""}}),
            Value::Null,
        ),
        chunk(
            &json!({"function_call": {"arguments": "{\"a\":"}}),
            Value::Null,
        ),
        chunk(&json!({"function_call": {"arguments": "1}"}}), Value::Null),
        chunk(&json!({}), json!("function_call")),
    ];
    let got = stream(ServerKind::OpenAi, &bodies).await;
    let calls = got
        .deltas()
        .into_iter()
        .filter_map(|delta| match delta.part {
            Some(pb::delta::Part::ToolCall(call)) => Some(call),
            _ => None,
        });
    let calls: Vec<_> = calls.collect();
    assert_eq!(calls[0].name, "now");
    assert_eq!(
        calls
            .iter()
            .map(|call| &*call.arguments)
            .collect::<String>(),
        "{\"a\":1}"
    );
    assert_eq!(
        got.end.choices[0].finish_reason(),
        pb::FinishReason::ToolCalls
    );
    let body = json!({"choices": [{"index": 0, "finish_reason": "function_call", "message": {
        "role": "assistant", "content": null,
        "function_call": {"name": "now", "arguments": "{}"}}}]});
    let got = whole(ServerKind::OpenAi, &body).await;
    let calls = &got.choices[0].message.as_ref().unwrap().tool_calls;
    assert_eq!(
        (calls.len(), &*calls[0].name, &*calls[0].arguments),
        (1, "now", "{}")
    );
}

#[tokio::test(start_paused = true)]
async fn parallel_calls_without_index_are_separate() {
    let call = |value: Value| chunk(&json!({"tool_calls": [value]}), Value::Null);
    let bodies = [
        call(json!({"id": "a", "function": {"name": "f", "arguments": "{\"x\":"}})),
        call(json!({"function": {"arguments": "1}"}})),
        call(json!({"id": "b", "function": {"name": "f", "arguments": "{\"x\":2}"}})),
        chunk(&json!({}), json!("tool_calls")),
    ];
    let got = stream(ServerKind::Vllm, &bodies).await;
    let mut calls: Vec<(i32, String)> = Vec::new();
    for delta in got.deltas() {
        let Some(pb::delta::Part::ToolCall(call)) = delta.part else {
            continue;
        };
        match calls.iter_mut().find(|(index, _)| *index == call.index) {
            Some((_, arguments)) => arguments.push_str(&call.arguments),
            None => calls.push((call.index, call.arguments)),
        }
    }
    let arguments: Vec<_> = calls.iter().map(|(_, arguments)| &**arguments).collect();
    assert_eq!(arguments, ["{\"x\":1}", "{\"x\":2}"]);
}

#[tokio::test(start_paused = true)]
async fn keys_of_every_event_give_no_warning() {
    let event = |text: &str, noise: &str, finish: Value| {
        let mut body = chunk(&json!({"content": text, "refusal": null}), finish);
        body["obfuscation"] = json!(noise);
        body["service_tier"] = json!("default");
        body["choices"][0]["matched_stop"] = Value::Null;
        body
    };
    let bodies = [
        event("a", "xY1", Value::Null),
        event("b", "q", Value::Null),
        event("c", "wqe8", json!("stop")),
    ];
    let got = stream(ServerKind::OpenAi, &bodies).await;
    assert_eq!(got.texts(), "abc");
    assert!(got.end.warnings.is_empty(), "{:?}", got.end.warnings);
    let end = format!("{:?}", got.end);
    assert!(!end.contains("obfuscation"), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_pieces_is_joined() {
    let bodies = [
        chunk(
            &json!({"role": "assistant", "content": null, "refusal": ""}),
            Value::Null,
        ),
        chunk(&json!({"refusal": "I can"}), Value::Null),
        chunk(&json!({"refusal": "not"}), Value::Null),
        chunk(&json!({}), json!("stop")),
    ];
    let got = stream(ServerKind::OpenAi, &bodies).await;
    assert!(
        format!("{:?}", got.events).contains("I cannot"),
        "{:?}",
        got.events
    );
}

#[tokio::test(start_paused = true)]
async fn warnings_name_the_server() {
    let mut body = chunk(&json!({"content": "a"}), json!("stop")).to_string();
    body.insert_str(1, "\"id\":\"twice\",");
    let steps = vec![
        sse(),
        piece(format!("data: {body}\n\ndata: [DONE]\n\n")),
        end(),
    ];
    let upstream = Upstream::always(steps).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let events: Vec<_> = answer.into_inner().collect().await;
    let end = format!("{:?}", events.last().unwrap());
    assert!(end.contains("the upstream server's answer"), "{end}");
    assert!(!end.contains("DashScope"), "{end}");
}

#[tokio::test(start_paused = true)]
async fn line_ends_and_comments_do_not_matter() {
    let bodies = [
        chunk(&json!({"content": "a"}), Value::Null),
        chunk(&json!({"content": "b"}), json!("stop")),
    ];
    let text: String = bodies
        .iter()
        .map(|body| format!(": ping\r\n\r\ndata:{body}\r\n\r\n"))
        .collect();
    let steps = vec![sse(), piece(text), end()];
    let upstream = Upstream::always(steps).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let all: Vec<_> = answer.into_inner().collect().await;
    assert_eq!(texts(&all).concat(), "ab");
    assert!(all.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn images_beside_the_content_are_images() {
    let images = json!([{"id": "i1", "data": "AAAA", "format": "png", "width": 8}]);
    let bodies = [
        chunk(&json!({"role": "assistant", "content": "Hi"}), Value::Null),
        chunk(&json!({"images": images}), Value::Null),
        chunk(&json!({}), json!("stop")),
    ];
    let got = stream(ServerKind::SglangOmni, &bodies).await;
    let image = got.deltas().into_iter().find_map(|delta| match delta.part {
        Some(pb::delta::Part::ImageUri(uri)) => Some(uri),
        _ => None,
    });
    assert_eq!(image.as_deref(), Some("data:image/png;base64,AAAA"));
    assert!(
        format!("{:?}", got.events).contains("i1"),
        "{:?}",
        got.events
    );
}

#[tokio::test(start_paused = true)]
async fn zeros_of_a_server_that_does_not_count_are_unknown() {
    let zeros = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    let mut last = chunk(&json!({}), json!("stop"));
    last["usage"] = zeros;
    let bodies = [chunk(&json!({"content": "Hi"}), Value::Null), last];
    let got = stream(ServerKind::SglangOmni, &bodies).await;
    assert_eq!((got.texts().as_str(), got.end.usage), ("Hi", None));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_reports_the_end_is_waited_for_within_a_limit() {
    let body = |modality: &str, finish: Value| {
        let delta = json!({"role": "assistant", "content": "Hi"});
        let body = of(modality, &delta, finish);
        piece(format!("data: {body}\n\n"))
    };
    let steps = vec![sse(), body("text", json!("stop")), Step::Hang];
    let (events, took) = timed(steps).await;
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}
