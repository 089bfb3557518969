//! Tool loops: at the same time, with streams, with functions that fail, and with types.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashgate_client::v1::{self, delta};
use dashgate_client::{Conversation, Tool, ToolError};
use support::{Gateway, Reply, answer, answer_with, events, question, tool_call};
use tokio::sync::Barrier;

/// A gateway whose model calls two functions, and then answers.
async fn calling() -> Gateway {
    Gateway::start(|number, seen| {
        let calls = vec![tool_call(0, "a", "{}"), tool_call(1, "b", "{}")];
        match (number, seen.method.as_str()) {
            (0, "Converse") => Reply::of([answer_with("", calls)]),
            (_, "Converse") => Reply::of([answer("done")]),
            (0, _) => Reply::of(events(calls.into_iter().map(delta::Part::ToolCall))),
            _ => Reply::of(events([delta::Part::Text("done".to_owned())])),
        }
    })
    .await
}

/// Two functions that end only if both run.
fn meeting() -> [Tool; 2] {
    let barrier = Arc::new(Barrier::new(2));
    ["a", "b"].map(|name| {
        let barrier = Arc::clone(&barrier);
        Tool::new(name, "", "{}", move |_: String| {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                Ok::<_, std::io::Error>(format!("{name} was there"))
            }
        })
    })
}

/// The results in a conversation.
fn results(conversation: &Conversation) -> Vec<(String, String)> {
    let messages = conversation.raw().messages.iter();
    let results = messages.filter(|message| message.role() == v1::Role::Tool);
    let text = |message: &v1::Message| match &message.content[0].kind {
        Some(v1::content::Kind::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    results
        .map(|message| (message.tool_call_id.clone(), text(message)))
        .collect()
}

fn expected(results: [(&str, &str); 2]) -> Vec<(String, String)> {
    let owned = |(id, text): (&str, &str)| (id.to_owned(), text.to_owned());
    results.map(owned).to_vec()
}

#[tokio::test]
async fn functions_of_a_round_run_at_the_same_time_and_keep_their_order() {
    let there = expected([("call_0", "a was there"), ("call_1", "b was there")]);
    let gateway = calling().await;
    let mut conversation = question();
    let tools = meeting();
    let run = gateway
        .client()
        .run_tools(&mut conversation, &tools)
        .parallel(true);
    assert_eq!(run.await.unwrap().text(), "done");
    assert_eq!(results(&conversation), there);

    let gateway = calling().await;
    let mut conversation = question();
    let client = gateway.client();
    let mut events = client
        .stream_tools(&mut conversation, &tools)
        .parallel(true);
    let mut sequences = Vec::new();
    while let Some(event) = events.next().await {
        sequences.push(event.unwrap().sequence);
    }
    assert_eq!(sequences, [1, 2, 3, 4, 1, 2, 3]);
    assert_eq!(events.finish().await.unwrap().text(), "done");
    drop(events);
    assert_eq!(results(&conversation), there);
    // Each round is a call with a request id of its own.
    let ids = gateway.seen().into_iter();
    let ids = ids.map(|seen| seen.decoded::<v1::ConverseStreamRequest>().request_id);
    let ids: Vec<_> = ids.collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[tokio::test]
async fn a_loop_with_streams_has_the_texts_headers_and_partial_answer_of_a_stream() {
    let gateway = calling().await;
    let (client, mut conversation, tools) = (gateway.client(), question(), meeting());
    let mut stream = client
        .stream_tools(&mut conversation, &tools)
        .parallel(true);
    assert!(stream.partial().is_none() && stream.headers().is_none());
    stream.next().await.unwrap().unwrap();
    assert!(stream.partial().is_some() && stream.headers().is_some());
    let mut texts = Vec::new();
    let mut deltas = stream.text_deltas();
    while let Some(text) = deltas.next().await {
        texts.push(text.unwrap());
    }
    assert_eq!(texts.concat(), "done");
    assert_eq!(stream.partial().unwrap().text(), "done");
    assert_eq!(stream.finish().await.unwrap().text(), "done");
    // After an error, too.
    let gateway = Gateway::start(|_, _| Reply::of(events([])[..1].to_vec())).await;
    let (client, mut conversation) = (gateway.client(), question());
    let mut stream = client.stream_tools(&mut conversation, &[]);
    assert!(stream.finish().await.is_err());
    assert!(stream.partial().is_some());
}

#[tokio::test]
async fn the_error_of_a_function_is_unchanged_and_no_call_stays_unanswered() {
    for (is_parallel, second) in [(false, "the function was not run"), (true, "b ran")] {
        let gateway = calling().await;
        let tools = [
            Tool::new("a", "", "{}", |_: String| async {
                Err::<String, _>(std::fmt::Error)
            }),
            Tool::new("b", "", "{}", |_: String| async {
                Ok::<_, std::fmt::Error>("b ran".to_owned())
            }),
        ];
        let mut conversation = question();
        let client = gateway.client();
        let run = client
            .run_tools(&mut conversation, &tools)
            .parallel(is_parallel);
        let Err(ToolError::Tool(error)) = run.await else {
            panic!("no error of a tool");
        };
        assert!(error.is::<std::fmt::Error>());
        let results = results(&conversation);
        assert_eq!(results[0].1, r#"{"error":"the function failed"}"#);
        assert!(results[1].1.contains(second), "{results:?}");

        let gateway = calling().await;
        let mut conversation = question();
        let client = gateway.client();
        let mut events = client
            .stream_tools(&mut conversation, &tools)
            .parallel(is_parallel);
        let Err(ToolError::Tool(error)) = events.finish().await else {
            panic!("no error of a tool");
        };
        assert!(error.is::<std::fmt::Error>());
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn dropping_a_loop_cancels_its_call() {
    let gateway = Gateway::start(|_, _| Reply::of(events([])[..1].to_vec()).hanging()).await;
    let mut conversation = question();
    let client = gateway.client();
    let mut events = client.stream_tools(&mut conversation, &[]);
    events.next().await.unwrap().unwrap();
    drop(events);
    gateway.left().await;
    assert_eq!(conversation.raw().messages.len(), 1);
}

#[cfg(feature = "schema")]
#[tokio::test]
async fn a_typed_tool_gets_a_value_and_invalid_arguments_are_shown_to_the_model() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Sum {
        a: i64,
        b: i64,
    }
    let tool = Tool::typed("add", "Adds.", |sum: Sum| async move {
        Ok::<_, std::fmt::Error>((sum.a + sum.b).to_string())
    });
    let gateway = Gateway::start(|number, _| match number {
        0 => Reply::of([answer_with(
            "",
            vec![
                tool_call(0, "add", r#"{"a": 1, "b": 2}"#),
                tool_call(1, "add", r#"{"a": 1}"#),
            ],
        )]),
        _ => Reply::of([answer("3")]),
    })
    .await;
    let mut conversation = question();
    let tools = [tool];
    gateway
        .client()
        .run_tools(&mut conversation, &tools)
        .await
        .unwrap();
    let results = results(&conversation);
    assert_eq!(results[0].1, "3");
    assert!(results[1].1.contains("missing field `b`"), "{results:?}");
    let v1::tool::Kind::Function(function) = conversation.raw().tools[0].kind.clone().unwrap()
    else {
        panic!("no function");
    };
    let schema: serde_json::Value = serde_json::from_str(&function.parameters).unwrap();
    assert_eq!(schema["properties"]["a"]["type"], "integer");
    assert_eq!(schema["required"], serde_json::json!(["a", "b"]));
    assert_eq!(schema["additionalProperties"], false);
}

/// A gateway whose model calls this many functions, and then answers.
async fn calling_many(count: i32) -> Gateway {
    Gateway::start(move |number, seen| {
        let calls = (0..count).map(|at| tool_call(at, "f", "{}"));
        match (number, seen.method.as_str()) {
            (0, "Converse") => Reply::of([answer_with("", calls.collect())]),
            (_, "Converse") => Reply::of([answer("done")]),
            (0, _) => Reply::of(events(calls.map(delta::Part::ToolCall))),
            _ => Reply::of(events([delta::Part::Text("done".to_owned())])),
        }
    })
    .await
}

#[tokio::test]
async fn at_most_sixteen_functions_run_at_once() {
    let gateway = calling_many(50).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let tools = [Tool::new("f", "", "{}", move |_: String| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&seen));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>("ok".to_owned())
        }
    })];
    let mut conversation = question();
    let client = gateway.client();
    let run = client.run_tools(&mut conversation, &tools).parallel(true);
    assert_eq!(run.await.unwrap().text(), "done");
    assert_eq!(most.load(Ordering::SeqCst), 16);
    let results = results(&conversation);
    assert_eq!(results.len(), 50);
    assert_eq!(results[49], ("call_49".to_owned(), "ok".to_owned()));
}

/// A function whose first run ends, and whose second does what this says.
fn second(then: fn() -> Pin<Box<dyn Future<Output = ()> + Send>>) -> [Tool; 1] {
    let number = Arc::new(AtomicUsize::new(0));
    [Tool::new("f", "", "{}", move |_: String| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        async move {
            if number == 1 {
                then().await;
            }
            Ok::<_, std::io::Error>("ok".to_owned())
        }
    })]
}

const FAILED: &str = r#"{"error":"the function failed"}"#;
const NOT_RUN: &str = r#"{"error":"the function was not run"}"#;

#[tokio::test]
async fn a_loop_that_is_dropped_while_its_functions_run_answers_their_calls() {
    let hangs = || second(|| Box::pin(std::future::pending()));
    for is_parallel in [false, true] {
        let last = if is_parallel { "ok" } else { NOT_RUN };
        let expected = ["ok", FAILED, last].map(str::to_owned);
        let texts = |conversation: &Conversation| {
            let texts = results(conversation).into_iter().map(|(_, text)| text);
            texts.collect::<Vec<_>>()
        };
        let limit = Duration::from_millis(200);

        let gateway = calling_many(3).await;
        let (client, tools, mut conversation) = (gateway.client(), hangs(), question());
        let run = client.run_tools(&mut conversation, &tools);
        let run = run.parallel(is_parallel).into_future();
        tokio::time::timeout(limit, run).await.unwrap_err();
        assert_eq!(texts(&conversation), expected);
        // It can be continued.
        client.converse(&conversation).await.unwrap();

        let gateway = calling_many(3).await;
        let (client, tools, mut conversation) = (gateway.client(), hangs(), question());
        let mut stream = client.stream_tools(&mut conversation, &tools);
        stream = stream.parallel(is_parallel);
        tokio::time::timeout(limit, stream.finish())
            .await
            .unwrap_err();
        drop(stream);
        assert_eq!(texts(&conversation), expected);
    }
}

#[tokio::test]
async fn a_loop_whose_function_panics_answers_its_calls() {
    let panics = || second(|| panic!("broken"));
    for is_stream in [false, true] {
        let gateway = calling_many(3).await;
        let client = gateway.client();
        let (sender, ended) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let tools = panics();
            let mut conversation = Guarded(question(), Some(sender));
            if is_stream {
                let mut stream = client.stream_tools(&mut conversation.0, &tools);
                let _answer = stream.finish().await;
            } else {
                let _answer = client.run_tools(&mut conversation.0, &tools).await;
            }
        });
        assert!(task.await.unwrap_err().is_panic());
        let texts: Vec<_> = ended
            .await
            .unwrap()
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(texts, ["ok", FAILED, NOT_RUN]);
    }
}

type Texts = Vec<(String, String)>;

/// Sends the results that a conversation has at its end.
struct Guarded(Conversation, Option<tokio::sync::oneshot::Sender<Texts>>);

impl Drop for Guarded {
    fn drop(&mut self) {
        let sender = self.1.take().unwrap();
        sender.send(results(&self.0)).unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_at_its_last_event_leaves_no_call_unanswered() {
    let gateway = calling_many(2).await;
    let (client, mut conversation) = (gateway.client(), question());
    let tools = second(|| Box::pin(std::future::pending()));
    let mut stream = client.stream_tools(&mut conversation, &tools);
    for _ in 0..4 {
        stream.next().await.unwrap().unwrap();
    }
    drop(stream);
    assert_eq!(conversation.raw().messages.len(), 1);
}
