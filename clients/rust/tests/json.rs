//! JSON forms of conversations, answers and errors, and message lists of other libraries.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]
#![cfg(feature = "json")]

mod support;

use dashgate_client::{Code, Conversation, Media, audio, v1};
use serde::Serialize;
use serde_json::{Value, json};
use support::{Gateway, Reply, answer, question};

#[tokio::test]
async fn a_conversation_is_restored_with_its_media_and_its_turn() {
    let mut conversation = Conversation::stored("conversations/a");
    let part = audio(Media::bytes(vec![0, 255, 7]).mime_type("audio/pcm"));
    conversation.user((part.await.unwrap(), "What is this?"));
    conversation.set_last_turn(Some(3));
    let json = conversation.to_json().unwrap();
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["lastTurn"], 3);
    assert_eq!(value["messages"][0]["role"], "ROLE_USER");
    assert_eq!(value["messages"][0]["content"][0]["audio"]["data"], "AP8H");
    assert_eq!(Conversation::from_json(&json).unwrap(), conversation);
    // Also as a part of a larger value.
    let all = serde_json::to_string(&[&conversation]).unwrap();
    let all: Vec<Conversation> = serde_json::from_str(&all).unwrap();
    assert_eq!(all, [conversation]);
    for wrong in ["", "[]", r#"{"messages": 1}"#, r#"{"unknown": 1}"#] {
        let error = Conversation::from_json(wrong).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{wrong}");
    }
}

#[tokio::test]
async fn an_answer_of_a_newer_gateway_is_written() {
    let gateway = Gateway::start(|_, _| {
        let mut newer = answer("heard");
        newer.choices[0].finish_reason = 99;
        Reply::of([newer])
    })
    .await;
    let answer = gateway.client().converse(question()).await.unwrap();
    let value: Value = serde_json::from_str(&answer.to_json().unwrap()).unwrap();
    assert_eq!(value["choices"][0]["finishReason"], 99);
    assert_eq!(
        value["choices"][0]["message"]["content"][0]["text"],
        "heard"
    );
}

#[tokio::test]
async fn an_error_is_written_for_logs() {
    let gateway = Gateway::start(|_, _| {
        Reply::status(Code::ResourceExhausted, "slow").trailer("grpc-retry-pushback-ms", "1500")
    })
    .await;
    let call = gateway.client().converse(question()).request_id("r-1");
    let error = call.await.unwrap_err();
    assert_eq!(
        serde_json::to_value(&error).unwrap(),
        json!({
            "code": "RESOURCE_EXHAUSTED",
            "message": "slow",
            "retryable": true,
            "retryAfter": 1.5,
            "outputStarted": false,
            "requestId": "r-1",
        })
    );
}

#[test]
fn message_lists_may_be_values_of_other_libraries() {
    #[derive(Serialize)]
    struct ChatMessage {
        role: &'static str,
        content: Option<&'static str>,
    }
    let list = [
        ChatMessage {
            role: "developer",
            content: Some("Be brief."),
        },
        ChatMessage {
            role: "assistant",
            content: None,
        },
    ];
    let conversation = Conversation::from_messages("m", &list).unwrap();
    let messages = &conversation.raw().messages;
    assert_eq!(messages[0].role(), v1::Role::System);
    assert!(messages[1].content.is_empty());
    let text = serde_json::to_string(&list).unwrap();
    assert_eq!(
        Conversation::from_messages("m", text).unwrap(),
        conversation
    );
}

#[test]
fn what_is_not_known_is_refused_with_its_place() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let image = |url: &str| user(json!([{"type": "image_url", "image_url": {"url": url}}]));
    for (messages, expected) in [
        (json!({}), "messages: not a list"),
        (json!(null), "messages: not a list"),
        (json!("null"), "messages: not a list"),
        (
            json!("no JSON"),
            "messages: it is not JSON at line 1 column 2",
        ),
        (
            user(json!([{"video": []}])),
            "messages[0].content[0].video: no images",
        ),
        (
            user(json!([{"type": "image", "image": "https://x"}])),
            "messages[0].content[0].type: not text, image_url, input_audio, video_url or video",
        ),
        (
            image("data:image/png,%6z"),
            "messages[0].content[0].image_url.url: a data: URI with % without two digits",
        ),
        (user(json!([null])), "messages[0].content[0]: not an object"),
        (
            json!([{"role": "assistant", "tool_calls": [{"function": {}}]}]),
            "messages[0].tool_calls[0].function.name: missing",
        ),
        (
            json!([{"role": "user", "a\nb\u{202e}": 1}]),
            "messages[0].a?b?: unknown",
        ),
        (
            image("data:image/png;base64,"),
            "messages[0].content[0].image_url.url: no data",
        ),
        (
            image("data:,"),
            "messages[0].content[0].image_url.url: no data",
        ),
        (json!([1]), "messages[0]: not an object"),
        (json!([{"content": "a"}]), "messages[0].role: missing"),
        (json!([{"role": "judge"}]), "messages[0].role: not system, "),
        (
            json!([{"role": "user", "name": "Ada"}]),
            "messages[0].name: unknown",
        ),
        (user(json!(1)), "messages[0].content: not a list"),
        (user(json!([{}])), "messages[0].content[0]: no text"),
        (
            user(json!([{"type": "smell"}])),
            "messages[0].content[0].type: not text, ",
        ),
        (
            user(json!([{"text": 1}])),
            "messages[0].content[0].text: not a text",
        ),
        (
            user(json!([{"image": "oss://a", "b": 1}])),
            "messages[0].content[0].b: unknown",
        ),
        (
            image("/etc/passwd"),
            "messages[0].content[0].image_url.url: not a URI",
        ),
        (
            image("file:///etc/passwd"),
            "messages[0].content[0].image_url.url: not a URI",
        ),
        (
            image("data:image/png;base64,?"),
            "messages[0].content[0].image_url.url: not base64",
        ),
        (
            json!([{"role": "assistant", "tool_calls": [{"type": "magic"}]}]),
            "messages[0].tool_calls[0].type: not function",
        ),
        (
            json!([{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}]),
            "messages[0].tool_calls[0].function.name: not a text",
        ),
    ] {
        let error = Conversation::from_messages("m", &messages).unwrap_err();
        assert!(error.message().starts_with(expected), "{messages}: {error}");
        assert_eq!(error.code(), Code::InvalidArgument);
    }
}

#[test]
fn data_uris_become_bytes() {
    let messages = json!([{"role": "user", "content": [
        {"image": "data:text/plain,a%20b"},
        {"type": "input_audio", "input_audio": {"data": "data:audio/wav;base64,AAE=", "format": "mp3"}},
    ]}]);
    let conversation = Conversation::from_messages("m", messages).unwrap();
    let json: Value = serde_json::from_str(&conversation.to_json().unwrap()).unwrap();
    let content = &json["messages"][0]["content"];
    assert_eq!(
        content[0]["image"],
        json!({"mimeType": "text/plain", "data": "YSBi"})
    );
    assert_eq!(
        content[1]["audio"],
        json!({"mimeType": "audio/wav", "data": "AAE="})
    );
}

#[test]
fn the_type_of_data_is_that_of_the_uri_then_of_the_format() {
    let part =
        |data: &str| json!({"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}});
    let messages = json_of(json!([{"role": "user", "content": [
        part("UklGRiQAAABXQVZF"),
        part("data:,%61"),
        part("data:audio/flac,a"),
        {"audio": "data:;base64,UklGRiQAAABXQVZF"},
        {"audio": "data:;charset=x,a"},
    ]}]));
    let types = messages[0]["content"].as_array().unwrap().iter();
    let types: Vec<_> = types
        .map(|part| part["audio"]["mimeType"].as_str())
        .collect();
    let mpeg = Some("audio/mpeg");
    assert_eq!(
        types,
        [mpeg, mpeg, Some("audio/flac"), Some("audio/wav"), None]
    );
}

fn json_of(messages: Value) -> Value {
    let conversation = Conversation::from_messages("m", messages).unwrap();
    let mut json: Value = serde_json::from_str(&conversation.to_json().unwrap()).unwrap();
    json["messages"].take()
}

#[test]
fn null_is_absent() {
    let messages = json!([
        {"role": "user", "name": null, "tool_calls": null, "reasoning_content": null, "content": [
            {"type": "text", "text": "a", "cache_control": null},
            {"type": null, "audio": "oss://x", "image": null, "smell": null},
            {"text": null, "image": "oss://x"},
            {"type": "image_url", "image_url": {"url": "oss://x", "detail": "high", "smell": null}},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": null}},
        ]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"index": null, "id": null, "type": null, "function": {"name": "f", "arguments": null}},
        ]},
    ]);
    assert_eq!(
        json_of(messages),
        json!([
            {"role": "ROLE_USER", "content": [
                {"text": "a"},
                {"audio": {"uri": "oss://x"}},
                {"image": {"uri": "oss://x"}},
                {"image": {"uri": "oss://x"}},
                {"audio": {"data": "aGk="}},
            ]},
            {"role": "ROLE_ASSISTANT", "toolCalls": [{"type": "function", "name": "f"}]},
        ])
    );
}

#[test]
fn schemes_have_any_case_and_base64_may_lack_its_padding() {
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    for (uri, expected) in [
        ("HTTPS://x", json!({"uri": "HTTPS://x"})),
        (
            "DATA:image/png;BASE64,aGk",
            json!({"mimeType": "image/png", "data": "aGk="}),
        ),
        ("Data:,%61", json!({"data": "YQ=="})),
    ] {
        let list = json_of(part(json!({"image": uri})));
        assert_eq!(list[0]["content"][0]["image"], expected, "{uri}");
    }
    let audio = |data: &str| part(json!({"type": "input_audio", "input_audio": {"data": data}}));
    for data in ["aGk", "aGk=", "DATA:;base64,aGk"] {
        let list = json_of(audio(data));
        assert_eq!(
            list[0]["content"][0]["audio"],
            json!({"data": "aGk="}),
            "{data}"
        );
    }
    for wrong in [
        "aGk==", "aG k", "aGk\n", "a", "a===", "YQ=", "aGk=aGk=", "-_-_", "=", "",
    ] {
        for list in [
            audio(wrong),
            part(json!({"image": format!("data:image/png;base64,{wrong}")})),
        ] {
            Conversation::from_messages("m", list).unwrap_err();
        }
    }
}

#[test]
fn a_surrogate_without_its_pair_is_refused() {
    let list = |text: &str| format!(r#"[{{"role": "user", "content": "{text}"}}]"#);
    let pair = Conversation::from_messages("m", list(r"\ud83d\ude00")).unwrap();
    assert!(format!("{:?}", pair.raw()).contains('\u{1f600}'));
    for lone in [
        r"\ud800",
        r"\udc00",
        r"\ud800a",
        r"\ude00\ud83d",
        r"\ud800\n",
        r"\ud800\u0041",
    ] {
        let error = Conversation::from_messages("m", list(lone)).unwrap_err();
        assert!(error.message().starts_with("messages: "), "{error}");
    }
}

#[test]
fn errors_quote_nothing_of_a_text() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let lists = [
        json!("[hush"),
        json!(r#"["hush"#),
        json!("hush"),
        json!(["hush"]),
        json!([{"role": "hush"}]),
        user(json!([{"type": "hush"}])),
        user(json!([{"image": "hush"}])),
        user(json!([{"image": "data:hush"}])),
        user(json!([{"image": "data:;base64,!hush"}])),
        user(json!([{"type": "input_audio", "input_audio": {"data": "!hush"}}])),
        user(json!([{"type": "image_url", "image_url": "hush"}])),
        json!([{"role": "user", "tool_calls": [{"type": "hush", "function": {"name": "f"}}]}]),
        json!([{"role": "user", "tool_calls": [{"index": "hush", "function": {"name": "f"}}]}]),
    ];
    let lists = lists.map(|list| Conversation::from_messages("m", list).unwrap_err());
    let texts = [
        r#"{"model": "hush"#,
        r#"{"hush": 1}"#,
        r#"{"lastTurn": "hush"}"#,
    ];
    let texts = texts.map(|text| Conversation::from_json(text).unwrap_err());
    for error in lists.iter().chain(&texts) {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hush"), "{shown}");
            cause = error.source();
        }
    }
}
