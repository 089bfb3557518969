//! Keys that the schema does not know, over the events of one stream: nothing of them is lost
//! without a warning, whether the gateway or the caller adds the events up.

use dashgate::grpc::pb::{self, content, converse_stream_response::Event, delta};
use serde_json::{Map, Value, json};

use crate::notation::{counted, message, object};
use crate::support::*;

pub fn event(body: &Value) -> Step {
    piece(format!("event:result\n:HTTP_STATUS/200\ndata:{body}\n\n"))
}

pub fn ask() -> Value {
    json!({"conversation": {"model": "m", "messages": [
        {"role": "ROLE_USER", "content": [{"text": "?"}]}]}})
}

/// What a caller has of an answer in the end.
#[derive(Debug, PartialEq)]
struct Had {
    text: String,
    message: Value,
    choice: Value,
    output: Value,
    body: Value,
    usage: Value,
    warnings: Vec<pb::Warning>,
}

fn texts(message: &pb::Message) -> String {
    let texts = message.content.iter().filter_map(|part| match &part.kind {
        Some(content::Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// A gateway in front of these events, and the answer that it adds up of them.
pub async fn added_up(bodies: &[Value]) -> (Upstream, Running, pb::ConverseResponse) {
    let mut steps = vec![sse()];
    steps.extend(bodies.iter().map(event));
    let upstream = Upstream::always(steps).await;
    let mut settings = settings(&upstream);
    settings.upstream.stream_only_models = vec!["*".to_owned()];
    let gateway = gateway_with(settings).await;
    let request: pb::ConverseRequest = message(&ask());
    let answer = gateway.conversation().converse(request).await;
    let answer = answer.unwrap().into_inner();
    (upstream, gateway, answer)
}

/// The answer of these events, added up by the gateway, and from the deltas of a stream.
async fn both(bodies: &[Value]) -> [Had; 2] {
    let (_upstream, gateway, answer) = added_up(bodies).await;
    let turn = answer.choices[0].message.as_ref().unwrap();
    let whole = Had {
        text: texts(turn),
        message: object(turn.extra.as_ref()),
        choice: object(answer.choices[0].extra.as_ref()),
        output: object(answer.extra_output.as_ref()),
        body: object(answer.extra.as_ref()),
        usage: answer.usage.as_deref().map_or(json!({}), counted),
        warnings: answer.warnings,
    };
    let request: pb::ConverseStreamRequest = message(&ask());
    let stream = gateway.conversation().converse_stream(request).await;
    let mut stream = stream.unwrap().into_inner();
    let (mut text, mut keys, mut end) = (String::new(), Map::new(), None);
    while let Some(event) = stream.message().await.unwrap() {
        match event.event {
            Some(Event::Delta(delta)) => match delta.part {
                Some(delta::Part::Text(more)) => text.push_str(&more),
                Some(delta::Part::MessageExtra(extra)) => {
                    let Value::Object(more) = object(Some(&extra)) else {
                        unreachable!()
                    };
                    keys.extend(more);
                }
                _ => {}
            },
            Some(Event::Completed(completed)) => end = Some(completed),
            _ => {}
        }
    }
    let end = end.unwrap();
    let streamed = Had {
        text,
        message: Value::Object(keys),
        choice: object(end.choices[0].extra.as_ref()),
        output: object(end.extra_output.as_ref()),
        body: object(end.extra.as_ref()),
        usage: end.usage.as_ref().map_or(json!({}), counted),
        warnings: end.warnings,
    };
    [whole, streamed]
}

async fn one(bodies: &[Value]) -> Had {
    let [whole, streamed] = both(bodies).await;
    assert_eq!(whole, streamed);
    whole
}

pub fn choice(keys: Value, finish: &str) -> Value {
    let mut choice = json!({"index": 0, "finish_reason": finish});
    choice
        .as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    json!({"output": {"choices": [choice]}})
}

fn finish(at: usize, count: usize) -> &'static str {
    if at + 1 == count { "stop" } else { "null" }
}

const PIECES: [&str; 4] = ["The ", "cat ", "sat.", ""];

pub fn pieces(frame: impl Fn(&str, &str) -> Value) -> Vec<Value> {
    let pieces = PIECES.iter().enumerate();
    pieces
        .map(|(at, text)| frame(text, finish(at, PIECES.len())))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_under_another_name_is_one() {
    let said = |text: &str| json!({"role": "assistant", "content": text});
    for bodies in [
        pieces(|text, end| choice(json!({"delta": {"content": text}}), end)),
        pieces(|text, end| {
            choice(
                json!({"delta": [{"text": text}], "message": said(text)}),
                end,
            )
        }),
        pieces(|text, end| choice(json!({"reply": said(text)}), end)),
        pieces(|text, end| choice(json!({"text": text}), end)),
        pieces(|text, end| json!({"output": {"message": said(text), "finish_reason": end}})),
        pieces(|text, end| json!({"output": {"reply": said(text), "finish_reason": end}})),
        pieces(|text, end| json!({"message": said(text), "finish_reason": end})),
    ] {
        let had = one(&bodies).await;
        assert_eq!(had.text, "The cat sat.", "{}", bodies[0]);
        assert!(had.warnings.is_empty(), "{had:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pieces_of_a_key_are_joined_wherever_it_stands() {
    let with = |text: &str, end: &str| {
        let mut said = json!({"role": "assistant", "content": [{"text": text}]});
        said["thinking"] = json!(text);
        let mut body = choice(json!({"message": said, "deep": {"note": text}}), end);
        body["output"]["heard"] = json!(text);
        body["output"]["words"] = json!([{"word": text}]);
        body["trace"] = json!([text]);
        body
    };
    let had = one(&pieces(with)).await;
    let whole = "The cat sat.";
    assert_eq!(had.message, json!({"thinking": whole}));
    assert_eq!(had.choice, json!({"deep": {"note": whole}}));
    assert_eq!(had.output["heard"], whole);
    let words: Vec<_> = PIECES.iter().map(|word| json!({"word": word})).collect();
    assert_eq!(had.output["words"], json!(words));
    assert_eq!(had.body, json!({"trace": PIECES}));
    assert!(had.warnings.is_empty(), "{had:?}");
}

#[tokio::test(start_paused = true)]
async fn counts_of_several_events_are_added_key_by_key() {
    let with = |usage: Value, end: &str| {
        let text = if end == "stop" { "" } else { "x" };
        let said = json!({"role": "assistant", "content": [{"text": text}]});
        let mut body = choice(json!({"message": said}), end);
        body["usage"] = usage;
        body
    };
    let had = one(&[
        with(json!({"input_tokens": 7, "details": {"a": 1}}), "null"),
        with(json!({"output_tokens": 2, "details": {"b": 5}}), "null"),
        with(json!({"output_tokens": 11, "details": {"b": 5}}), "stop"),
    ])
    .await;
    let expected = json!({"input_tokens": 7, "output_tokens": 11, "details": {"a": 1, "b": 5}});
    assert_eq!(had.usage, expected);
    assert!(had.warnings.is_empty(), "{had:?}");
    let had = one(&[
        with(json!({"input_tokens": 7}), "null"),
        with(json!({"input_tokens": 0}), "stop"),
    ])
    .await;
    assert_eq!(had.usage, json!({"input_tokens": 0}));
    assert_eq!(had.warnings[0].field, "usage.input_tokens");
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_end_is_kept_or_warned_of() {
    let said = |extra: Value| {
        let mut said = json!({"role": "assistant", "content": []});
        said.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        said
    };
    let text = json!({"content": [{"text": "x"}], "refusal": "n"});
    let had = one(&[
        choice(json!({"message": said(text)}), "stop"),
        choice(
            json!({"message": said(json!({"refusal": "o"})), "note": "late"}),
            "stop",
        ),
    ])
    .await;
    assert_eq!(had.message, json!({"refusal": "no"}));
    assert_eq!(had.choice, json!({"note": "late"}));
    assert!(had.warnings.is_empty(), "{had:?}");
    let audio = json!({"data": "AAAA"});
    let mut late = choice(json!({"message": said(json!({}))}), "stop");
    late["output"]["audio"] = audio;
    let text = json!({"content": [{"text": "x"}]});
    let had = one(&[choice(json!({"message": said(text.clone())}), "stop"), late]).await;
    assert_eq!(had.warnings[0].code, "ANSWER_PART_DROPPED");
    let first = choice(json!({"message": said(text)}), "stop");
    let late = choice(json!({"message": said(json!({}))}), "length");
    let had = one(&[first.clone(), late]).await;
    assert_eq!(had.warnings[0].field, "output.choices[0].finish_reason");
    let note = json!({"annotations": [{"type": "late-note"}]});
    let late = choice(json!({"message": said(note)}), "stop");
    let (_upstream, _gateway, answer) = added_up(&[first, late.clone(), late]).await;
    let turn = answer.choices[0].message.as_ref().unwrap();
    assert_eq!(turn.annotations.len(), 1);
    assert_eq!(turn.annotations[0].r#type, "late-note");
    assert!(answer.warnings.is_empty(), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn sources_that_a_later_event_leaves_out_are_warned_of() {
    let with = |urls: &[&str], end: &str| {
        let results: Vec<_> = urls.iter().map(|url| json!({"url": url})).collect();
        let text = if end == "stop" { "" } else { "x" };
        let said = json!({"role": "assistant", "content": [{"text": text}]});
        let mut body = choice(json!({"message": said}), end);
        body["output"]["search_info"] = json!({"search_results": results});
        body
    };
    let had = one(&[with(&["a"], "null"), with(&["a", "b"], "stop")]).await;
    assert!(had.warnings.is_empty(), "{had:?}");
    let had = one(&[with(&["a"], "null"), with(&["b"], "stop")]).await;
    assert_eq!(had.warnings[0].field, "output.search_info");
}

/// A small generator: each case is made again by its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.roll(if depth == 0 { 5 } else { 7 }) {
            0..=2 => {
                let length = self.roll(3);
                let letters = (0..length).map(|_| ["a", "b", "c"][self.roll(3) as usize]);
                json!(letters.collect::<String>())
            }
            3 => json!(self.roll(4)),
            4 => json!(self.roll(2) == 1),
            5 => {
                let length = self.roll(3);
                Value::Array((0..length).map(|_| self.value(depth - 1)).collect())
            }
            _ => self.keys(depth - 1),
        }
    }

    fn keys(&mut self, depth: u32) -> Value {
        let count = self.roll(3);
        let entries = (0..count).map(|_| {
            let key = ["key-1", "key-2", "key-3"][self.roll(3) as usize];
            (key.to_owned(), self.value(depth))
        });
        Value::Object(entries.collect())
    }
}

/// Whether all that a value says is in another one.
fn holds(whole: &Value, value: &Value) -> bool {
    match (whole, value) {
        (Value::String(whole), Value::String(value)) => whole.contains(value.as_str()),
        (Value::Number(whole), Value::Number(value)) => value.as_f64() <= whole.as_f64(),
        (Value::Bool(whole), Value::Bool(value)) => value <= whole,
        (Value::Array(whole), Value::Array(value)) => {
            value.is_empty() || whole.windows(value.len()).any(|part| part == value)
        }
        (Value::Object(whole), Value::Object(value)) => value
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|whole| holds(whole, value))),
        _ => false,
    }
}

pub fn extend(object: &mut Value, keys: &Value) {
    let keys = keys.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(keys);
}

#[tokio::test(start_paused = true)]
async fn random_keys_are_kept_or_warned_of() {
    let mut kept = 0;
    for case in 0..60 {
        let mut dice = Dice(case);
        let count = 2 + dice.roll(3) as usize;
        let (mut bodies, mut sent) = (Vec::new(), Vec::new());
        for at in 0..count {
            let [body_keys, output_keys, choice_keys, message_keys] =
                std::array::from_fn(|_| dice.keys(2));
            let text = ["x", "y", "z", "w"][at];
            let mut said = json!({"role": "assistant", "content": [{"text": text}]});
            extend(&mut said, &message_keys);
            let mut body = choice(json!({"message": said}), finish(at, count));
            extend(&mut body["output"]["choices"][0], &choice_keys);
            extend(&mut body["output"], &output_keys);
            extend(&mut body, &body_keys);
            bodies.push(body);
            sent.push([body_keys, output_keys, choice_keys, message_keys]);
        }
        let had = one(&bodies).await;
        assert_eq!(had.text, "xyzw"[..count], "case {case}");
        let places = [
            (&had.body, ""),
            (&had.output, "output."),
            (&had.choice, "output.choices[0]."),
            (&had.message, "output.choices[0].message."),
        ];
        for keys in &sent {
            for ((whole, place), keys) in places.iter().zip(keys) {
                for (key, value) in keys.as_object().unwrap() {
                    let path = format!("{place}{key}");
                    if had.warnings.iter().all(|w| !w.field.starts_with(&path)) {
                        let found = whole.get(key).unwrap_or(&Value::Null);
                        assert!(
                            holds(found, value),
                            "case {case}: {path}: {value} in {found}"
                        );
                        kept += 1;
                    }
                }
            }
        }
    }
    assert!(kept > 100, "{kept}");
}
