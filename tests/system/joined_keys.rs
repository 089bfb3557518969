//! Keys that the schema does not know, inside tool calls, probabilities and audio files: the events
//! of a stream are added up as for those of messages.

use dashgate::grpc::pb::{self, content, converse_stream_response::Event, delta};
use serde_json::{Value, json};

use crate::notation::{message, object};
use crate::unknown_keys::{added_up, ask, choice, extend, pieces};

/// The keys of the tool call, of the probabilities and of the audio file of an answer, added up by
/// the gateway and from the deltas of a stream; and where a warning says that something is missing.
async fn inner_keys(bodies: &[Value]) -> (Value, Vec<String>) {
    let (_upstream, gateway, answer) = added_up(bodies).await;
    let fields = |warnings: &[pb::Warning]| -> Vec<String> {
        warnings.iter().map(|w| w.field.clone()).collect()
    };
    let choice = &answer.choices[0];
    let said = choice.message.as_ref().unwrap();
    let file = said.content.iter().find_map(|part| match &part.kind {
        Some(content::Kind::Audio(audio)) => audio.file.as_ref(),
        _ => None,
    });
    let whole = json!({
        "call": object(said.tool_calls[0].extra.as_ref()),
        "arguments": said.tool_calls[0].arguments,
        "logprobs": object(choice.logprobs.as_ref().unwrap().extra.as_ref()),
        "tokens": choice.logprobs.as_ref().unwrap().content.len(),
        "file": object(file.unwrap().extra.as_ref()),
    });
    let request: pb::ConverseStreamRequest = message(&ask());
    let stream = gateway.conversation().converse_stream(request).await;
    let mut stream = stream.unwrap().into_inner();
    let mut seen = json!({"call": {}, "logprobs": {}, "file": {}, "arguments": "", "tokens": 0});
    let mut warned = Vec::new();
    while let Some(next) = stream.message().await.unwrap() {
        match next.event.unwrap() {
            Event::Delta(delta) => match delta.part.unwrap() {
                delta::Part::ToolCall(call) => {
                    extend(&mut seen["call"], &object(call.extra.as_ref()));
                    let arguments = seen["arguments"].as_str().unwrap().to_owned();
                    seen["arguments"] = json!(arguments + &call.arguments);
                }
                delta::Part::Logprobs(next) => {
                    extend(&mut seen["logprobs"], &object(next.extra.as_ref()));
                    let tokens = seen["tokens"].as_u64().unwrap();
                    seen["tokens"] = json!(tokens + next.content.len() as u64);
                }
                delta::Part::AudioFile(file) => seen["file"] = object(file.extra.as_ref()),
                _ => {}
            },
            Event::Completed(end) => warned = fields(&end.warnings),
            _ => {}
        }
    }
    assert_eq!(whole, seen);
    assert_eq!(fields(&answer.warnings), warned);
    (whole, warned)
}

#[tokio::test(start_paused = true)]
async fn the_pieces_of_a_key_of_a_call_of_probabilities_and_of_audio_are_joined() {
    let with = |text: &str, end: &str| {
        let call = json!({"index": 0, "id": "a", "type": "function", "thought": text,
            "function": {"name": "f", "arguments": text, "note": {"why": text}}});
        let audio = json!({"data": "AAAA", "id": "s", "transcript": text});
        let said = json!({"role": "assistant", "content": [{"audio": audio}],
            "tool_calls": [call]});
        let probabilities = json!({"content": [{"token": text, "logprob": -1}], "refusal": text});
        choice(json!({"message": said, "logprobs": probabilities}), end)
    };
    let (had, warned) = inner_keys(&pieces(with)).await;
    let whole = "The cat sat.";
    let call = json!({"thought": whole, "function": {"note": {"why": whole}}});
    assert_eq!(had["call"], call);
    assert_eq!(had["arguments"], whole);
    assert_eq!(had["logprobs"], json!({"refusal": whole}));
    assert_eq!(had["tokens"], 4);
    assert_eq!(had["file"], json!({"transcript": whole}));
    assert!(warned.is_empty(), "{warned:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_call_of_probabilities_and_of_audio_that_changes_is_warned_of() {
    let with = |value: Value, end: &str| {
        let call = json!({"index": 0, "id": "a", "x": value,
            "function": {"name": "f", "y": value}});
        let said = json!({"role": "assistant", "tool_calls": [call],
            "content": [{"audio": {"data": "AAAA", "id": "s", "x": value}}]});
        choice(
            json!({"message": said, "logprobs": {"content": [], "x": value}}),
            end,
        )
    };
    let (_, mut warned) = inner_keys(&[with(json!(2), "null"), with(json!(1), "stop")]).await;
    warned.sort();
    let expected = [
        "output.choices[0].logprobs.x",
        "output.choices[0].message.content.audio.x",
        "output.choices[0].message.tool_calls[0].function.y",
        "output.choices[0].message.tool_calls[0].x",
    ];
    assert_eq!(warned, expected);
    // What only comes again is no change.
    let same = [with(json!(2), "null"), with(json!(2), "stop")];
    let (had, warned) = inner_keys(&same).await;
    assert_eq!(had["call"], json!({"x": 2, "function": {"y": 2}}));
    assert!(warned.is_empty(), "{warned:?}");
}
