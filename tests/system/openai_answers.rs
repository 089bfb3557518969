//! Answers of OpenAI-style servers, in every form that their sources have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::config::{Endpoint, ServerKind, Settings};
use dashgate::grpc::pb;
use dashgate::secret::Secret;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

use crate::support::*;

/// A gateway whose only upstream is a server of this kind.
pub(crate) fn settings_of(kind: ServerKind, upstream: &Upstream) -> Settings {
    let mut settings = settings(upstream);
    settings.upstream.endpoint = Endpoint::OpenAi {
        kind,
        base_url: upstream.base_url().replace("/api/v1", "/v1"),
        api_key: (kind == ServerKind::DashScopeCompatible).then(|| Secret::new("sk-canary")),
    };
    settings
}

/// The steps of a stream of these events, ended as such servers do.
pub(crate) fn events(bodies: &[Value]) -> Vec<Step> {
    let event = |body: &Value| piece(format!("data: {body}\n\n"));
    let mut steps = vec![sse()];
    steps.extend(bodies.iter().map(event));
    steps.push(piece("data: [DONE]\n\n"));
    steps.push(end());
    steps
}

/// An event of the first choice.
pub(crate) fn chunk(delta: &Value, finish: Value) -> Value {
    json!({
        "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "system_fingerprint": null,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}],
    })
}

/// The last event, with counts only.
pub(crate) fn counts(usage: &Value) -> Value {
    json!({
        "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [], "usage": usage,
    })
}

/// What a call of both methods returned.
pub(crate) struct Got {
    pub(crate) events: Vec<pb::ConverseStreamResponse>,
    pub(crate) audio: Vec<u8>,
    pub(crate) end: pb::Completed,
}

impl Got {
    pub(crate) fn texts(&self) -> String {
        texts(&self.events.iter().cloned().map(Ok).collect::<Vec<_>>()).concat()
    }

    pub(crate) fn reasoning(&self) -> String {
        let text = |delta: &pb::Delta| match &delta.part {
            Some(pb::delta::Part::ReasoningText(text)) => Some(text.clone()),
            _ => None,
        };
        self.deltas().iter().filter_map(text).collect()
    }

    pub(crate) fn deltas(&self) -> Vec<pb::Delta> {
        let delta = |event: &pb::ConverseStreamResponse| match event.event.clone() {
            Some(pb::converse_stream_response::Event::Delta(delta)) => Some(delta),
            _ => None,
        };
        self.events.iter().filter_map(delta).collect()
    }
}

/// A conversation without media, which every server accepts.
pub(crate) fn words() -> pb::Conversation {
    conversation("m", vec![pb::content::Kind::Text("?".to_owned())])
}

pub(crate) async fn stream(kind: ServerKind, bodies: &[Value]) -> Got {
    let upstream = Upstream::always(events(bodies)).await;
    let gateway = gateway_with(settings_of(kind, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words()));
    let events: Vec<_> = answer.await.unwrap().into_inner().collect().await;
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    let audio = events.iter().filter_map(|event| match &event.event {
        Some(pb::converse_stream_response::Event::Delta(pb::Delta {
            part: Some(pb::delta::Part::Audio(audio)),
            ..
        })) => Some(audio.to_vec()),
        _ => None,
    });
    let audio = audio.flatten().collect();
    let end = match events.last().unwrap().event.clone() {
        Some(pb::converse_stream_response::Event::Completed(end)) => end,
        other => panic!("no end: {other:?}"),
    };
    Got {
        events,
        audio,
        end: *end,
    }
}

pub(crate) async fn whole(kind: ServerKind, body: &Value) -> pb::ConverseResponse {
    let upstream = Upstream::always(json(200, &body.to_string())).await;
    let gateway = gateway_with(settings_of(kind, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse(ask_whole(words()));
    answer.await.unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_texts_is_one_answer_with_its_counts() {
    for kind in ServerKind::ALL {
        let got = stream(
            kind,
            &[
                chunk(&json!({"role": "assistant", "content": ""}), Value::Null),
                chunk(&json!({"content": "1"}), Value::Null),
                chunk(&json!({"content": "1"}), Value::Null),
                chunk(&json!({"content": "11"}), Value::Null),
                chunk(&json!({"content": ""}), json!("stop")),
                counts(&json!({
                    "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 2, "new_tokens": 1},
                })),
            ],
        )
        .await;
        // Deltas that equal a cumulative text are deltas all the same.
        assert_eq!(got.texts(), "1111");
        let usage = got.end.usage.unwrap();
        assert_eq!(usage.input_tokens, Some(5));
        assert_eq!(usage.output_tokens, Some(3));
        assert_eq!(usage.total_tokens, Some(8));
        let input = usage.input_tokens_details.unwrap();
        assert_eq!(input.cached_tokens, Some(4));
        // What was not counted is unknown, not zero.
        assert_eq!((input.audio_tokens, usage.audio_tokens), (None, None));
        let output = usage.output_tokens_details.unwrap();
        assert_eq!(output.reasoning_tokens, Some(2));
        let extra = format!("{:?}", usage.extra);
        assert!(extra.contains("new_tokens"), "{extra}");
        assert_eq!(got.end.choices[0].finish_reason(), pb::FinishReason::Stop);
        assert!(got.end.warnings.is_empty(), "{:?}", got.end.warnings);
        assert!(got.end.extra.is_none() && got.end.extra_output.is_none());
        let started = got.events[0].event.clone();
        let Some(pb::converse_stream_response::Event::Started(started)) = started else {
            panic!("{started:?}");
        };
        assert_eq!(started.upstream_request_id, "chatcmpl-7");
    }
}

#[tokio::test(start_paused = true)]
async fn reasoning_has_two_names() {
    for key in ["reasoning_content", "reasoning"] {
        let got = stream(
            ServerKind::Vllm,
            &[
                chunk(&json!({"role": "assistant", "content": null}), Value::Null),
                chunk(&json!({ key: "thin" }), Value::Null),
                chunk(&json!({ key: "king" }), Value::Null),
                chunk(&json!({"content": "done"}), json!("stop")),
            ],
        )
        .await;
        assert_eq!((&*got.reasoning(), &*got.texts()), ("thinking", "done"));
        assert!(got.end.usage.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn deltas_of_tool_calls_are_joined() {
    let call = |part: Value| chunk(&json!({"tool_calls": [part]}), Value::Null);
    let body = [
        chunk(&json!({"role": "assistant", "content": null}), Value::Null),
        call(json!({"index": 0, "id": "c1", "type": "function",
            "function": {"name": "now", "arguments": ""}})),
        call(json!({"index": 0, "function": {"arguments": "{\"zone\":"}})),
        call(json!({"index": 0, "function": {"arguments": "1}"}})),
        chunk(&json!({"content": ""}), json!("tool_calls")),
    ];
    let got = stream(ServerKind::Sglang, &body).await;
    let calls = got
        .deltas()
        .into_iter()
        .filter_map(|delta| match delta.part {
            Some(pb::delta::Part::ToolCall(call)) => Some(call),
            _ => None,
        });
    let calls: Vec<_> = calls.collect();
    assert_eq!(calls[0].id, "c1");
    assert_eq!(calls[0].name, "now");
    let arguments: String = calls.iter().map(|call| &*call.arguments).collect();
    assert_eq!(arguments, "{\"zone\":1}");
    assert_eq!(
        got.end.choices[0].finish_reason(),
        pb::FinishReason::ToolCalls
    );
}

const SAMPLES: &[u8] = &[1, 0, 2, 0, 3, 0, 4, 0];

pub(crate) fn header(rate: u32, channels: u16) -> Vec<u8> {
    let (block, size) = (channels * 2, u32::try_from(SAMPLES.len()).unwrap());
    let mut header = b"RIFF".to_vec();
    header.extend((size + 36).to_le_bytes());
    header.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    header.extend(channels.to_le_bytes());
    header.extend(rate.to_le_bytes());
    header.extend((rate * u32::from(block)).to_le_bytes());
    header.extend(block.to_le_bytes());
    header.extend(b"\x10\0data");
    header.extend(size.to_le_bytes());
    header
}

fn wave() -> String {
    STANDARD.encode([&header(24_000, 1)[..], SAMPLES].concat())
}

#[tokio::test(start_paused = true)]
async fn audio_is_found_in_every_place_and_has_no_header() {
    let raw = STANDARD.encode(SAMPLES);
    let audio = |data: &str| json!({"audio": {"id": "audio_1", "data": data}});
    let spoken = |data: &str| {
        let mut body = chunk(&json!({"content": data}), Value::Null);
        body["modality"] = json!("audio");
        body
    };
    let mut text = chunk(&json!({"role": "assistant", "content": "Hi"}), Value::Null);
    text["modality"] = json!("text");
    let mut last = chunk(&json!({"content": ""}), json!("stop"));
    last["modality"] = json!("audio");
    let stop = || chunk(&json!({}), json!("stop"));
    let hi = || chunk(&json!({"content": "Hi"}), Value::Null);
    for (kind, bodies) in [
        // DashScope: samples alone, in pieces.
        (
            ServerKind::DashScopeCompatible,
            vec![
                hi(),
                chunk(&audio(&STANDARD.encode(&SAMPLES[..4])), Value::Null),
                chunk(&audio(&STANDARD.encode(&SAMPLES[4..])), Value::Null),
                chunk(&json!({"content": ""}), json!("stop")),
            ],
        ),
        // SGLang-Omni.
        (
            ServerKind::SglangOmni,
            vec![hi(), chunk(&audio(&wave()), Value::Null), stop()],
        ),
        // vLLM-Omni: a file in each event, as content.
        (ServerKind::Vllm, vec![text, spoken(&wave()), last]),
        (
            ServerKind::OpenAi,
            vec![hi(), chunk(&audio(&raw), Value::Null), stop()],
        ),
    ] {
        let got = stream(kind, &bodies).await;
        assert_eq!((&*got.texts(), &*got.audio), ("Hi", SAMPLES), "{kind:?}");
        assert!(got.end.warnings.is_empty(), "{:?}", got.end.warnings);
    }
}

#[tokio::test(start_paused = true)]
async fn a_unary_answer_may_have_its_audio_in_a_separate_choice() {
    let text = json!({"role": "assistant", "content": "Hi"});
    let audio = json!({"id": "audio_1", "data": wave(), "expires_at": 9, "transcript": ""});
    let with = json!({"role": "assistant", "content": "Hi", "audio": audio});
    let alone = json!({"role": "assistant", "content": null, "audio": audio});
    let choice = |index: u32, message: &Value| {
        json!({"index": index, "message": message,
        "finish_reason": "stop", "stop_reason": null, "token_ids": null})
    };
    for choices in [
        vec![choice(0, &with)],
        vec![choice(0, &text), choice(1, &alone)],
    ] {
        let body = json!({"id": "chatcmpl-7", "object": "chat.completion", "created": 1,
            "model": "m", "choices": choices, "prompt_logprobs": null, "usage": {
                "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
        let got = whole(ServerKind::Vllm, &body).await;
        assert_eq!(got.choices.len(), 1, "{got:?}");
        let parts = &got.choices[0].message.as_ref().unwrap().content;
        let kinds: Vec<_> = parts
            .iter()
            .map(|part| part.kind.clone().unwrap())
            .collect();
        assert_eq!(kinds[0], pb::content::Kind::Text("Hi".to_owned()));
        let pb::content::Kind::Audio(audio) = &kinds[1] else {
            panic!("{kinds:?}");
        };
        let Some(pb::audio::Source::Data(bytes)) = &audio.source else {
            panic!("{audio:?}");
        };
        assert_eq!(&bytes[..], SAMPLES);
        assert_eq!(got.usage.unwrap().output_tokens, Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transcript_is_the_text_only_if_there_is_no_other() {
    let spoken = |words: &str| {
        json!({"audio": {"data": STANDARD.encode(SAMPLES),
        "transcript": words}})
    };
    let alone = [
        chunk(&json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(&spoken("Good "), Value::Null),
        chunk(&spoken("day"), json!("stop")),
    ];
    let got = stream(ServerKind::DashScopeCompatible, &alone).await;
    assert_eq!(got.texts(), "Good day");
    let beside = [
        chunk(&json!({"content": "Good day"}), Value::Null),
        chunk(&spoken("Good day"), json!("stop")),
    ];
    let got = stream(ServerKind::DashScopeCompatible, &beside).await;
    assert_eq!(got.texts(), "Good day");
    assert!(
        format!("{:?}", got.events).contains("transcript"),
        "{:?}",
        got.events
    );
}

#[tokio::test(start_paused = true)]
async fn an_unusual_rate_of_samples_is_named() {
    let file = [&header(44_100, 2)[..], SAMPLES].concat();
    let audio = json!({"audio": {"data": STANDARD.encode(file)}});
    let body = [chunk(&audio, Value::Null), chunk(&json!({}), json!("stop"))];
    let got = stream(ServerKind::Vllm, &body).await;
    assert_eq!(got.audio, SAMPLES);
    let file = got.deltas().into_iter().find_map(|delta| match delta.part {
        Some(pb::delta::Part::AudioFile(file)) => file.extra,
        _ => None,
    });
    let extra = format!("{file:?}");
    assert!(
        extra.contains("sample_rate") && extra.contains("44100"),
        "{extra}"
    );
    assert!(extra.contains("channels"), "{extra}");
}

#[tokio::test(start_paused = true)]
async fn odd_events_are_read_or_kept() {
    // As in a published sample: misspelt keys, numbers as strings, a list of parts.
    let parts = json!([{"type": "text", "text": "a"}]);
    let mut first = chunk(&json!({ "content": parts }), Value::Null);
    first["reated"] = json!(1);
    let delta = json!({"content": "b"});
    let choice = json!({"index": "0", "delta": delta, "finish_reason": null});
    let second = json!({"id": 7, "choices": [choice], "usage": null});
    let last = chunk(&json!({"content": "c"}), json!("stop"));
    let got = stream(ServerKind::OpenAi, &[first, second, last]).await;
    assert_eq!(got.texts(), "abc");
    assert!(format!("{:?}", got.end).contains("reated"), "{:?}", got.end);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_an_end_is_truncated() {
    let bodies = [chunk(&json!({"content": "Hel"}), Value::Null)];
    for steps in [
        events(&bodies),
        vec![
            sse(),
            piece(format!("data: {}\n\n", bodies[0])),
            Step::Close,
        ],
    ] {
        let upstream = Upstream::always(steps).await;
        let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
        let mut client = gateway.conversation();
        let answer = client.converse_stream(ask_stream(words()));
        let mut answer = answer.await.unwrap().into_inner();
        let mut last = None;
        while let Some(event) = answer.next().await {
            last = Some(event);
        }
        let status = last.unwrap().unwrap_err();
        assert_fault(&status, tonic::Code::Internal, "STREAM_TRUNCATED");
        assert!(
            status
                .message()
                .starts_with("the upstream server's answer ended"),
            "{status:?}"
        );
    }
}
