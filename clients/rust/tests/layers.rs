//! Layers around the calls, options of the endpoint, and the log.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

use std::process::Command;
use std::task::{Context, Poll};

use dashgate_client::{Code, v1};
use support::{Gateway, Reply, answer, events, question};
use tonic::Request;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::service::interceptor::InterceptorLayer;

#[tokio::test]
async fn layers_see_the_metadata_of_the_client_the_first_is_the_outermost() {
    let gateway = Gateway::start(|_, seen| match seen.method.as_str() {
        "Converse" => Reply::of([answer("heard")]),
        "UploadMedia" => Reply::of([v1::UploadMediaResponse::default()]),
        _ => Reply::of(events([])),
    })
    .await;
    let mark = |mark: &'static str| {
        InterceptorLayer::new(move |mut request: Request<()>| {
            let metadata = request.metadata_mut();
            let key = metadata.get("x-key").unwrap().to_str().unwrap();
            let before = metadata
                .get("x-marks")
                .map_or("", |marks| marks.to_str().unwrap());
            let marks = format!("{before}{mark}{key}");
            metadata.insert("x-marks", marks.parse().unwrap());
            Ok(request)
        })
    };
    let client = gateway.builder().metadata("x-key", "k");
    let client = client.layer(mark("a")).layer(mark("b")).build().unwrap();
    client.converse(question()).await.unwrap();
    client
        .stream(question())
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    client.upload("m", vec![0; 3]).await.unwrap();
    for seen in gateway.seen() {
        assert_eq!(seen.header("x-marks"), "akbk", "{}", seen.method);
    }
    assert_eq!(gateway.seen().len(), 3);
}

#[tokio::test]
async fn the_status_of_an_interceptor_is_the_error_of_the_call() {
    let gateway = Gateway::start(|_, _| Reply::of([answer("heard")])).await;
    let refuse = |_: Request<()>| Err(tonic::Status::permission_denied("not today"));
    let client = gateway.builder().layer(InterceptorLayer::new(refuse));
    let call = client.build().unwrap().converse(question());
    let error = call.await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert_eq!(error.message(), "not today");
    assert!(gateway.seen().is_empty());
}

/// A service that fails without a call.
#[derive(Clone)]
struct Broken;

impl Service<http::Request<Body>> for Broken {
    type Response = http::Response<Body>;
    type Error = std::fmt::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        std::future::ready(Err(std::fmt::Error))
    }
}

#[tokio::test]
async fn the_error_of_a_layer_is_not_that_of_a_connection() {
    let gateway = Gateway::start(|_, _| Reply::of([answer("heard")])).await;
    let client = gateway.builder().layer(tower::layer::layer_fn(|_| Broken));
    let error = client
        .build()
        .unwrap()
        .converse(question())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unknown, "{error}");
    assert!(!error.retryable());
}

#[tokio::test]
async fn options_of_the_endpoint_replace_single_defaults() {
    let gateway = Gateway::start(|_, _| Reply::of([answer("heard")])).await;
    let client = gateway
        .builder()
        .configure_endpoint(|endpoint| endpoint.user_agent("mine/1.0").unwrap());
    client.build().unwrap().converse(question()).await.unwrap();
    let agent = gateway.seen()[0].header("user-agent").to_owned();
    assert!(agent.starts_with("mine/1.0"), "{agent}");
}

/// The program of the next test, which has another environment.
#[tokio::test]
async fn calls_of_the_log() {
    if std::env::var_os("DASHGATE_LOG_OF_TEST").is_none() {
        return;
    }
    let gateway = Gateway::start(|number, seen| match (number, seen.method.as_str()) {
        (0, _) => {
            Reply::status(Code::Unavailable, "secret down").trailer("grpc-retry-pushback-ms", "1")
        }
        (_, "Converse") => Reply::of([answer("secret answer")]),
        (_, "GetModel") => Reply::status(Code::NotFound, "secret model"),
        _ => Reply::of(events([])).hanging(),
    })
    .await;
    let client = gateway
        .builder()
        .api_key("dg_secret")
        .metadata("x-a", "secret value");
    let client = client.build().unwrap();
    client.converse(question()).request_id("r-1").await.unwrap();
    client
        .get_model("m")
        .metadata("x-request-id", "r-2")
        .await
        .unwrap_err();
    let stream = client.stream(question()).request_id("r-3").resume(false);
    drop(stream.await.unwrap());
    let complete = client.stream(question()).request_id("r-4").resume(false);
    let mut complete = complete.await.unwrap();
    // The call has no end, but the answer has.
    for _ in events([]) {
        complete.next().await.unwrap().unwrap();
    }
}

fn lines(level: Option<&str>) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "calls_of_the_log", "--nocapture"]);
    command
        .env("DASHGATE_LOG_OF_TEST", "1")
        .env_remove("DASHGATE_LOG");
    if let Some(level) = level {
        command.env("DASHGATE_LOG", level);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("secret"), "{errors}");
    let lines = errors.lines().filter(|line| line.starts_with("dashgate: "));
    // Times and ports differ.
    let is_number = |word: &&str| word.parse::<u64>().is_ok();
    let plain = lines.map(|line| {
        let (line, address) = line.rsplit_once(", ").unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        let words = line.split(' ').filter(|word| !is_number(word));
        words.collect::<Vec<_>>().join(" ")
    });
    plain.collect()
}

#[test]
fn the_log_has_a_line_for_each_call_and_no_content() {
    let calls = [
        "dashgate: Converse OK ms, request id r-1",
        "dashgate: GetModel NOT_FOUND ms, request id r-2",
        "dashgate: ConverseStream CANCELLED ms, request id r-3",
        "dashgate: ConverseStream OK ms, request id r-4",
    ];
    assert_eq!(lines(Some("info")), calls);
    let debug = lines(Some("debug"));
    assert_eq!(debug[0], "dashgate: connection opened");
    assert_eq!(
        debug[1],
        "dashgate: Converse after UNAVAILABLE: retry in ms, request id r-1"
    );
    assert_eq!(debug[2..], calls);
    for level in [None, Some("off"), Some("loud")] {
        assert!(lines(level).is_empty(), "{level:?}");
    }
}
