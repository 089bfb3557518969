//! What the operator sees on the admin port: numbers of calls that were really made, health, the
//! settings, and the calls in flight.

use std::time::Duration;

use dashgate::grpc::pb::{self, upload_media_request::Payload};
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::metrics::*;
use crate::storage::dashscope;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_stream_is_counted_piece_by_piece() {
    let upstream = Upstream::always(vec![
        Step::Pause(Duration::from_millis(700)),
        sse(),
        piece(frame(1, "先", "null")),
        Step::Pause(Duration::from_millis(40)),
        piece(frame(2, "后", "null")),
        Step::Pause(Duration::from_millis(60)),
        piece(frame(3, "完", "stop")),
        end(),
    ])
    .await;
    let gateway = watched_with(&upstream, |settings| {
        settings.telemetry.rates = vec![("qwen-audio-turbo".to_owned(), [2.0, 10.0])];
    })
    .await;

    let mut client = gateway.conversation();
    let events = client
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    let events: Vec<_> = events.into_inner().collect().await;
    assert_eq!(texts(&events), ["先", "后", "完"]);

    let numbers = scrape(&gateway, 1.0).await;
    assert_eq!(numbers.value(&handled("ConverseStream", "OK")), 1.0);
    for (name, expected) in [
        ("grpc_server_started_total", 1.0),
        ("grpc_server_msg_received_total", 1.0),
        ("grpc_server_msg_sent_total", 5.0),
        ("grpc_server_handling_seconds_count", 1.0),
    ] {
        let series = of_method(name, "ConverseStream");
        assert_eq!(numbers.value(&series), expected, "{series}");
    }
    assert_times(&numbers);
    assert_tokens(&numbers);
    let asked = numbers.some("dashgate_upstream_requests_total");
    assert_eq!(
        asked,
        [(
            "dashgate_upstream_requests_total{code=\"\",status=\"200\"}",
            1.0
        )]
    );
    let calls = "dashgate_calls_total{model=\"qwen-audio-turbo\",outcome=\"OK\"}";
    assert_eq!(numbers.some("dashgate_calls_total"), [(calls, 1.0)]);
    assert!(numbers.some("dashgate_calls_in_flight").is_empty());
    assert_eq!(numbers.value("dashgate_calls_in_flight_limit"), 1024.0);
    assert_eq!(numbers.value("dashgate_open_connections"), 1.0);
    assert_eq!(
        numbers.value("dashgate_connections_total{outcome=\"accepted\"}"),
        1.0
    );
}

/// The pieces came 700, 740 and 800 milliseconds after the question.
fn assert_times(numbers: &Scrape) {
    let model = "{model=\"qwen-audio-turbo\"}";
    let first = "dashgate_time_to_first_token_seconds";
    let chunk = "dashgate_time_per_output_chunk_seconds";
    for (series, expected) in [
        (format!("{first}_sum{model}"), 0.7),
        (format!("{first}_count{model}"), 1.0),
        (format!("{chunk}_sum{model}"), 0.1),
        (format!("{chunk}_count{model}"), 2.0),
        (
            format!("{chunk}_bucket{{model=\"qwen-audio-turbo\",le=\"0.05\"}}"),
            1.0,
        ),
    ] {
        let found = numbers.value(&series);
        assert!((found - expected).abs() < 0.02, "{series}: {found}");
    }
}

/// Three tokens came out of 783, of which 752 were sound; at 2 and 10 for a million.
fn assert_tokens(numbers: &Scrape) {
    let labels = |kind| {
        format!(
            "dashgate_tokens_total{{caller=\"anonymous\",kind=\"{kind}\",model=\
             \"qwen-audio-turbo\"}}"
        )
    };
    for (kind, expected) in [("input", 783.0), ("output", 3.0), ("audio", 752.0)] {
        assert_eq!(numbers.value(&labels(kind)), expected, "{kind}");
    }
    let cost = numbers.some("dashgate_cost_total");
    let series = "dashgate_cost_total{caller=\"anonymous\",currency=\"CNY\",model=\
                  \"qwen-audio-turbo\"}";
    assert_eq!(cost.len(), 1);
    assert_eq!(cost[0].0, series);
    assert!((cost[0].1 - (783.0 * 2.0 + 3.0 * 10.0) / 1e6).abs() < 1e-12);
}

#[tokio::test(start_paused = true)]
async fn errors_and_retries_are_counted_by_the_code_of_dashscope() {
    let body = r#"{"code":"InternalError","message":"canary","request_id":"up-9"}"#;
    let mut answers = vec![
        json(500, body),
        json(200, &whole("好")),
        json(
            401,
            r#"{"code":
        "InvalidApiKey","message":"canary"}"#,
        ),
    ];
    answers.reverse();
    let upstream = Upstream::start(move |_, _| answers.pop().unwrap()).await;
    let gateway = watched(&upstream).await;
    let mut client = gateway.conversation();

    client.converse(ask_whole(question())).await.unwrap();
    let status = client.converse(ask_whole(question())).await.unwrap_err();
    assert_fault(&status, Code::FailedPrecondition, "UPSTREAM_CREDENTIAL");
    let status = client
        .converse(pb::ConverseRequest::default())
        .await
        .unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");

    let numbers = scrape(&gateway, 3.0).await;
    for code in ["OK", "FailedPrecondition", "InvalidArgument"] {
        assert_eq!(numbers.value(&handled("Converse", code)), 1.0, "{code}");
    }
    assert_eq!(
        numbers.some("dashgate_upstream_requests_total"),
        [
            (
                "dashgate_upstream_requests_total{code=\"\",status=\"200\"}",
                1.0
            ),
            (
                "dashgate_upstream_requests_total{code=\"InternalError\",status=\"500\"}",
                1.0
            ),
            (
                "dashgate_upstream_requests_total{code=\"InvalidApiKey\",status=\"401\"}",
                1.0
            ),
        ]
    );
    assert_eq!(
        numbers.some("dashgate_retries_total"),
        [("dashgate_retries_total{reason=\"UPSTREAM_INTERNAL\"}", 1.0)]
    );
    assert_eq!(
        numbers.some("dashgate_calls_total"),
        [
            (
                "dashgate_calls_total{model=\"other\",outcome=\"INVALID_REQUEST\"}",
                1.0
            ),
            (
                "dashgate_calls_total{model=\"qwen-audio-turbo\",outcome=\"OK\"}",
                1.0
            ),
            (
                "dashgate_calls_total{model=\"qwen-audio-turbo\",outcome=\
                 \"UPSTREAM_CREDENTIAL\"}",
                1.0
            ),
        ]
    );
    assert!(numbers.some("dashgate_shed_total").is_empty());
    let everything = page(&gateway, "/metrics").await;
    assert!(!everything.contains("canary"), "{everything}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_away_and_one_that_is_shed_are_told_apart() {
    let mut upstream =
        Upstream::always(vec![sse(), piece(frame(7, "先", "null")), Step::Hang]).await;
    let gateway = watched_with(&upstream, |settings| settings.server.max_in_flight = 1).await;
    let mut client = gateway.conversation();
    let mut request = Request::new(ask_stream(question()));
    request
        .metadata_mut()
        .insert("x-request-id", "call-7".parse().unwrap());
    let mut events = client.converse_stream(request).await.unwrap().into_inner();
    events.next().await.unwrap().unwrap();
    events.next().await.unwrap().unwrap();

    let status = client.converse(ask_whole(question())).await.unwrap_err();
    assert_fault(&status, Code::Unavailable, "OVERLOADED");
    let calls: serde_json::Value = serde_json::from_str(&page(&gateway, "/calls").await).unwrap();
    let [call] = &calls["calls"].as_array().unwrap()[..] else {
        panic!("{calls}")
    };
    for (field, expected) in [
        ("request_id", "call-7".into()),
        ("method", "ConverseStream".into()),
        ("model", "qwen-audio-turbo".into()),
        ("state", "answering".into()),
        ("attempts", 1.into()),
        ("chunks", 1.into()),
        ("input_tokens", 783.into()),
        ("output_tokens", 7.into()),
    ] as [(&str, serde_json::Value); 8]
    {
        assert_eq!(call[field], expected, "{field}: {call}");
    }
    let numbers = scrape(&gateway, 1.0).await;
    let gauge = "dashgate_calls_in_flight{method=\"ConverseStream\"}";
    assert_eq!(numbers.some("dashgate_calls_in_flight"), [(gauge, 1.0)]);
    assert_eq!(
        numbers.some("dashgate_shed_total"),
        [("dashgate_shed_total{reason=\"OVERLOADED\"}", 1.0)]
    );

    drop(events);
    upstream.closed().await;
    let numbers = scrape(&gateway, 2.0).await;
    assert_eq!(numbers.value(&handled("ConverseStream", "Canceled")), 1.0);
    assert_eq!(numbers.value(&handled("Converse", "Unavailable")), 1.0);
    assert!(numbers.some("dashgate_calls_in_flight").is_empty());
    let cancelled = "dashgate_calls_total{model=\"qwen-audio-turbo\",outcome=\"CANCELLED\"}";
    assert_eq!(numbers.value(cancelled), 1.0);
    // They were made, so they are paid for.
    let output = "dashgate_tokens_total{caller=\"anonymous\",kind=\"output\",model=\
                  \"qwen-audio-turbo\"}";
    assert_eq!(numbers.value(output), 7.0);
    let calls = page(&gateway, "/calls").await;
    assert_eq!(calls, "{\"calls\":[]}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_many_listen_to_is_paid_for_once() {
    let upstream = Upstream::always(json(200, &whole("好"))).await;
    let gateway = watched(&upstream).await;
    let mut client = gateway.conversation();
    for _ in 0..3 {
        let request = pb::ConverseRequest {
            request_id: "once".to_owned(),
            ..ask_whole(question())
        };
        client.converse(request).await.unwrap();
    }
    let numbers = scrape(&gateway, 3.0).await;
    let output = "dashgate_tokens_total{caller=\"anonymous\",kind=\"output\",model=\
                  \"qwen-audio-turbo\"}";
    assert_eq!(numbers.value(output), 38.0);
    let calls = "dashgate_calls_total{model=\"qwen-audio-turbo\",outcome=\"OK\"}";
    assert_eq!(numbers.value(calls), 3.0);
}

#[tokio::test(start_paused = true)]
async fn uploads_are_counted_in_bytes() {
    let upstream = dashscope(|_, _| None).await;
    let gateway = watched(&upstream).await;
    let payloads = [
        Payload::Description(pb::MediaDescription {
            model: "qwen-vl-max".to_owned(),
            mime_type: "video/mp4".to_owned(),
            ..pb::MediaDescription::default()
        }),
        Payload::Chunk(vec![1; 1000].into()),
        Payload::Chunk(vec![2; 234].into()),
    ];
    let messages = payloads.map(|payload| pb::UploadMediaRequest {
        payload: Some(payload),
    });
    gateway
        .media()
        .upload_media(tokio_stream::iter(messages))
        .await
        .unwrap();
    let numbers = scrape(&gateway, 1.0).await;
    assert_eq!(
        numbers.some("dashgate_upload_bytes_total"),
        [("dashgate_upload_bytes_total{via=\"upload_media\"}", 1234.0)]
    );
    let received = of_method("grpc_server_msg_received_total", "UploadMedia");
    assert_eq!(numbers.value(&received), 3.0);
    assert_eq!(numbers.value(&handled("UploadMedia", "OK")), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_admin_port_shows_health_and_settings_and_no_secret() {
    let upstream = Upstream::always(vec![sse(), piece(frame(1, "先", "null")), Step::Hang]).await;
    let gateway = watched(&upstream).await;
    assert_eq!(page(&gateway, "/healthz").await, "ok\n");
    assert_eq!(page(&gateway, "/readyz").await, "ready\n");
    let metrics = page(&gateway, "/metrics").await;
    assert!(!metrics.contains("dashgate_store_up{"), "{metrics}");
    let config = page(&gateway, "/config").await;
    assert!(
        config.contains("timeouts.max = 600s  # default"),
        "{config}"
    );
    assert!(page(&gateway, "/").await.contains("/calls"));
    for (request, status) in [
        ("GET /nothing", "404"),
        ("POST /metrics", "405"),
        ("DELETE /calls", "405"),
    ] {
        let (head, _) = ask(gateway.admin.unwrap(), request).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    }
    let (head, body) = ask(gateway.admin.unwrap(), "HEAD /metrics").await;
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert_eq!(body, "");

    // A stream holds the gateway up, so that it can be seen to drain.
    let mut client = gateway.conversation();
    let mut events = client
        .converse_stream(ask_stream(question()))
        .await
        .unwrap()
        .into_inner();
    events.next().await.unwrap().unwrap();
    gateway.stop().await;
    let ready = loop {
        let (head, body) = ask(gateway.admin.unwrap(), "GET /readyz").await;
        if !head.starts_with("http/1.1 200") {
            break (head, body);
        }
    };
    assert!(ready.0.starts_with("http/1.1 503 "), "{}", ready.0);
    assert_eq!(ready.1, "draining\n");
    assert_eq!(page(&gateway, "/healthz").await, "ok\n");
    assert!(!config.contains("sk-canary"));
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_there_is_no_admin_port() {
    let upstream = Upstream::always(Vec::new()).await;
    assert_eq!(gateway(&upstream).await.admin, None);
}
