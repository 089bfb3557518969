//! Answers that are small on the wire and large once they are decoded, or nested so deep that
//! callers could not decode them; and large answers of honest models, which pass.

use std::time::Duration;

use dashgate::chat::document::MAX_LEVELS;
use dashgate::grpc::pb;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::{Code, Request, Status};

use super::memory::{Client, MIB, gzip};
use crate::support::*;

fn caller(process: &Process) -> ConversationServiceClient<Client> {
    ConversationServiceClient::with_origin(process.client(), process.origin())
        .max_decoding_message_size(64 * MIB)
}

/// What of an answer is said, and what stands beside it.
#[derive(Clone, Default)]
struct Said {
    in_message: String,
    in_choice: String,
    in_output: String,
    in_body: String,
    content: Option<String>,
}

impl Said {
    fn json(&self) -> String {
        let content = self.content.as_deref().unwrap_or(r#"[{"text":"x"}]"#);
        let Self {
            in_message,
            in_choice,
            in_output,
            in_body,
            ..
        } = self;
        format!(
            "{{\"output\":{{\"choices\":[{{\"finish_reason\":\"stop\",\"message\":{{\"role\":\
             \"assistant\",\"content\":{content}{in_message}}}{in_choice}}}]{in_output}}}{in_body},\
             \"request_id\":\"up\"}}"
        )
    }
}

/// A list of so many of these.
fn list(element: &str, count: usize) -> String {
    let mut list = String::with_capacity((element.len() + 1) * count + 2);
    list.push('[');
    for at in 0..count {
        if at > 0 {
            list.push(',');
        }
        list.push_str(element);
    }
    list + "]"
}

/// Everything of which an answer may have many, so often.
fn bombs(count: usize) -> Vec<(&'static str, Said)> {
    let said = Said::default;
    let content = |element| Said {
        content: Some(list(element, count)),
        ..said()
    };
    let in_output = |element: &str| Said {
        in_output: format!(",\"zz\":{}", list(element, count)),
        ..said()
    };
    let in_message = |key, element| Said {
        in_message: format!(",\"{key}\":{}", list(element, count)),
        ..said()
    };
    let keys: Vec<_> = (0..count).map(|key| format!("\"{key}\":0")).collect();
    vec![
        ("empty parts", content("{}")),
        ("parts of numbers", content("5")),
        ("parts of texts", content("\"\"")),
        ("parts of one letter", content(r#"{"text":"a"}"#)),
        ("parts of another kind", content(r#"{"k":1}"#)),
        ("numbers", in_output("0")),
        ("nulls", in_output("null")),
        ("lists", in_output("[0]")),
        ("objects", in_output(r#"{"k":0}"#)),
        (
            "keys",
            Said {
                in_body: format!(",\"zz\":{{{}}}", keys.join(",")),
                ..said()
            },
        ),
        (
            "usage",
            Said {
                in_body: format!(",\"usage\":{{\"zz\":{}}}", list("0", count)),
                ..said()
            },
        ),
        ("tool calls", in_message("tool_calls", "{}")),
        ("notes", in_message("annotations", "\"a\"")),
        (
            "choices",
            Said {
                in_body: format!(",\"output\":{{\"choices\":{}}}", list("null", count)),
                ..said()
            },
        ),
        (
            "words",
            Said {
                in_choice: format!(",\"logprobs\":{{\"content\":{}}}", list("{}", count)),
                ..said()
            },
        ),
    ]
}

fn zipped(content_type: &str, body: &str) -> Vec<Step> {
    let headers = format!("content-type: {content_type}\r\ncontent-encoding: gzip\r\n");
    http(200, &headers, &gzip(body.as_bytes()))
}

/// A gateway with a limit of 64 MiB before an upstream that gives these answers in turn, and its
/// peak once the first of them, which is harmless, has come.
async fn before_these(answers: Vec<Vec<Step>>) -> (Upstream, Process, usize) {
    let upstream = Upstream::start(move |number, _| answers[number % answers.len()].clone()).await;
    let limit = [("memory.limit", "64MiB")];
    // The allocator gives back at once what is freed. It keeps it for a while otherwise, at each of
    // its threads, and the peak would depend on which of them run.
    let limits = "export MIMALLOC_PURGE_DELAY=0; ulimit -v 2097152";
    let process = Process::start(upstream.address, &limit, limits);
    ask(&process, false).await.unwrap();
    let peak = process.peak();
    (upstream, process, peak)
}

async fn ask(process: &Process, streamed: bool) -> Result<(), Status> {
    let mut client = caller(process);
    if !streamed {
        return client.converse(ask_whole(question())).await.map(drop);
    }
    let events = client.converse_stream(ask_stream(question())).await?;
    let mut events = events.into_inner();
    while events.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn u29_a_bomb_of_elements_in_an_answer_is_refused_before_it_is_decoded() {
    const COUNT: usize = 200_000;
    let mut answers = vec![json(200, &whole("x"))];
    for (_, said) in bombs(COUNT) {
        answers.push(zipped("application/json", &said.json()));
        let event = format!("data:{}\n\n", said.json());
        answers.push(zipped("text/event-stream", &event));
    }
    let (_upstream, mut process, before) = before_these(answers).await;
    for (name, _) in bombs(1) {
        for streamed in [false, true] {
            let status = ask(&process, streamed).await.unwrap_err();
            assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
            assert!(
                status.message().contains("memory.limit"),
                "{name} {status:?}"
            );
        }
    }
    let grown = process.peak() - before;
    println!("{} MiB more at the peak", grown / MIB);
    assert!(grown < 64 * MIB, "{grown} bytes");
    assert!(process.is_alive());
    ask(&process, false).await.unwrap();
}

/// Bombs of each kind that just fit are read, or fail for another reason, within the half of the
/// memory limit that one call may hold.
#[tokio::test]
async fn u29_elements_that_are_let_through_stay_within_the_memory_limit() {
    const HALF: usize = 32 * MIB;
    // What one element of each kind counts as.
    let weights = [
        1472, 192, 1472, 1472, 1472, 192, 192, 448, 1472, 384, 192, 1472, 1472, 192, 1472,
    ];
    assert_eq!(weights.len(), bombs(1).len());
    let mut answers = vec![json(200, &whole("x"))];
    for (kind, weight) in weights.into_iter().enumerate() {
        for count in [HALF * 49 / 50 / weight, HALF * 21 / 20 / weight] {
            let (_, said) = bombs(count).swap_remove(kind);
            answers.push(json(200, &said.json()));
        }
    }
    let (_upstream, mut process, before) = before_these(answers).await;
    for (name, _) in bombs(1) {
        let is_refused = |outcome: Result<(), Status>| {
            outcome.is_err_and(|status| status.message().contains("memory.limit"))
        };
        assert!(!is_refused(ask(&process, false).await), "{name} fits");
        let grown = process.peak() - before;
        println!("{name}: {} MiB more at the peak", grown / MIB);
        assert!(
            is_refused(ask(&process, false).await),
            "{name} does not fit"
        );
    }
    let grown = process.peak() - before;
    assert!(grown < HALF, "{grown} bytes");
    assert!(process.is_alive());
}

#[tokio::test]
async fn the_tokens_of_a_long_answer_pass_with_all_their_alternatives() {
    const WORDS: usize = 8000;
    let other = r#"{"token":"word","bytes":[119,111,114,100],"logprob":-12.25}"#;
    let word = format!(
        "{{\"token\":\"word\",\"bytes\":[119],\"logprob\":-0.5,\"top_logprobs\":{}}}",
        list(other, 20)
    );
    let answer = Said {
        in_choice: format!(",\"logprobs\":{{\"content\":{}}}", list(&word, WORDS)),
        ..Said::default()
    };
    let upstream = Upstream::always(zipped("application/json", &answer.json())).await;
    let process = Process::start(upstream.address, &[], "");
    let answer = caller(&process).converse(ask_whole(question())).await;
    let answer = answer.unwrap().into_inner();
    let words = &answer.choices[0].logprobs.as_ref().unwrap().content;
    assert_eq!(words.len(), WORDS);
    assert!(words.iter().all(|word| word.top_logprobs.len() == 20));
}

/// So many levels of objects and lists around a number.
fn nested(levels: usize) -> String {
    let open: String = (0..levels)
        .map(|at| if at % 2 == 0 { "{\"k\":" } else { "[" })
        .collect();
    let close: String = (0..levels)
        .rev()
        .map(|at| if at % 2 == 0 { "}" } else { "]" })
        .collect();
    open + "1" + &close
}

/// The levels of a document, and the text at its bottom.
fn bottom(value: &Value, levels: u32) -> (u32, Option<&str>) {
    match value.kind.as_ref().unwrap() {
        Kind::StructValue(object) => bottom(object.fields.values().next().unwrap(), levels + 1),
        Kind::ListValue(list) => bottom(&list.values[0], levels + 1),
        Kind::StringValue(text) => (levels, Some(text)),
        _ => (levels, None),
    }
}

fn key<'s>(object: &'s Option<Struct>, key: &str) -> (u32, Option<&'s str>) {
    bottom(&object.as_ref().unwrap().fields[key], 1)
}

#[tokio::test]
async fn u18_what_is_nested_deep_is_kept_as_text_that_callers_can_decode() {
    for levels in [10, 30, 60, 120, 2000] {
        let deep = nested(levels);
        let tokens = "{\"top_logprobs\":[".repeat(60) + "{}" + &"]}".repeat(60);
        let said = Said {
            content: Some(format!("[{{\"text\":\"x\",\"part\":{deep}}}]")),
            in_message: format!(",\"message\":{deep}"),
            in_choice: format!(",\"choice\":{deep},\"logprobs\":[{tokens}]"),
            in_output: format!(",\"output\":{deep}"),
            in_body: format!(",\"body\":{deep},\"usage\":{{\"usage\":{deep}}}"),
        };
        let body = said.json();
        let steps = vec![sse(), piece(format!("data:{body}\n\n")), end()];
        let upstream = Upstream::start(move |number, _| match number {
            0 => json(200, &body),
            _ => steps.clone(),
        })
        .await;
        let gateway = gateway(&upstream).await;
        let answer = gateway.conversation().converse(ask_whole(question())).await;
        let answer = answer.unwrap().into_inner();
        let choice = &answer.choices[0];
        let turn = choice.message.as_ref().unwrap();
        let usage = answer.usage.as_ref().unwrap();
        let found = [
            key(&turn.content[0].extra, "part"),
            key(&turn.extra, "message"),
            key(&choice.extra, "choice"),
            key(&answer.extra_output, "output"),
            key(&answer.extra, "body"),
            key(&usage.extra, "usage"),
        ];
        let warned: Vec<_> = answer.warnings.iter().map(|w| w.field.as_str()).collect();
        for (depth, text) in found {
            assert!(depth <= MAX_LEVELS, "{levels}: {depth}");
            assert_eq!(text.is_some(), levels > 24, "{levels}");
            assert!(text.is_none_or(|text| deep.contains(text)), "{text:?}");
        }
        if levels > 24 {
            let path = warned
                .iter()
                .find(|path| path.starts_with("output.output.k.k"));
            assert!(path.is_some(), "{warned:?}");
            assert!(
                warned
                    .iter()
                    .any(|path| path.starts_with("usage.usage.k.k"))
            );
            let code = |warning: &pb::Warning| warning.code == "ANSWER_PART_DROPPED";
            assert!(answer.warnings.iter().all(code), "{:?}", answer.warnings);
        }
        // The same in events, each of which can be decoded.
        let events = gateway
            .conversation()
            .converse_stream(ask_stream(question()))
            .await;
        let mut events = events.unwrap().into_inner();
        while events.message().await.unwrap().is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u16_what_carries_nothing_ends_a_stream_before_its_deadline() {
    let extension = format!("1;{}\r\n \r\n", "e".repeat(200)).repeat(64);
    let empty = piece(frame(1, "", "null").repeat(64));
    let Step::Write(empty) = empty else {
        panic!("a piece is written");
    };
    for (name, again) in [
        ("chunks of extensions", extension.into_bytes()),
        ("empty events", empty),
    ] {
        let steps = vec![sse(), piece(frame(1, "x", "null")), Step::Flood(again)];
        let upstream = Upstream::always(steps).await;
        let gateway = gateway(&upstream).await;
        let mut request = Request::new(ask_stream(question()));
        request.set_timeout(Duration::from_secs(100));
        let events = gateway.conversation().converse_stream(request).await;
        let mut events = events.unwrap().into_inner();
        let status = loop {
            match events.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{name}: it has ended well"),
                Err(status) => break status,
            }
        };
        assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
    }
}
