//! What calls report whose deadline ends before the gateway was reached.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

use std::future::IntoFuture as _;
use std::time::Duration;

use dashgate_client::v1::converse_live_response::Event as LiveEvent;
use dashgate_client::v1::converse_stream_response::Event;
use dashgate_client::v1::{self, ErrorReason};
use dashgate_client::{Client, Code, Conversation, Error, Media, ToolError, audio};
use tokio::net::TcpListener;
use tonic::codegen::http;
use tower::service_fn;

use support::{Gateway, Reply, events, question};

/// A listener that accepts connections and sends nothing, as a proxy whose gateway is away.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
        }
    });
    address
}

/// A port on which there is no listener: below those that the system chooses.
const CLOSED: &str = "127.0.0.1:5999";

/// The errors of every kind of call with this deadline.
async fn errors(client: &Client, timeout: Duration) -> Vec<(&'static str, Error)> {
    let converse = client.converse(question()).timeout(timeout);
    let stream = client.stream(question()).timeout(timeout);
    let upload = client.upload("m", vec![0; 1_000_000]).timeout(timeout);
    let mut models = client.list_models().timeout(timeout);
    let cancel = client.cancel_call("id").timeout(timeout);
    let live = client.live("m").timeout(timeout);
    let speak = client.speak("m").timeout(timeout);
    let stored = client.create_conversation().timeout(timeout);
    let mut asked = question();
    let tools = client.run_tools(&mut asked, &[]).timeout(timeout).await;
    let Err(ToolError::Call(tools)) = tools else {
        panic!("{tools:?}");
    };
    vec![
        ("converse", converse.await.unwrap_err()),
        ("stream", stream.await.unwrap_err()),
        ("upload", upload.await.unwrap_err()),
        ("list_models", models.next().await.unwrap().unwrap_err()),
        ("cancel_call", cancel.await.unwrap_err()),
        ("live", live.await.map(|_| ()).unwrap_err()),
        ("speak", speak.await.map(|_| ()).unwrap_err()),
        ("create_conversation", stored.await.unwrap_err()),
        ("run_tools", tools),
    ]
}

fn assert_unreached(call: &str, error: &Error, address: &str) {
    assert_eq!(error.code(), Code::Unavailable, "{call}: {error}");
    assert_eq!(error.reason(), ErrorReason::Unspecified, "{call}: {error}");
    assert_eq!(error.raw_reason(), "", "{call}: {error}");
    assert!(error.retryable(), "{call}: {error}");
    assert_eq!(
        error.message().matches(address).count(),
        1,
        "{call}: {error}"
    );
    assert!(!error.request_id().is_empty(), "{call}: {error}");
}

#[tokio::test]
async fn a_deadline_without_an_answer_to_the_connection_is_unavailable() {
    let address = silent().await;
    let client = Client::builder().target(&address).build().unwrap();
    for (call, error) in errors(&client, Duration::from_millis(100)).await {
        assert_unreached(call, &error, &address);
        assert!(error.message().contains("no connection"), "{call}: {error}");
    }
}

#[tokio::test]
async fn a_deadline_that_was_over_before_its_call_is_not() {
    let client = Client::builder().target(CLOSED).build().unwrap();
    for (call, error) in errors(&client, Duration::ZERO).await {
        assert_eq!(error.code(), Code::DeadlineExceeded, "{call}: {error}");
        assert_eq!(error.raw_reason(), "DEADLINE_EXCEEDED", "{call}: {error}");
        // A loop that repeats what is retryable until the deadline would not end.
        assert!(!error.retryable(), "{call}: {error}");
    }
}

#[tokio::test]
async fn a_connection_before_the_calls_is_used_by_them() {
    let gateway = Gateway::start(|_, _| Reply::of([support::answer("hi")])).await;
    let client = gateway.client();
    client.connect().await.unwrap();
    client.connect().await.unwrap();
    assert_eq!(client.converse(question()).await.unwrap().text(), "hi");
    assert_eq!(gateway.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_cannot_be_opened_has_its_cause() {
    let silent = silent().await;
    let none = "unix:/no/such.sock";
    for (address, cause) in [
        (CLOSED, "refused"),
        (none, "No such file"),
        (&silent, "in time"),
    ] {
        let builder = Client::builder().target(address);
        let limit = Duration::from_millis(200);
        let client = builder.configure_endpoint(move |endpoint| endpoint.connect_timeout(limit));
        let error = client.build().unwrap().connect().await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.retryable(), "{error}");
        assert_eq!(error.message().matches(address).count(), 1, "{error}");
        assert!(error.message().contains(cause), "{error}");
        assert_eq!(
            std::error::Error::source(&error).is_some(),
            address != silent
        );
    }
}

#[tokio::test]
async fn an_attempt_at_a_listener_that_is_silent_ends() {
    let address = silent().await;
    let builder = Client::builder().target(&address);
    let limit = Duration::from_millis(200);
    let client = builder.configure_endpoint(move |endpoint| endpoint.connect_timeout(limit));
    let error = client.build().unwrap().live("m").await.map(|_| ());
    let error = error.unwrap_err();
    assert_unreached("live", &error, &address);
    assert!(error.message().contains("nothing was received"), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_dropped_before_any_event_ends_its_call() {
    let gateway = Gateway::start(|_, seen| match seen.method.as_str() {
        "CancelCall" => Reply::of([v1::CancelCallResponse::default()]),
        _ => Reply::default().hanging(),
    })
    .await;
    let client = gateway.client();
    let stream = client
        .stream(question())
        .timeout(Duration::from_millis(500));
    drop(stream.await);
    client.settle().await;
    assert_eq!(gateway.methods(), ["ConverseStream", "CancelCall"]);
}

#[tokio::test]
async fn calls_that_wait_for_an_upload_are_unreached_too() {
    let address = silent().await;
    let client = Client::builder().target(&address).build().unwrap();
    let name = format!("dashgate-unreached-{}.mp3", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut bytes = vec![0; 5 << 20];
    bytes[..3].copy_from_slice(b"ID3");
    std::fs::write(&path, bytes).unwrap();
    let part = audio(Media::path(&path)).await.unwrap();
    let mut asked = Conversation::new("m");
    asked.user([part]);
    // One of them uploads the file, the others wait for it.
    let calls = [200, 200, 400, 600].map(|timeout| {
        let call = client.converse(&asked);
        tokio::spawn(call.timeout(Duration::from_millis(timeout)).into_future())
    });
    for call in calls {
        assert_unreached("converse", &call.await.unwrap().unwrap_err(), &address);
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_stream_is_idle_while_it_is_opened() {
    let idle_timeout = Duration::from_millis(50);
    let address = silent().await;
    let client = Client::builder()
        .target(&address)
        .idle_timeout(idle_timeout);
    // It is made again, as far as its deadline allows.
    let stream = client.build().unwrap().stream(question());
    let error = stream.timeout(Duration::from_millis(500)).await;
    assert_unreached("stream", &error.unwrap_err(), &address);

    // A layer that answers nothing.
    let gateway = Gateway::start(|_, _| Reply::default()).await;
    let client = gateway.builder().idle_timeout(idle_timeout);
    let client = client.layer(tower::layer::layer_fn(|_| {
        service_fn(|_: http::Request<tonic::body::Body>| {
            std::future::pending::<Result<http::Response<tonic::body::Body>, std::io::Error>>()
        })
    }));
    let error = client.build().unwrap().stream(question()).await;
    let error = error.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert_eq!(error.raw_reason(), "STREAM_IDLE", "{error}");
}

/// The first connection of a stream or a session breaks; the others are refused.
async fn breaking(first: Reply) -> Gateway {
    Gateway::start(move |number, seen| match (number, seen.method.as_str()) {
        (_, "CancelCall") => Reply::of([v1::CancelCallResponse::default()]),
        (0, _) => first.clone().ending(Code::Unavailable, "lost"),
        _ => Reply::status(Code::Unavailable, "away"),
    })
    .await
}

#[tokio::test]
async fn a_stream_whose_gateway_does_not_come_back_in_time_is_unavailable() {
    let text = v1::delta::Part::Text("half".to_owned());
    let mut sent = events([text]);
    sent.pop();
    if let Some(Event::Started(started)) = &mut sent[0].event {
        started.resumable = true;
    }
    let gateway = breaking(Reply::of(sent)).await;
    let stream = gateway.client().stream(question());
    let mut stream = stream.timeout(Duration::from_millis(500)).await.unwrap();
    let error = stream.finish().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_eq!(error.message(), "away");
    assert!(error.retryable(), "{error}");
    assert!(error.output_started(), "{error}");
    assert!(stream.resumes() > 0);
    // The gateway would wait for its reader.
    let client = gateway.client();
    drop(stream);
    client.settle().await;
    let mut methods = gateway.methods();
    for _ in 0..100 {
        if methods.last().is_some_and(|last| last == "CancelCall") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        methods = gateway.methods();
    }
    panic!("{methods:?}");
}

#[tokio::test]
async fn a_session_whose_gateway_does_not_come_back_in_time_is_unavailable() {
    let started = v1::SessionStarted {
        session_id: "s".to_owned(),
        resume_token: "t".to_owned(),
        ..v1::SessionStarted::default()
    };
    let sent = [
        LiveEvent::SessionStarted(started),
        LiveEvent::ResponseDelta(v1::ResponseDelta::default()),
    ];
    let sent = sent.into_iter().zip(1..).map(|(event, sequence)| {
        let event = Some(event);
        v1::ConverseLiveResponse { sequence, event }
    });
    let gateway = breaking(Reply::of(sent)).await;
    let session = gateway.client().live("m");
    let mut session = session.timeout(Duration::from_millis(500)).await.unwrap();
    let error = loop {
        match session.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_eq!(error.message(), "away");
    assert!(error.retryable(), "{error}");
    assert!(error.output_started(), "{error}");
    assert!(session.resumes() > 0);
}
