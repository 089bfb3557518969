//! An answer full of keys, parts, notes or calls that nobody knows costs time in proportion to its
//! size: eight times as much takes about eight times as long, where quadratic work takes 64 times.

use std::time::Duration;

use dashgate::chat::answer::AnswerBuilder;
use dashgate::dashscope::reply::{Opening, Reply};
use dashgate::dashscope::sse::Frame;
use tokio::time::Instant;

/// Reads a stream, and folds what comes of it.
fn read(events: &[String]) {
    let mut reply = Reply::new(Opening::default());
    let mut fold = AnswerBuilder::default();
    for data in events {
        let frame = Frame {
            event: bytes::Bytes::from_static(b"result"),
            data: data.clone().into(),
            http_status: None,
            whole: true,
        };
        reply.push_frame(&frame).unwrap();
    }
    reply.finish_body(true).unwrap();
    let mut answers = 0;
    while let Some(event) = reply.pop() {
        answers += usize::from(fold.push(event).is_some());
    }
    assert_eq!(answers, 1);
}

/// The least time of a few runs: what disturbs a run only makes it longer.
fn least(events: &[String]) -> Duration {
    let run = |_| {
        let begun = Instant::now();
        read(events);
        begun.elapsed()
    };
    (0..3).map(run).min().unwrap()
}

fn says(message: &str, beside: &str, finish: &str) -> String {
    let choice = format!(r#"{{"message":{{{message}}},"finish_reason":"{finish}"}}"#);
    format!(r#"{{"output":{{"choices":[{choice}]{beside}}}}}"#)
}

fn list(many: usize, item: impl Fn(usize) -> String) -> String {
    (0..many).map(item).collect::<Vec<_>>().join(",")
}

type Shape = (&'static str, Box<dyn Fn(usize) -> Vec<String>>);

/// Answers of one event and an end.
fn in_one_event() -> Vec<Shape> {
    fn shape(name: &'static str, make: fn(usize) -> String) -> Shape {
        (
            name,
            Box::new(move |many| vec![make(many), says("", "", "stop")]),
        )
    }
    fn keys(many: usize) -> String {
        list(many, |n| format!(r#""key-number-{n}":{n}"#))
    }
    vec![
        shape("keys of the output", |many| {
            says("", &format!(",{}", keys(many)), "null")
        }),
        shape("keys of the message", |many| says(&keys(many), "", "null")),
        shape("parts of an unknown kind", |many| {
            let parts = list(many, |n| format!(r#"{{"kind-{n}":1}}"#));
            says(&format!(r#""content":[{parts}]"#), "", "null")
        }),
        shape("notes", |many| {
            let notes = list(many, |n| format!(r#"{{"type":"t{n}"}}"#));
            says(&format!(r#""annotations":[{notes}]"#), "", "null")
        }),
        shape("pieces of 1,000 tool calls", |many| {
            let call = |n: usize| {
                let index = n % 1000;
                format!(r#"{{"index":{index},"function":{{"arguments":"{n}"}}}}"#)
            };
            let calls = list(many, call);
            says(&format!(r#""tool_calls":[{calls}]"#), "", "null")
        }),
        shape("the same key, again and again", |many| {
            let keys = list(many, |_| r#""key-number-0":0"#.to_owned());
            says("", &format!(",{keys}"), "null")
        }),
    ]
}

/// Answers of many events.
fn in_many_events() -> Vec<Shape> {
    fn shape(name: &'static str, make: fn(usize) -> String) -> Shape {
        let events = move |many| {
            let events = (0..many / 4).map(make).chain([says("", "", "stop")]);
            events.collect()
        };
        (name, Box::new(events))
    }
    vec![
        shape("a key of the output in each event", |n| {
            says("", &format!(r#","key-{n}":1"#), "null")
        }),
        shape("a key beside the text in each event", |n| {
            let text = if n == 0 { "b" } else { "a" };
            let content = format!(r#""content":[{{"text":"{text}","key-{n}":1}}]"#);
            says(&content, "", "null")
        }),
        shape("the same text in each event", |_| {
            says(r#""content":"a""#, "", "null")
        }),
    ]
}

#[test]
fn unknown_keys_and_many_parts_take_linear_time() {
    for (name, shape) in in_one_event().into_iter().chain(in_many_events()) {
        let (few, many) = (shape(4_000), shape(32_000));
        let (short, long) = (least(&few), least(&many));
        let ratio = long.as_secs_f64() / short.as_secs_f64();
        println!("{name}: {short:?}, then {long:?}: {ratio:.1}");
        assert!(
            ratio < 30.0,
            "{name}: eight times as much takes {ratio:.1} times as long"
        );
    }
}
