//! Earlier answers in requests to OpenAI-style servers.

use dashgate::config::ServerKind::{self, OpenAi, Vllm};
use dashgate::grpc::pb::{self, audio, content};
use serde_json::json;

use crate::openai_requests::{WAV, audio, sent, text};
use crate::support::*;

fn message(role: pb::Role, parts: Vec<content::Kind>) -> pb::Message {
    pb::Message {
        role: role.into(),
        content: parts
            .into_iter()
            .map(|kind| pb::Content {
                kind: Some(kind),
                ..pb::Content::default()
            })
            .collect(),
        ..pb::Message::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_spoken_answer_can_be_sent_back_as_it_came() {
    let mut spoken = message(
        pb::Role::Assistant,
        vec![
            text("Good "),
            text("day"),
            audio(audio::Source::Data(WAV.into())),
        ],
    );
    spoken.reasoning_text = "hm".to_owned();
    let conversation = pb::Conversation {
        model: "m".to_owned(),
        messages: vec![
            message(pb::Role::System, vec![text("Be brief.")]),
            message(pb::Role::User, vec![audio(audio::Source::Data(WAV.into()))]),
            spoken,
            message(pb::Role::User, vec![text("And?")]),
        ],
        ..pb::Conversation::default()
    };
    for kind in ServerKind::ALL {
        let (seen, _) = sent(kind, ask_whole(conversation.clone())).await.unwrap();
        let body = seen.json();
        let messages = &body["messages"];
        assert_eq!(
            messages[0],
            json!({"role": "system", "content": "Be brief."})
        );
        assert_eq!(messages[2]["content"], "Good day", "{kind:?}");
        let reasoning = messages[2].get("reasoning_content").is_some();
        assert_eq!(reasoning, kind != OpenAi, "{kind:?}");
        // Later versions of vLLM ignore the other key.
        let of_vllm = messages[2].get("reasoning").is_some();
        assert_eq!(of_vllm, kind == Vllm, "{kind:?}");
        assert_eq!(messages[3]["content"], "And?");
    }
}

#[tokio::test(start_paused = true)]
async fn tool_calls_and_results_are_sent_back() {
    let mut asked = message(pb::Role::Assistant, Vec::new());
    asked.tool_calls = vec![pb::ToolCall {
        id: "c1".to_owned(),
        r#type: "function".to_owned(),
        name: "now".to_owned(),
        arguments: "{}".to_owned(),
        ..pb::ToolCall::default()
    }];
    let mut result = message(pb::Role::Tool, vec![text("12:00")]);
    result.tool_call_id = "c1".to_owned();
    let conversation = pb::Conversation {
        model: "m".to_owned(),
        messages: vec![message(pb::Role::User, vec![text("?")]), asked, result],
        ..pb::Conversation::default()
    };
    let (seen, _) = sent(OpenAi, ask_whole(conversation)).await.unwrap();
    let body = seen.json();
    assert_eq!(
        body["messages"][1],
        json!({"role": "assistant", "content": "", "tool_calls": [{"id": "c1",
            "type": "function", "function": {"name": "now", "arguments": "{}"}}]})
    );
    let result = json!({"role": "tool", "content": "12:00", "tool_call_id": "c1"});
    assert_eq!(body["messages"][2], result);
}
