//! What an answer says, told in two ways: by its JSON alone, and by what a caller got.

use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, content, delta};
use serde_json::{Value, json};
use tonic::Status;

use crate::notation::{counted, object};
use crate::recorded::Recording;

/// What a recorded answer says, all choices and pieces joined.
#[derive(Debug, Default, PartialEq)]
pub struct Meaning {
    request_id: String,
    text: String,
    reasoning: String,
    images: Vec<String>,
    finish_reason: String,
    usage: Value,
    extra_output: Value,
    /// How many pieces of text and thought came.
    pieces: usize,
}

/// The meaning of bodies: one of a whole answer, many of a stream.
pub fn meaning(bodies: &[Value]) -> Meaning {
    let mut meaning = Meaning {
        extra_output: json!({}),
        ..Meaning::default()
    };
    for body in bodies {
        body["request_id"]
            .as_str()
            .unwrap()
            .clone_into(&mut meaning.request_id);
        meaning.usage = body["usage"].clone();
        let mut output = body["output"].as_object().unwrap().clone();
        let choices = output.remove("choices").unwrap();
        for (key, value) in output {
            meaning.extra_output[key] = value;
        }
        let choice = &choices[0];
        let thought = choice["message"]["reasoning_content"].as_str();
        let thought = thought.unwrap_or_default();
        meaning.reasoning.push_str(thought);
        meaning.pieces += usize::from(!thought.is_empty());
        for part in choice["message"]["content"].as_array().unwrap() {
            let text = part["text"].as_str().unwrap_or_default();
            meaning.text.push_str(text);
            meaning.pieces += usize::from(!text.is_empty());
            meaning
                .images
                .extend(part["image"].as_str().map(str::to_owned));
        }
        let reason = choice["finish_reason"].as_str().unwrap_or("null");
        if reason != "null" {
            reason.clone_into(&mut meaning.finish_reason);
        }
    }
    meaning
}

/// The bodies of a recorded answer, by the simplest reading.
pub fn bodies(recording: &Recording) -> Vec<Value> {
    let text = std::str::from_utf8(&recording.answer).unwrap();
    let text = text.trim_start_matches('\u{feff}');
    if recording.is_stream() {
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(|data| serde_json::from_str(data).unwrap())
            .collect()
    } else {
        vec![serde_json::from_str(text).unwrap()]
    }
}

/// What a caller got of a stream.
pub fn heard(events: Vec<Result<pb::ConverseStreamResponse, Status>>) -> Meaning {
    let mut heard = Meaning::default();
    let count = events.len();
    for (at, event) in events.into_iter().enumerate() {
        match event.unwrap().event.unwrap() {
            Event::Started(started) => {
                assert_eq!(at, 0);
                heard.request_id = started.upstream_request_id;
            }
            Event::Delta(delta) => {
                match delta.part.unwrap() {
                    delta::Part::Text(text) => heard.text.push_str(&text),
                    delta::Part::ReasoningText(text) => heard.reasoning.push_str(&text),
                    delta::Part::ImageUri(uri) => heard.images.push(uri),
                    other => panic!("nobody recorded this: {other:?}"),
                }
                heard.pieces += 1;
            }
            Event::Heartbeat(_) => {}
            Event::Completed(completed) => {
                assert_eq!(at + 1, count);
                let [end] = &completed.choices[..] else {
                    panic!("one choice: {completed:?}")
                };
                end.raw_finish_reason.clone_into(&mut heard.finish_reason);
                heard.usage = counted(&completed.usage.unwrap());
                heard.extra_output = object(completed.extra_output.as_ref());
            }
        }
    }
    heard
}

/// What a caller got as a whole.
pub fn read(response: pb::ConverseResponse) -> Meaning {
    let mut read = Meaning {
        request_id: response.upstream_request_id,
        usage: counted(&response.usage.unwrap()),
        extra_output: object(response.extra_output.as_ref()),
        ..Meaning::default()
    };
    let [choice] = &response.choices[..] else {
        panic!("one choice: {:?}", response.choices)
    };
    choice.raw_finish_reason.clone_into(&mut read.finish_reason);
    let message = choice.message.as_ref().unwrap();
    assert_eq!(message.role(), pb::Role::Assistant);
    message.reasoning_text.clone_into(&mut read.reasoning);
    for part in &message.content {
        match part.kind.as_ref().unwrap() {
            content::Kind::Text(text) => read.text.push_str(text),
            content::Kind::Image(pb::Image {
                source: Some(pb::image::Source::Uri(uri)),
                ..
            }) => read.images.push(uri.clone()),
            other => panic!("nobody recorded this: {other:?}"),
        }
        read.pieces += usize::from(matches!(part.kind, Some(content::Kind::Text(_))));
    }
    read
}
