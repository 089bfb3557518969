//! The log probabilities of a stream's tokens.

use dashgate::grpc::pb::{self, content, converse_stream_response::Event, delta};
use serde_json::json;

use crate::support::*;

/// The text and the tokens of the answer to these frames, as a stream and as a whole.
async fn tokens(frames: &[(&str, &[&str])]) -> [(String, Vec<String>); 2] {
    let mut steps = vec![sse()];
    for (at, (text, tokens)) in frames.iter().enumerate() {
        let tokens = tokens
            .iter()
            .map(|token| json!({"token": token, "logprob": -1}));
        let finish = if at + 1 == frames.len() {
            "stop"
        } else {
            "null"
        };
        let choice = json!({"finish_reason": finish, "message": {"content": [{"text": text}]},
            "logprobs": {"content": tokens.collect::<Vec<_>>()}});
        let body = json!({"output": {"choices": [choice]}});
        steps.push(piece(format!("event:result\ndata:{body}\n\n")));
    }
    steps.push(end());
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let names = |logprobs: pb::Logprobs| logprobs.content.into_iter().map(|token| token.token);
    let stream = client.converse_stream(ask_stream(question())).await;
    let mut stream = stream.unwrap().into_inner();
    let (mut text, mut all) = (String::new(), Vec::new());
    while let Some(event) = stream.message().await.unwrap() {
        let Some(Event::Delta(delta)) = event.event else {
            continue;
        };
        match delta.part {
            Some(delta::Part::Text(more)) => text.push_str(&more),
            Some(delta::Part::Logprobs(more)) => all.extend(names(more)),
            _ => {}
        }
    }
    let whole = client.converse(ask_whole(question())).await;
    let choice = whole.unwrap().into_inner().choices.remove(0);
    let parts = choice.message.unwrap().content.into_iter();
    let texts = parts.filter_map(|part| match part.kind {
        Some(content::Kind::Text(text)) => Some(text),
        _ => None,
    });
    let whole = (texts.collect(), names(choice.logprobs.unwrap()).collect());
    [(text, all), whole]
}

#[tokio::test(start_paused = true)]
async fn l1_each_token_of_a_cumulative_text_comes_once() {
    let all = ["The", " cat", " sat", " on", " it"];
    let laughs = ["ha", "ha", ", so", " funny it is", ", yes"];
    for (frames, expected) in [
        (
            vec![
                ("The cat", &all[..2]),
                ("The cat sat", &all[..3]),
                ("The cat sat on", &all[..4]),
                ("The cat sat on it", &all[..]),
                ("The cat sat on it", &all[..]),
            ],
            &all[..],
        ),
        (
            vec![
                ("The cat", &all[..2]),
                ("The cat sat", &all[2..3]),
                ("The cat sat on", &all[3..4]),
                ("The cat sat on it", &all[4..]),
                ("The cat sat on it", &[]),
            ],
            &all[..],
        ),
        (
            vec![
                ("ha", &laughs[..1]),
                ("haha", &laughs[1..2]),
                ("haha, so", &laughs[2..3]),
                ("haha, so funny it is", &laughs[3..4]),
                ("haha, so funny it is, yes", &laughs[4..]),
                ("haha, so funny it is, yes", &[]),
            ],
            &laughs[..],
        ),
        (
            vec![
                ("ha", &laughs[..1]),
                ("haha", &laughs[..2]),
                ("haha, so", &laughs[..3]),
                ("haha, so funny it is", &laughs[..4]),
                ("haha, so funny it is, yes", &laughs[..]),
                ("haha, so funny it is, yes", &laughs[..]),
            ],
            &laughs[..],
        ),
    ] {
        for (text, tokens) in tokens(&frames).await {
            assert_eq!(text, expected.concat());
            assert_eq!(tokens, expected, "{frames:?}");
        }
    }
}
