//! A client outlives the runtime that made its connections.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use dashgate_client::{Client, v1};
use support::{Gateway, Reply, answer, events, question};
use v1::delta::Part;

static GATEWAY: LazyLock<(tokio::runtime::Runtime, Gateway)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gateway = runtime.block_on(Gateway::start(|_, seen| match seen.method.as_str() {
        "Converse" => Reply::of([answer("whole")]),
        "ConverseStream" => Reply::of(events([Part::Text("streamed".to_owned())])),
        "UploadMedia" => Reply::of([v1::UploadMediaResponse {
            uri: "oss://b/o".to_owned(),
            ..v1::UploadMediaResponse::default()
        }]),
        _ => Reply::of([v1::ListModelsResponse::default()]),
    }));
    (runtime, gateway)
});

static CLIENT: LazyLock<Client> = LazyLock::new(|| GATEWAY.1.client());

async fn calls() {
    let whole = CLIENT.converse(question()).await.unwrap();
    assert_eq!(whole.text(), "whole");
    let mut stream = CLIENT.stream(question()).await.unwrap();
    assert_eq!(stream.finish().await.unwrap().text(), "streamed");
    let uploaded = CLIENT.upload("m", vec![0; 10]).await.unwrap();
    assert_eq!(uploaded.uri, "oss://b/o");
    assert!(CLIENT.list_models().next().await.is_none());
}

#[test]
fn a_static_client_works_in_each_new_runtime() {
    LazyLock::force(&CLIENT);
    for round in 0..6 {
        let mut builder = match round % 2 {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.enable_all().build().unwrap().block_on(calls());
    }
}

#[test]
fn a_client_is_used_by_two_runtimes_at_once() {
    LazyLock::force(&CLIENT);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The connection may belong to either runtime, and the first ends while the other works.
        scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(calls());
            drop(runtime);
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            while !done.load(Ordering::SeqCst) {
                runtime.block_on(async {
                    // A call fails at most because the other runtime ended under it.
                    let _answer = CLIENT.converse(question()).await;
                });
            }
            runtime.block_on(calls());
        });
    });
}
