//! Calls that wait for the end of others, with a client that has one connection for one call.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Code;

use crate::client::Client;
use crate::connections::Connections;
use crate::error::Error;
use crate::v1;
use crate::v1::converse_stream_response::Event;
use support::{Gateway, Reply, answer, question};

/// A client with one connection for one call.
fn narrow(gateway: &Gateway, idle_timeout: Duration) -> Client {
    let mut client = gateway
        .builder()
        .idle_timeout(idle_timeout)
        .build()
        .unwrap();
    let inner = Arc::get_mut(&mut client.0).unwrap();
    if let Connections::Own(pool) = &mut inner.connections {
        pool.limit(1, 1);
    }
    client
}

/// The first events of a stream that can be resumed.
fn begun() -> Vec<v1::ConverseStreamResponse> {
    let mut events = support::events([]);
    events.pop();
    if let Some(Event::Started(started)) = &mut events[0].event {
        started.resumable = true;
    }
    events
}

/// A gateway whose first stream has no end.
async fn hanging() -> Gateway {
    Gateway::start(|number, seen| match (number, seen.method.as_str()) {
        (0, _) => Reply::of(begun()).hanging(),
        (_, "Converse") => Reply::of([answer("done")]),
        _ => Reply::of(support::events([])),
    })
    .await
}

/// Lets the other tasks of the test run until they wait.
async fn yielded() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn calls_are_sent_in_their_order_when_others_end() {
    let gateway = hanging().await;
    let client = narrow(&gateway, LONG);
    let mut running = client.stream(question()).resume(false).await.unwrap();
    running.next().await.unwrap().unwrap();
    let mut calls = Vec::new();
    for number in 0..5 {
        let call = client.converse(question()).request_id(number.to_string());
        calls.push(tokio::spawn(call.into_future()));
        yielded().await;
    }
    assert_eq!(gateway.seen().len(), 1);
    drop(running);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().text(), "done");
    }
    let id = |seen: &support::Seen| seen.decoded::<v1::ConverseRequest>().request_id;
    let ids: Vec<_> = gateway.seen().iter().skip(1).map(id).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn the_deadline_runs_while_a_call_waits_and_it_can_be_dropped() {
    let gateway = hanging().await;
    let client = narrow(&gateway, LONG);
    let running = client.stream(question()).resume(false).await.unwrap();
    let limit = Duration::from_millis(20);
    let unary = client.converse(question()).timeout(limit).await.map(drop);
    let stream = client.stream(question()).timeout(limit).await.map(drop);
    let models = client.get_model("m").timeout(limit).await.map(drop);
    let upload = client.upload("m", vec![0]).timeout(limit).await.map(drop);
    let live = client.live("m").timeout(limit).await.map(drop);
    for ended in [unary, stream, models, upload, live] {
        let error: Error = ended.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert_eq!(error.reason(), v1::ErrorReason::DeadlineExceeded);
    }
    let dropped = tokio::spawn(client.stream(question()).into_future());
    yielded().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    assert_eq!(gateway.seen().len(), 1);
    drop(running);
    let answer = client.converse(question()).await.unwrap();
    assert_eq!(answer.text(), "done");
    client.settle().await;
    // A call that was never sent is not cancelled.
    assert_eq!(gateway.methods(), ["ConverseStream", "Converse"]);
}

#[tokio::test]
async fn the_idle_timeout_does_not_run_while_a_stream_waits_to_be_resumed() {
    let gateway = Gateway::start(|number, _| match number {
        0 => Reply::of(begun()).ending(Code::Unavailable, "lost"),
        1 => Reply::of(begun()).hanging(),
        _ => Reply::of(support::events([]).split_off(1)),
    })
    .await;
    let idle = Duration::from_millis(300);
    let client = narrow(&gateway, idle);
    let mut first = client.stream(question()).await.unwrap();
    first.next().await.unwrap().unwrap();
    let second = tokio::spawn(client.stream(question()).resume(false).into_future());
    yielded().await;
    let begin = Instant::now();
    let resumed = tokio::spawn(async move { first.finish().await });
    let second = second.await.unwrap().unwrap();
    tokio::time::sleep(idle * 2).await;
    drop(second);
    resumed.await.unwrap().unwrap();
    assert!(begin.elapsed() > idle * 2);
}

#[tokio::test]
async fn a_call_that_ends_another_one_does_not_wait() {
    let gateway = Gateway::start(|_, seen| match seen.method.as_str() {
        "CancelCall" => Reply::of([v1::CancelCallResponse::default()]),
        _ => Reply::of(begun()).hanging(),
    })
    .await;
    let client = narrow(&gateway, LONG);
    let mut first = client.stream(question()).request_id("1").await.unwrap();
    first.next().await.unwrap().unwrap();
    let second = tokio::spawn(client.stream(question()).into_future());
    yielded().await;
    let limit = Duration::from_secs(20);
    for id in ["2", "3"] {
        client.cancel_call(id).timeout(limit).await.unwrap();
    }
    // Its connection takes no other call.
    assert_eq!(
        gateway.methods(),
        ["ConverseStream", "CancelCall", "CancelCall"]
    );
    drop(first);
    let second = second.await.unwrap().unwrap();
    client.settle().await;
    let cancelled = |seen: &support::Seen| seen.decoded::<v1::CancelCallRequest>().request_id;
    let seen = gateway.seen();
    let mut ends: Vec<_> = seen
        .iter()
        .filter(|seen| seen.method == "CancelCall")
        .collect();
    assert_eq!(cancelled(ends.pop().unwrap()), "1");
    assert_eq!(ends.len(), 2);
    let Connections::Own(pool) = &client.0.connections else {
        panic!("given");
    };
    assert_eq!(pool.opened(), 2);
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_calls_that_leave_at_any_time() {
    let gateway = Gateway::start(|_, seen| match seen.method.as_str() {
        "Converse" => Reply::of([answer("done")]),
        _ => Reply::of(support::events([])),
    })
    .await;
    let client = narrow(&gateway, LONG);
    let mut calls = Vec::new();
    for number in 0..60_u64 {
        let client = client.clone();
        let call = tokio::spawn(async move {
            match number % 2 {
                0 => client.converse(question()).await.map(drop),
                _ => match client.stream(question()).resume(false).await {
                    Ok(mut events) => events.finish().await.map(drop),
                    Err(error) => Err(error),
                },
            }
        });
        if number % 3 != 0 {
            let left = call.abort_handle();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(number * 500)).await;
                left.abort();
            });
        }
        calls.push(call);
    }
    for call in calls {
        match call.await {
            Ok(ended) => ended.unwrap(),
            Err(left) => assert!(left.is_cancelled()),
        }
    }
    // There is a place for another call.
    client.converse(question()).await.unwrap();
}
