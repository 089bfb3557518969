//! Every kind of answer, as a stream and as a whole.

use dashgate::grpc::pb::{self, content};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use crate::captures::plain;
use crate::notation::message;
use crate::support::*;

/// The frames of a stream that says these outputs, all with the same usage.
fn frames(outputs: &[Value]) -> Vec<Step> {
    let mut steps = vec![sse()];
    for (at, output) in outputs.iter().enumerate() {
        let body = json!({"output": output, "usage": {"input_tokens": 3}, "request_id": "r"});
        let id = at + 1;
        steps.push(piece(format!(
            "id:{id}\nevent:result\n:HTTP_STATUS/200\ndata:{body}\n\n"
        )));
    }
    steps.push(end());
    steps
}

/// An output with one choice.
fn output(message: Value, finish_reason: &str) -> Value {
    json!({"choices": [{"message": message, "finish_reason": finish_reason}]})
}

fn said(content: Value) -> Value {
    json!({"role": "assistant", "content": content})
}

/// Serves a stream, and checks what a caller gets of it as a stream (its deltas) and as a whole
/// (its choices, and what else there is).
async fn check(outputs: &[Value], n: Option<i32>, deltas: Value, whole: Value) {
    let upstream = Upstream::always(frames(outputs)).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let options = Some(Box::new(pb::GenerationOptions {
        n,
        ..pb::GenerationOptions::default()
    }));
    let stream = client
        .converse_stream(pb::ConverseStreamRequest {
            options: options.clone(),
            ..ask_stream(question())
        })
        .await;
    let stream = stream.unwrap().into_inner();
    let events = plain(stream.collect().await);

    let usage = json!({"input_tokens": 3});
    let mut whole = whole;
    let ends: Vec<Value> = whole["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(ending)
        .collect();
    let mut completed = json!({"choices": ends, "usage": usage});
    if whole["extra_output"].is_object() {
        completed["extra_output"] = whole["extra_output"].clone();
    }
    let started = json!({"model": "qwen-audio-turbo", "upstream_request_id": "r"});
    let mut expected = vec![json!({"started": started})];
    let deltas = deltas.as_array().unwrap().iter();
    expected.extend(deltas.map(|delta| json!({"delta": delta})));
    expected.push(json!({"completed": completed}));
    let expected: Vec<pb::ConverseStreamResponse> = expected.iter().map(message).collect();
    assert_eq!(events, expected);

    // A stream in answer to a call that asked for a whole answer is read all the same.
    let response = client
        .converse(pb::ConverseRequest {
            options,
            ..ask_whole(question())
        })
        .await;
    let mut response = response.unwrap().into_inner();
    response.timing = None;
    response.request_id.clear();
    whole["usage"] = usage;
    whole["model"] = json!("qwen-audio-turbo");
    whole["upstream_request_id"] = json!("r");
    let expected: pb::ConverseResponse = message(&whole);
    assert_eq!(response, expected);
}

/// How a choice ended, out of the whole choice.
fn ending(choice: &Value) -> Value {
    let mut ending = choice.clone();
    let fields = ending.as_object_mut().unwrap();
    fields.retain(|key, _| {
        matches!(
            key.as_str(),
            "index" | "finish_reason" | "raw_finish_reason"
        )
    });
    ending
}

/// A choice that stopped.
fn stopped(message: Value) -> Value {
    let mut message = message;
    message["role"] = json!("ROLE_ASSISTANT");
    json!({
        "message": message,
        "finish_reason": "FINISH_REASON_STOP",
        "raw_finish_reason": "stop",
    })
}

#[tokio::test(start_paused = true)]
async fn u20_text_that_is_repeated_is_sent_once() {
    let full = "这段音频说的是:'欢迎使用阿里云',请问还有什么可以帮您?";
    let ends = [12, 30, 45, 60, full.len()];
    let cut = |end: usize| &full[..full.floor_char_boundary(end)];
    let mut outputs: Vec<Value> = ends
        .iter()
        .map(|end| output(said(json!([{"text": cut(*end)}])), "null"))
        .collect();
    outputs.push(output(said(json!([{"text": full}])), "stop"));
    let upstream = Upstream::always(frames(&outputs)).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let stream = client.converse_stream(ask_stream(question())).await;
    let events: Vec<_> = stream.unwrap().into_inner().collect().await;
    let texts = texts(&events);
    assert_eq!(texts.concat(), full);
    assert!(texts.len() > 1, "it comes as it is made: {texts:?}");
    let whole = client.converse(ask_whole(question())).await.unwrap();
    let choices = whole.into_inner().choices;
    let parts = &choices[0].message.as_ref().unwrap().content;
    assert_eq!(parts[0].kind, Some(content::Kind::Text(full.to_owned())));
    assert_eq!(parts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn thought_comes_beside_text() {
    check(
        &[
            output(json!({"content": [], "reasoning_content": "先听"}), "null"),
            output(json!({"content": [], "reasoning_content": "再想"}), "null"),
            output(
                json!({"content": [{"text": "答"}], "reasoning_content": ""}),
                "null",
            ),
            output(said(json!("案")), "null"),
            output(said(json!([])), "stop"),
        ],
        None,
        json!([
            {"reasoning_text": "先听"}, {"reasoning_text": "再想"}, {"text": "答"}, {"text": "案"},
        ]),
        json!({"choices": [stopped(json!({
            "content": [{"text": "答案"}], "reasoning_text": "先听再想",
        }))]}),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn calls_of_tools_are_told_apart_by_their_index() {
    let call = |index: i32, id: &str, name: Option<&str>, arguments: &str| {
        let mut function = json!({"arguments": arguments});
        if let Some(name) = name {
            function["name"] = json!(name);
        }
        json!({"index": index, "id": id, "type": "function", "function": function})
    };
    let calls = |calls: Value| json!({"role": "assistant", "content": [], "tool_calls": calls});
    check(
        &[
            output(calls(json!([call(0, "c0", Some("sum"), "")])), "null"),
            output(calls(json!([call(0, "", None, "{\"a\":")])), "null"),
            output(
                calls(json!([
                    call(0, "", None, " 1}"),
                    call(1, "c1", Some("mean"), "{")
                ])),
                "null",
            ),
            output(
                calls(json!([call(1, "", None, "\"b\": 12345678901234567890}")])),
                "tool_calls",
            ),
        ],
        None,
        json!([
            {"tool_call": {"index": 0, "id": "c0", "type": "function", "name": "sum"}},
            {"tool_call": {"index": 0, "arguments": "{\"a\":"}},
            {"tool_call": {"index": 0, "arguments": " 1}"}},
            {"tool_call": {
                "index": 1, "id": "c1", "type": "function", "name": "mean", "arguments": "{",
            }},
            {"tool_call": {"index": 1, "arguments": "\"b\": 12345678901234567890}"}},
        ]),
        json!({"choices": [{
            "message": {"role": "ROLE_ASSISTANT", "tool_calls": [
                {"index": 0, "id": "c0", "type": "function", "name": "sum",
                 "arguments": "{\"a\": 1}"},
                {"index": 1, "id": "c1", "type": "function", "name": "mean",
                 "arguments": "{\"b\": 12345678901234567890}"},
            ]},
            "finish_reason": "FINISH_REASON_TOOL_CALLS",
            "raw_finish_reason": "tool_calls",
        }]}),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn annotations_of_transcripts_come_once() {
    let note = json!([{"type": "audio_info", "language": "zh", "emotion": "happy", "more": 1}]);
    let noted = |text: &str| json!({"content": [{"text": text}], "annotations": note});
    let told = json!({
        "type": "audio_info", "language": "zh", "emotion": "happy", "extra": {"more": 1.0},
    });
    check(
        &[output(noted("欢迎"), "null"), output(noted("。"), "stop")],
        None,
        json!([{"text": "欢迎"}, {"annotation": told}, {"text": "。"}]),
        json!({"choices": [stopped(json!({
            "content": [{"text": "欢迎。"}], "annotations": [told],
        }))]}),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn speech_comes_as_bytes_and_as_a_file() {
    let file = json!({
        "uri": "http://x.test/a.wav", "id": "audio_1", "expires_at": "2025-09-18T08:37:06Z",
    });
    let audio = |data: &str, url: Option<&str>, finish_reason: &str| {
        let mut audio = json!({"data": data, "id": "audio_1", "expires_at": 1_758_184_626});
        if let Some(url) = url {
            audio["url"] = json!(url);
        }
        json!({"audio": audio, "finish_reason": finish_reason})
    };
    check(
        &[
            audio("AQID", None, "null"),
            audio("BAU=", None, "null"),
            audio("", Some("http://x.test/a.wav"), "stop"),
        ],
        None,
        json!([{"audio": "AQID"}, {"audio": "BAU="}, {"audio_file": file}]),
        json!({"choices": [stopped(json!({"content": [{
            "audio": {"mime_type": "audio/pcm", "data": "AQIDBAU=", "file": file},
        }]}))]}),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_model_speaks_while_it_writes() {
    check(
        &[
            output(said(json!([{"text": "你"}])), "null"),
            output(said(json!([{"audio": {"data": "AQI="}}])), "null"),
            output(
                said(json!([{"text": "好"}, {"audio": {"data": "AwQ="}}])),
                "null",
            ),
            output(said(json!([])), "stop"),
        ],
        None,
        json!([{"text": "你"}, {"audio": "AQI="}, {"text": "好"}, {"audio": "AwQ="}]),
        json!({"choices": [stopped(json!({"content": [
            {"text": "你好"}, {"audio": {"mime_type": "audio/pcm", "data": "AQIDBA=="}},
        ]}))]}),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn pictures_come_by_address_and_what_is_beside_them_is_kept() {
    let mut made = output(said(json!([{"image": "https://x.test/1.png?a=b"}])), "stop");
    made["task_metric"] = json!({"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0});
    made["brand_new"] = json!(["kept", null, true]);
    check(
        &[made],
        None,
        json!([{"image_uri": "https://x.test/1.png?a=b"}]),
        json!({
            "choices": [stopped(json!({"content": [
                {"image": {"uri": "https://x.test/1.png?a=b"}},
            ]}))],
            "extra_output": {
                "task_metric": {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0},
                "brand_new": ["kept", null, true],
            },
        }),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_answers_come_side_by_side() {
    let choice = |index: i32, text: &str, finish_reason: &str| {
        json!({"choices": [{
            "index": index, "message": said(json!([{"text": text}])),
            "finish_reason": finish_reason,
        }]})
    };
    let mut second = stopped(json!({"content": [{"text": "丙丁"}]}));
    second["index"] = json!(1);
    second["finish_reason"] = json!("FINISH_REASON_LENGTH");
    second["raw_finish_reason"] = json!("length");
    check(
        &[
            choice(0, "甲", "null"),
            choice(1, "丙", "null"),
            choice(0, "乙", "stop"),
            choice(1, "丁", "length"),
        ],
        Some(2),
        json!([
            {"text": "甲"}, {"choice_index": 1, "text": "丙"},
            {"text": "乙"}, {"choice_index": 1, "text": "丁"},
        ]),
        json!({"choices": [stopped(json!({"content": [{"text": "甲乙"}]})), second]}),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn likelihoods_and_sources_come_with_the_text() {
    let token = |text: &str, logprob: f64| {
        json!({"token": text, "bytes": text.as_bytes(), "logprob": logprob, "top_logprobs": [
            {"token": text, "bytes": text.as_bytes(), "logprob": logprob},
        ]})
    };
    let told = |text: &str, bytes: &str, logprob: f64| {
        json!({"token": text, "bytes": bytes, "logprob": logprob, "top_logprobs": [
            {"token": text, "bytes": bytes, "logprob": logprob},
        ]})
    };
    let found = json!([{
        "index": 1, "title": "t", "url": "https://x.test", "site_name": "s", "icon": "i",
    }]);
    let mut first = output(said(json!([{"text": "a"}])), "null");
    first["choices"][0]["logprobs"] = json!({"content": [token("a", -0.5)]});
    first["search_info"] = json!({"search_results": found, "extra_tool_info": [{"tool": "x"}]});
    let mut last = output(said(json!([{"text": "b"}])), "stop");
    last["choices"][0]["logprobs"] = json!({"content": [token("b", -0.25)]});
    last["search_info"] = first["search_info"].clone();
    let sources = json!({"search_results": found, "extra": {"extra_tool_info": [{"tool": "x"}]}});
    let mut choice = stopped(json!({"content": [{"text": "ab"}]}));
    choice["logprobs"] = json!({"content": [told("a", "YQ==", -0.5), told("b", "Yg==", -0.25)]});
    check(
        &[first, last],
        None,
        json!([
            {"search_info": sources},
            {"text": "a"}, {"logprobs": {"content": [told("a", "YQ==", -0.5)]}},
            {"text": "b"}, {"logprobs": {"content": [told("b", "Yg==", -0.25)]}},
        ]),
        json!({"choices": [choice], "search_info": sources}),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_reason_to_end_is_not_lost() {
    check(
        &[output(said(json!([{"text": "a"}])), "content_filter")],
        None,
        json!([{"text": "a"}]),
        json!({"choices": [{
            "message": {"role": "ROLE_ASSISTANT", "content": [{"text": "a"}]},
            "raw_finish_reason": "content_filter",
        }]}),
    )
    .await;
}
