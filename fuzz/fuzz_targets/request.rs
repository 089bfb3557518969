//! Any bytes as a request message: it is refused with the path of each wrong field, or it becomes a
//! request to DashScope that is valid JSON and holds every text of it.
#![no_main]

use std::sync::LazyLock;

use dashgate::chat::call::Delivery;
use dashgate::dashscope::DashScope;
use dashgate::grpc::pb::{self, content};
use dashgate_fuzz::{requests, statuses};
use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message as _;
use serde_json::Value;

static DASHSCOPE: LazyLock<DashScope> = LazyLock::new(requests::dashscope);

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(request) = pb::ConverseRequest::decode(bytes) else {
        return Corpus::Reject;
    };
    for delivery in [Delivery::Whole, Delivery::Stream] {
        let call = match requests::call(request.clone(), delivery) {
            Ok(call) => call,
            Err(error) => {
                statuses::check(&error);
                continue;
            }
        };
        match requests::prepare(&DASHSCOPE, &call) {
            Ok(prepared) => check(&request, &requests::body(&prepared), delivery),
            Err(error) => statuses::check(&error),
        }
    }
    Corpus::Keep
});

/// What the body must hold of the request.
fn check(request: &pb::ConverseRequest, body: &Value, delivery: Delivery) {
    let conversation = request.conversation.as_ref().expect("it was accepted");
    assert_eq!(body["model"], conversation.model.as_str());
    let incremental = &body["parameters"]["incremental_output"];
    match delivery {
        Delivery::Whole => assert!(incremental.is_null()),
        Delivery::Stream => assert_eq!(*incremental, true),
    }
    if request
        .options
        .as_ref()
        .is_some_and(|options| options.speech.is_some())
    {
        // The official client sends a voice without a text as well.
        assert_eq!(
            body["input"]["text"].is_null(),
            conversation.messages.is_empty()
        );
        return;
    }
    let messages = body["input"]["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), conversation.messages.len());
    for (message, sent) in conversation.messages.iter().zip(messages) {
        let parts = sent["content"].as_array().expect("content");
        assert_eq!(parts.len(), message.content.len());
        for (part, sent) in message.content.iter().zip(parts) {
            if let Some(content::Kind::Text(text)) = &part.kind {
                assert_eq!(sent["text"], text.as_str());
            }
            let extra = part.extra.iter().flat_map(|extra| &extra.fields);
            for (key, _) in extra.filter(|(_, value)| !is_null(value)) {
                assert!(sent.get(key).is_some(), "{key}");
            }
        }
        let calls = sent["tool_calls"].as_array().map_or(0, Vec::len);
        assert_eq!(calls, message.tool_calls.len());
        if !message.reasoning_text.is_empty() {
            assert_eq!(sent["reasoning_content"], message.reasoning_text.as_str());
        }
    }
    let tools = body["parameters"]["tools"].as_array().map_or(0, Vec::len);
    assert_eq!(tools, conversation.tools.len());
}

fn is_null(value: &impl std::fmt::Debug) -> bool {
    let text = format!("{value:?}");
    text.contains("NullValue(") || text == "Value { kind: None }"
}
