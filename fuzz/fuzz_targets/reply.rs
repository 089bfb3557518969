//! Any bytes as an answer of DashScope, whole and as a stream: the contract of the events holds, an
//! answer that is taken is one that `serde_json` reads as well, and no text of it is lost.
#![no_main]

use bytes::Bytes;
use dashgate::chat::answer::{Answer, AnswerBuilder};
use dashgate::chat::event::Event;
use dashgate::dashscope::reply::{Opening, Reply};
use dashgate::dashscope::sse::{Decoder, Limits};
use dashgate::error::Error;
use dashgate::grpc::response::response;
use dashgate::relay::reply::Timing;
use dashgate_fuzz::{base64, statuses};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use serde_json::Value;

const LIMITS: Limits = Limits {
    line_bytes: 1 << 16,
    event_bytes: 1 << 16,
};

fuzz_target!(|bytes: &[u8]| {
    let mut reply = Reply::new(Opening::default());
    let outcome = reply.push_whole(bytes).and_then(|()| reply.finish());
    if let Some(answer) = check(&mut reply, outcome) {
        let text = String::from_utf8_lossy(bytes);
        let json: serde_json::Result<Value> =
            serde_json::from_str(text.trim_start_matches('\u{feff}').trim());
        match json {
            Ok(json) => lost_nothing(&json, answer),
            // A number that no double holds is kept as its digits, where the library has an error.
            Err(error) => assert!(is_too_large(&error), "what is taken is JSON: {error}"),
        }
    }

    let mut reply = Reply::new(Opening::default());
    let outcome = read(bytes, &mut reply).and_then(|()| reply.finish());
    check(&mut reply, outcome);
});

fn is_too_large(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

fn read(bytes: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let mut decoder = Decoder::new(LIMITS);
    decoder.push(Bytes::copy_from_slice(bytes));
    decoder.end();
    while let Ok(Some(frame)) = decoder.next() {
        reply.push_frame(&frame)?;
    }
    Ok(())
}

/// `Started` is first and once; `End` is last, and there exactly when nothing failed. What they add
/// up to, if that is an answer.
fn check(reply: &mut Reply, outcome: Result<(), Error>) -> Option<Answer> {
    let events: Vec<Event> = std::iter::from_fn(|| reply.pop()).collect();
    let starts = events
        .iter()
        .filter(|e| matches!(e, Event::Started(_)))
        .count();
    let ends = events.iter().filter(|e| matches!(e, Event::End(_))).count();
    assert_eq!(starts, usize::from(!events.is_empty()));
    assert_eq!(ends, usize::from(outcome.is_ok()));
    assert!(
        events
            .first()
            .is_none_or(|e| matches!(e, Event::Started(_)))
    );
    match outcome {
        Ok(()) => assert!(matches!(events.last(), Some(Event::End(_)))),
        Err(error) => statuses::check(&error),
    }
    let mut fold = AnswerBuilder::default();
    events.into_iter().find_map(|event| fold.push(event))
}

/// Where an answer has texts: a key, and the keys below it. Below `usage` every key counts.
const DOCUMENTED: [(&str, &[&str]); 6] = [
    ("output", &["choices", "text"]),
    ("choices", &["message"]),
    ("message", &["content", "reasoning_content", "tool_calls"]),
    ("content", &["text"]),
    ("tool_calls", &["function"]),
    ("function", &["name", "arguments"]),
];

/// Every text at a documented place of `output`, and every text of `usage`, is somewhere in the
/// message that the caller gets.
fn lost_nothing(json: &Value, answer: Answer) {
    // Of two choices with one index the first that ends holds: row U19 of docs/behaviour.md.
    let choices = json["output"]["choices"].as_array().map_or(0, Vec::len);
    if answer.choices.len() < choices {
        return;
    }
    let message = response(answer, "request-1", Timing::default()).encode_to_vec();
    let mut texts = Vec::new();
    gather("output", &json["output"], &mut texts);
    gather("usage", &json["usage"], &mut texts);
    for text in texts {
        let found = |text: &[u8]| message.windows(text.len()).any(|part| part == text);
        // Audio is the one thing that is decoded on its way.
        let audio = || base64::decode(text).is_some_and(|bytes| found(&bytes));
        assert!(
            text.is_empty() || found(text.as_bytes()) || audio(),
            "{text:?} is lost"
        );
    }
}

fn gather<'a>(name: &str, value: &'a Value, texts: &mut Vec<&'a str>) {
    let below = DOCUMENTED.iter().find(|(above, _)| *above == name);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| gather(name, item, texts)),
        Value::Object(entries) => {
            for (key, value) in entries {
                if below.is_none_or(|(_, known)| known.contains(&key.as_str())) {
                    gather(key, value, texts);
                }
            }
        }
    }
}
