//! Texts and reasoning of OpenAI-style servers that are hard to read.

use dashgate::config::ServerKind;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

use crate::openai_answers::{chunk, settings_of, stream, words};
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_empty_reasoning_does_not_hide_the_other() {
    let bodies = [
        chunk(
            &json!({"reasoning_content": "", "reasoning": "Be"}),
            Value::Null,
        ),
        chunk(
            &json!({"reasoning_content": "cause", "reasoning": "cause"}),
            Value::Null,
        ),
        chunk(&json!({"content": "x", "reasoning": ""}), json!("stop")),
    ];
    let got = stream(ServerKind::OpenAi, &bodies).await;
    assert_eq!((&*got.reasoning(), &*got.texts()), ("Because", "x"));
}

#[tokio::test(start_paused = true)]
async fn half_of_a_surrogate_pair_loses_no_answer() {
    let event = |text: &str, reason: &str| {
        let delta = format!("{{\"content\":\"{text}\"}}");
        let choice = format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}");
        piece(format!("data: {{\"choices\":[{choice}]}}\n\n"))
    };
    let halves = [("a\\ud83d", "null"), ("\\ude00b", "null"), ("", "\"stop\"")];
    let mut steps = vec![sse()];
    steps.extend(halves.iter().map(|(text, reason)| event(text, reason)));
    steps.push(end());
    let upstream = Upstream::always(steps).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let events: Vec<_> = answer.into_inner().collect().await;
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    assert_eq!(texts(&events).concat(), "a\u{fffd}\u{fffd}b");
    assert!(format!("{events:?}").contains("half of a surrogate pair"));
}
