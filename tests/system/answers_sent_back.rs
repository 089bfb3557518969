//! What the gateway itself put into an answer is accepted when the message is sent back unchanged,
//! and goes to DashScope as it came.

use dashgate::grpc::pb;
use serde_json::{Value, json};
use tonic::Code;

use crate::notation::message;
use crate::support::*;

fn ask() -> Value {
    json!({"conversation": {"model": "m", "messages": [
        {"role": "ROLE_USER", "content": [{"text": "?"}]}]}})
}

fn answer_of(message: &Value) -> String {
    json!({"output": {"choices": [{"finish_reason": "stop", "message": message}]}}).to_string()
}

/// The message as DashScope gets it back.
async fn sent_back(wire: &Value) -> Value {
    let upstream = Upstream::always(json(200, &answer_of(wire))).await;
    let gateway = gateway(&upstream).await;
    let first: pb::ConverseRequest = message(&ask());
    let mut again = first.clone();
    let answer = gateway.conversation().converse(first).await.unwrap();
    let turn = answer.into_inner().choices.remove(0).message.unwrap();
    again.conversation.as_mut().unwrap().messages.push(turn);
    let second = gateway.conversation().converse(again).await;
    assert!(second.is_ok(), "{wire}: {second:?}");
    upstream.seen()[1].json()["input"]["messages"][1].clone()
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_back_as_it_came() {
    let call = |rest: Value| {
        let mut call = json!({"index": 0, "id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{}"}});
        for (key, value) in rest.as_object().unwrap() {
            call[key] = value.clone();
        }
        json!({"role": "assistant", "content": [], "tool_calls": [call]})
    };
    let says = |part: Value| json!({"role": "assistant", "content": [{"text": "a"}, part]});
    for wire in [
        says(json!({"video": "https://x.test/v.mp4", "fps": 2})),
        says(json!({"video": ["https://x.test/1.png", "https://x.test/2.png"]})),
        says(json!({"image": ["https://x.test/1.png"]})),
        says(json!({"image": {"url": "https://x.test/1.png"}})),
        says(json!({"image": "1.png"})),
        says(json!({"audio": "a.wav"})),
        says(json!({"audio": {"id": "audio-1", "expires_at": 1_800_000_000, "form": "wav"}})),
        says(json!({"audio": 5, "text": "b"})),
        says(json!({"text": "b", "image": {"url": "u"}, "video": "https://x.test/v.mp4"})),
        says(json!({"text": {"words": ["b"]}})),
        says(json!({"text": "b", "n": 1e30, "m": [{"k": -2e40}]})),
        says(json!(true)),
        json!({"role": "assistant", "content": [], "refusal": "no"}),
        json!({"role": "assistant", "content": [], "scale": 1e30}),
        json!({"role": "assistant", "content": [], "reasoning_content": "r"}),
        json!({"role": "assistant", "content": []}),
        json!({"role": "critic", "content": [{"text": "a"}]}),
        call(json!({"scale": 1e30})),
        call(json!({"index": "first"})),
        call(json!({"function": {"name": "f", "arguments": "{}", "scale": 1e30}})),
        call(json!({"function": [1]})),
        json!({"role": "assistant", "content": [], "tool_calls": [
            {"index": 0, "id": "c", "type": "builtin", "builtin": {"x": 1}}]}),
        json!({"role": "assistant", "content": [], "tool_calls": [
            {"index": 0, "id": "c", "type": "function",
             "function": {"name": "f", "arguments": "{}"}}, "odd"]}),
    ] {
        assert_eq!(sent_back(&wire).await, wire);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_says_is_checked_as_before() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let private = json!({"image": ["http://169.254.169.254/1.png"]});
    let path = "conversation.messages[0]";
    for (message, field) in [
        (
            json!({"role": "ROLE_USER", "content": [{"extra": {"video": "https://x.test/v"}}]}),
            format!("{path}.content[0].extra.video"),
        ),
        (
            json!({"role": "ROLE_USER", "content": [{"image": {"uri": "1.png"}}]}),
            format!("{path}.content[0].image.uri"),
        ),
        (
            json!({"role": "ROLE_USER", "content": [{"text": "a"}], "extra": {"n": 1e30}}),
            format!("{path}.extra.n"),
        ),
        (
            json!({"role": "ROLE_USER", "extra": {"refusal": "no"}}),
            format!("{path}.content"),
        ),
        (
            json!({"role": "ROLE_ASSISTANT", "content": [{"text": "a", "extra": {"text": "b"}}]}),
            format!("{path}.content[0].extra.text"),
        ),
        (
            json!({"role": "ROLE_ASSISTANT", "content": [{"extra": private}]}),
            format!("{path}.content[0].extra"),
        ),
        (
            json!({"role": "ROLE_USER", "extra": {"content": [private]}}),
            format!("{path}.extra"),
        ),
    ] {
        let request = json!({"conversation": {"model": "m", "messages": [message]}});
        let request: pb::ConverseRequest = crate::notation::message(&request);
        let outcome = gateway.conversation().converse(request).await;
        let status = outcome.expect_err(&format!("{message}"));
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), [field]);
    }
    assert!(upstream.seen().is_empty());
}
