//! Every recorded answer, with every key at every depth renamed, removed, given another type, and
//! doubled: nothing panics, and what is left of the answer survives, or a typed error comes.
//! Nothing vanishes in silence: each text and number of the answer is found in what a caller gets.

use std::collections::BTreeSet;

use dashgate::chat::answer::{Answer, AnswerBuilder};
use dashgate::chat::warning::Warning;
use dashgate::dashscope::reply::{Opening, Reply};
use dashgate::dashscope::sse::Frame;
use dashgate::error::Error;
use serde_json::{Value, json};

/// A way to a value.
type Way = Vec<Step>;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    At(usize),
}

/// The bodies of answers: one, or the data of a stream's events.
pub fn bodies(text: &str) -> Option<Vec<Value>> {
    if text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('{')
    {
        return Some(vec![
            serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?,
        ]);
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let events = lines.map(|data| serde_json::from_str(data).ok());
    events
        .collect::<Option<Vec<Value>>>()
        .filter(|list| !list.is_empty())
}

/// What was served in the captures of this project.
fn served() -> Vec<Vec<Value>> {
    let mut found = Vec::new();
    for file in ["conversations", "streams", "java"] {
        let path = format!("{}/tests/captures/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let cases: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let mut texts = Vec::new();
            strings(&case["served"], &mut texts);
            found.extend(texts.iter().filter_map(|text| bodies(text)));
        }
    }
    found
}

fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => {
            if fields.contains_key("output") {
                found.push(value.to_string());
            }
            fields.values().for_each(|value| strings(value, found));
        }
        _ => {}
    }
}

/// Answers of every shape that is known, also those that were not recorded.
fn made() -> Vec<Vec<Value>> {
    let choice = json!({
        "index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "reasoning_content": "thinking-text",
            "content": [
                { "text": "text-one", "ocr_result": { "words_info": [{ "word": "w-1" }] } },
                { "text": "text-two", "ocr_result": { "words_info": [{ "word": "w-2" }] } },
                { "image": "https://x.test/image" }, { "audio": { "url": "https://x.test/a",
                    "id": "audio-id", "expires_at": 1_800_000_001 } },
                { "file": { "url": "https://x.test/file" } },
            ],
            "tool_calls": [
                { "index": 0, "id": "call-1", "type": "function",
                  "function": { "name": "first", "arguments": "{\"city\":\"h\"}" } },
                { "index": 1, "id": "call-2", "type": "function",
                  "function": { "name": "second", "arguments": "{}" } },
            ],
            "annotations": [{ "type": "audio_info", "language": "zh", "emotion": "neutral" }],
            "phase": "final",
        },
        "logprobs": { "content": [{ "token": "tok", "bytes": [116], "logprob": -0.5,
            "top_logprobs": [{ "token": "other", "logprob": -1.5 }] }] },
    });
    let usage = json!({ "input_tokens": 1001, "output_tokens_details": { "text_tokens": 1002 },
        "plugins": { "search": { "count": 1003, "strategy": "turbo" } } });
    let search = json!({ "search_results": [{ "index": 1, "title": "title-1",
        "url": "https://x.test/s", "site_name": "site", "icon": "icon-1" }], "more": "more-1" });
    let whole = json!({ "output": { "choices": [choice], "search_info": search,
        "task_metric": { "TOTAL": 1004 } }, "usage": usage, "request_id": "request-1" });
    let speech = json!({ "output": { "finish_reason": "stop", "audio": { "data": "", "id": "i-1",
        "url": "https://x.test/w", "expires_at": 1_800_000_002 } }, "request_id": "request-2",
        "usage": { "characters": 1005 } });
    let heard = json!({ "output": { "sentence": { "text": "heard", "begin_time": 0,
        "words": [{ "text": "heard", "end_time": 1006 }] } }, "request_id": "request-3" });
    vec![vec![whole], vec![speech], vec![heard]]
}

fn read(texts: &[String]) -> Result<Answer, Error> {
    let mut reply = Reply::new(Opening::default());
    match texts {
        [whole] => reply.push_whole(whole.as_bytes())?,
        events => {
            for data in events {
                reply.push_frame(&Frame {
                    event: bytes::Bytes::from_static(b"result"),
                    data: data.clone().into(),
                    http_status: Some(200),
                    whole: true,
                })?;
            }
        }
    }
    reply.finish_body(true)?;
    let mut fold = AnswerBuilder::default();
    let mut answer = None;
    while let Some(event) = reply.pop() {
        assert!(answer.is_none(), "nothing comes after the end");
        answer = fold.push(event);
    }
    Ok(answer.expect("an answer that ends has an end"))
}

/// All keys below a value.
fn ways(value: &Value, way: &mut Way, found: &mut Vec<Way>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                way.push(Step::Key(key.clone()));
                found.push(way.clone());
                ways(value, way, found);
                way.pop();
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                way.push(Step::At(at));
                ways(item, way, found);
                way.pop();
            }
        }
        _ => {}
    }
}

/// The value with the key at the end of a way changed.
fn changed(value: &Value, way: &[Step], change: &Change) -> Value {
    match (way, value) {
        ([Step::Key(key)], Value::Object(fields)) => {
            let entry = |(name, value): (&String, &Value)| match (name == key, change) {
                (true, Change::Remove) => None,
                (true, Change::Rename) => Some((format!("{name}_x"), value.clone())),
                (true, Change::Retype(other)) => Some((name.clone(), other.clone())),
                (true, Change::Double) | (false, _) => Some((name.clone(), value.clone())),
            };
            Value::Object(fields.iter().filter_map(entry).collect())
        }
        ([Step::Key(key), rest @ ..], Value::Object(fields)) => {
            let mut fields = fields.clone();
            fields[key] = changed(&fields[key], rest, change);
            Value::Object(fields)
        }
        ([Step::At(at), rest @ ..], Value::Array(items)) => {
            let mut items = items.clone();
            items[*at] = changed(&items[*at], rest, change);
            Value::Array(items)
        }
        _ => unreachable!("{way:?}"),
    }
}

#[derive(Debug)]
enum Change {
    Rename,
    Remove,
    Double,
    Retype(Value),
}

/// The value as JSON, with the key at the end of a way written twice.
fn doubled(value: &Value, way: &[Step]) -> String {
    match (way, value) {
        ([Step::Key(key), rest @ ..], Value::Object(fields)) => {
            let entry = |(name, value): (&String, &Value)| {
                let quoted = Value::from(name.as_str());
                match name == key {
                    true if rest.is_empty() => format!("{quoted}:{value},{quoted}:{value}"),
                    true => format!("{quoted}:{}", doubled(value, rest)),
                    false => format!("{quoted}:{value}"),
                }
            };
            let entries: Vec<_> = fields.iter().map(entry).collect();
            format!("{{{}}}", entries.join(","))
        }
        ([Step::At(at), rest @ ..], Value::Array(items)) => {
            let item = |(n, item): (usize, &Value)| match n == *at {
                true => doubled(item, rest),
                false => item.to_string(),
            };
            let items: Vec<_> = items.iter().enumerate().map(item).collect();
            format!("[{}]", items.join(","))
        }
        _ => unreachable!("{way:?}"),
    }
}

/// The texts and numbers that a caller must find again.
fn leaves(value: &Value, key: &str, found: &mut BTreeSet<String>) {
    match value {
        // The word for no reason, the one role that needs no mention, and bytes as base64.
        Value::String(text) if key == "finish_reason" && text == "null" => {}
        Value::String(text) if key == "role" && text == "assistant" => {}
        Value::String(_) | Value::Number(_) if key == "data" => {}
        Value::String(text) => {
            let escaped = format!("{text:?}");
            found.insert(escaped.trim_matches('"').to_owned());
        }
        // Small ones are found anywhere, and are no proof.
        Value::Number(number) if number.as_f64().is_some_and(|n| n.abs() > 9.0) => {
            found.insert(number.to_string());
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, key, found)),
        Value::Object(fields) => fields.iter().for_each(|(k, v)| leaves(v, k, found)),
        _ => {}
    }
}

/// What must be found of a whole answer: of a stream only the first name and the last usage hold.
fn expected(bodies: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let usages = bodies.iter().rposition(|body| body["usage"].is_object());
    for (at, body) in bodies.iter().enumerate() {
        for (key, value) in body.as_object().into_iter().flatten() {
            let replaced = match key.as_str() {
                "usage" => usages.is_some_and(|last| at < last),
                "request_id" => at > 0,
                _ => false,
            };
            if !replaced {
                leaves(value, key, &mut found);
            }
        }
    }
    found
}

/// Reads the bodies with one of them written as given, and checks that nothing is lost.
fn check(name: &str, bodies: &[Value], at: usize, text: Option<String>) -> bool {
    let mut texts: Vec<String> = bodies.iter().map(Value::to_string).collect();
    if let Some(text) = text {
        texts[at] = text;
    }
    let Ok(answer) = read(&texts) else {
        return false;
    };
    // What is said after an early end is left out, and that is no secret.
    let is_told = |warning: &Warning| warning.message.contains("after the finish reason");
    if answer.warnings.iter().any(is_told) {
        return true;
    }
    let held = format!("{answer:?}");
    for leaf in expected(bodies) {
        assert!(
            held.contains(&leaf),
            "{name}: {leaf} is lost\n{}\n{held}",
            texts[at]
        );
    }
    true
}

/// Changes each answer in every way; how many of the results were read, and how many refused.
pub fn mutate(answers: &[Vec<Value>]) -> (usize, usize) {
    let retyped = [
        json!("odd-text"),
        json!(4711),
        json!({ "odd-key": "odd-value" }),
        json!(["odd-item"]),
        json!(true),
        json!(null),
        json!([]),
        json!("4711"),
    ];
    let (mut read, mut refused) = (0, 0);
    for (number, bodies) in answers.iter().enumerate() {
        if bodies.len() > 64 || !check("unchanged", bodies, 0, None) {
            continue;
        }
        // The first event, one in the middle and the last two stand for a stream.
        let last = bodies.len() - 1;
        let some = BTreeSet::from([0, last / 2, last.saturating_sub(1), last]);
        for at in some {
            let mut found = Vec::new();
            ways(&bodies[at], &mut Vec::new(), &mut found);
            for way in found {
                let retyped = retyped.iter().cloned().map(Change::Retype);
                let plain = [Change::Rename, Change::Remove, Change::Double];
                for change in plain.into_iter().chain(retyped) {
                    let name = format!("answer {number}, event {at}, {way:?}, {change:?}");
                    let mut other = bodies.clone();
                    other[at] = changed(&bodies[at], &way, &change);
                    let text = matches!(change, Change::Double).then(|| doubled(&bodies[at], &way));
                    match check(&name, &other, at, text) {
                        true => read += 1,
                        false => refused += 1,
                    }
                }
            }
        }
    }
    (read, refused)
}

#[test]
fn s1_no_mutation_of_an_answer_loses_a_part_in_silence() {
    let (read, refused) = mutate(&made());
    assert!(read > 500, "{read} of {}", read + refused);
    let (read, refused) = mutate(&served());
    assert!(
        read > 1000 && read > refused,
        "{read} of {}",
        read + refused
    );
}
