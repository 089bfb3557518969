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
        (json!("no JSON"), "messages: "),
        (json!([1]), "messages[0]: not an object"),
        (json!([{"content": "a"}]), "messages[0].role: missing"),
        (
            json!([{"role": "judge"}]),
            "messages[0].role: unknown: judge",
        ),
        (
            json!([{"role": "user", "name": "Ada"}]),
            "messages[0].name: unknown",
        ),
        (user(json!(1)), "messages[0].content: not a list"),
        (user(json!([{}])), "messages[0].content[0]: no text"),
        (
            user(json!([{"type": "smell"}])),
            "messages[0].content[0].type: unknown: smell",
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
            "messages[0].tool_calls[0].type: unknown: magic",
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
