//! What errors contain: each part once, the address of a connection, and whether to retry.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

use std::time::Duration;

use dashgate_client::v1::ErrorReason;
use dashgate_client::{Client, Code, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use support::{Gateway, Reply, answer, question};

/// The errors of every kind of call at an address.
async fn errors(client: &Client) -> Vec<(&'static str, Error)> {
    let short = Duration::from_secs(2);
    let converse = client.converse(question()).timeout(short).await;
    let stream = client.stream(question()).timeout(short).await;
    let upload = client.upload("m", vec![0; 10]).timeout(short).await;
    let models = client.list_models().timeout(short).next().await.unwrap();
    let cancel = client.cancel_call("id").timeout(short).await;
    let live = client.live("m").timeout(short).await;
    let stored = client.create_conversation().timeout(short).await;
    vec![
        ("converse", converse.unwrap_err()),
        ("stream", stream.unwrap_err()),
        ("upload", upload.unwrap_err()),
        ("list_models", models.unwrap_err()),
        ("cancel_call", cancel.unwrap_err()),
        ("live", live.map(|_| ()).unwrap_err()),
        ("create_conversation", stored.unwrap_err()),
    ]
}

#[tokio::test]
async fn errors_of_connections_name_the_address_and_may_be_retried() {
    let client = Client::builder().target("127.0.0.1:1").build().unwrap();
    for (call, error) in errors(&client).await {
        assert_eq!(error.code(), Code::Unavailable, "{call}: {error}");
        assert!(error.message().contains("127.0.0.1:1"), "{call}: {error}");
        for part in ["Connection refused", "connect error"] {
            assert_eq!(error.message().matches(part).count(), 1, "{call}: {error}");
        }
        assert!(error.retryable(), "{call}: {error}");
        assert_eq!(error.retry_after(), None, "{call}: {error}");
        assert!(!error.request_id().is_empty(), "{call}: {error}");
    }
}

/// A replica that ends: it reads a call, and closes the connection with GOAWAY.
async fn going_away() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            connection.write_all(&settings).await.unwrap();
            let mut received = Vec::new();
            // The acknowledgement of the settings follows the preface; then comes the call.
            while received.len() < 200 {
                connection.read_buf(&mut received).await.unwrap();
            }
            // No call was processed, and the code is NO_ERROR.
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            connection.write_all(&goaway).await.unwrap();
            connection.read_to_end(&mut received).await.ok();
        }
    });
    address
}

#[tokio::test]
async fn a_call_that_a_replica_did_not_take_may_be_retried() {
    let client = Client::builder().target(going_away().await);
    let client = client.build().unwrap();
    let error = client.cancel_call("r").await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(error.retryable(), "{error}");
}

#[tokio::test]
async fn a_deadline_at_the_client_has_its_reason() {
    let gateway = Gateway::start(|_, _| Reply::default().hanging()).await;
    let call = gateway.client().converse(question());
    let error = call.timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.reason(), ErrorReason::DeadlineExceeded);
    assert_eq!(error.raw_reason(), "DEADLINE_EXCEEDED");
    assert!(!error.retryable());
    gateway.left().await;
}

#[tokio::test]
async fn the_text_of_an_error_has_each_part_once() {
    let gateway = Gateway::start(|_, _| {
        Reply::status(Code::ResourceExhausted, "too many").trailer("grpc-retry-pushback-ms", "1500")
    })
    .await;
    let call = gateway.client().converse(question()).request_id("r-1");
    let error = call.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "RESOURCE_EXHAUSTED: too many (request id r-1)"
    );
    assert!(error.retryable());
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    let pushback = error.headers().get("grpc-retry-pushback-ms");
    assert_eq!(pushback.map(String::as_str), Some("1500"));
    // A part of a word is not the id.
    let call = gateway.client().converse(question()).request_id("man");
    assert_eq!(
        call.await.unwrap_err().to_string(),
        "RESOURCE_EXHAUSTED: too many (request id man)"
    );

    let gateway = Gateway::start(|_, _| Reply::default().hanging()).await;
    let call = gateway.client().converse(question()).request_id("r-2");
    let error = call.timeout(Duration::from_millis(50)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("DEADLINE_EXCEEDED: "), "{text}");
    assert_eq!(text.matches("DEADLINE_EXCEEDED").count(), 1, "{text}");
    assert_eq!(text.matches("r-2").count(), 1, "{text}");
}

#[tokio::test]
async fn a_timeout_may_be_of_any_length() {
    let gateway = Gateway::start(|_, _| Reply::of([answer("done")])).await;
    for seconds in [99_999_999 * 3600 + 1, 1 << 40, u64::MAX] {
        let client = gateway.builder().timeout(Duration::from_secs(seconds));
        let answer = client.build().unwrap().converse(question()).await.unwrap();
        assert_eq!(answer.text(), "done");
    }
    let error = gateway.builder().idle_timeout(Duration::ZERO).build();
    assert_eq!(error.unwrap_err().code(), Code::InvalidArgument);
}
