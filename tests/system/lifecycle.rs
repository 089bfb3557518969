//! Health, reflection, the bounds of a connection, and going down in order.

use std::time::Duration;

use dashgate::grpc::pb::health::health_check_response::ServingStatus;
use dashgate::grpc::pb::health::{HealthCheckRequest, HealthListRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn health_checks_lists_and_watches() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let mut health = gateway.health();
    for service in [
        "",
        "dashgate.v1.ConversationService",
        "dashgate.v1.MediaService",
        "dashgate.v1.ModelService",
    ] {
        let response = health.check(check(service)).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving);
    }
    let status = health.check(check("nobody")).await.unwrap_err();
    assert_fault(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
    let list = health
        .list(HealthListRequest {})
        .await
        .unwrap()
        .into_inner()
        .statuses;
    assert_eq!(list.len(), 4);
    assert!(
        list.values()
            .all(|state| state.status() == ServingStatus::Serving)
    );

    let mut unknown = health.watch(check("nobody")).await.unwrap().into_inner();
    let first = unknown.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let open = tokio::time::timeout(300 * SECOND, unknown.next()).await;
    assert!(open.is_err(), "the watch stays open");
}

#[tokio::test(start_paused = true)]
async fn p1_a_shutdown_flips_health_lets_calls_end_and_is_not_held_up_by_a_watch() {
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "null")),
        Step::Pause(20 * SECOND),
        piece(frame(2, "二", "stop")),
        end(),
    ])
    .await;
    let mut settings = settings(&upstream);
    settings.server.drain_delay = 5 * SECOND;
    let gateway = gateway_with(settings).await;
    let mut watch = gateway
        .health()
        .watch(check(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        watch.next().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    let events = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    let mut events = events.into_inner();
    events.next().await.unwrap().unwrap();

    let started = Instant::now();
    gateway.stop().await;
    assert_eq!(
        watch.next().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    // For a while new calls are still taken: load balancers learn late.
    let state = gateway
        .health()
        .check(check(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(state.status(), ServingStatus::NotServing);

    let rest: Vec<_> = events.collect().await;
    assert_eq!(texts(&rest), ["一", "二"]);
    assert!(
        rest.iter().all(Result::is_ok),
        "a stream that runs is not cut: {rest:?}"
    );
    let status = watch.next().await.unwrap().unwrap_err();
    assert_fault(&status, Code::Unavailable, "SHUTTING_DOWN");
    gateway.ended().await;
    assert!(
        (20..25).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn p2_a_drain_has_an_end() {
    let mut upstream =
        Upstream::always(vec![sse(), piece(frame(1, "一", "null")), Step::Hang]).await;
    let mut settings = settings(&upstream);
    settings.server.drain_timeout = 10 * SECOND;
    settings.timeouts.idle = 600 * SECOND;
    let gateway = gateway_with(settings).await;
    let events = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    // A connection that says nothing must not hold the process either.
    let _silent = TcpStream::connect(gateway.address).await.unwrap();
    let started = Instant::now();
    gateway.stop().await;
    let events: Vec<_> = events.into_inner().collect().await;
    let status = events.last().unwrap().as_ref().unwrap_err();
    assert_fault(status, Code::Internal, "SHUTTING_DOWN");
    upstream.closed().await;
    gateway.ended().await;
    assert!(
        (10..=13).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn c1_a_silent_connection_is_closed() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for said in [&preface[..0], &preface[..1], &preface[..10], preface] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(said).await.unwrap();
        let started = Instant::now();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(
            (10..=11).contains(&started.elapsed().as_secs()),
            "{:?}",
            started.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn c8_too_much_metadata_ends_one_call_and_not_its_neighbours() {
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "null")),
        Step::Pause(5 * SECOND),
        piece(frame(2, "二", "stop")),
        end(),
    ])
    .await;
    let gateway = gateway(&upstream).await;
    let neighbour = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    for size in [9_000, 20_000, 40_000] {
        let mut request = Request::new(ask_whole(question()));
        request
            .metadata_mut()
            .insert("x-large", "x".repeat(size).parse().unwrap());
        let status = gateway.conversation().converse(request).await.unwrap_err();
        assert_fault(&status, Code::ResourceExhausted, "METADATA_TOO_LARGE");
    }
    let events: Vec<_> = neighbour.into_inner().collect().await;
    assert_eq!(texts(&events), ["一", "二"]);
    assert!(events.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn x13_only_listed_metadata_go_to_dashscope() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut request = Request::new(ask_whole(question()));
    for (name, value) in [
        ("x-dashscope-workspace", "ws-1"),
        ("x-dashscope-data-inspection", "enable"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", "a=b"),
        ("x-dashscope-async", "enable"),
        ("x-dashscope-ossresourceresolve", "enable"),
        ("authorization", "Bearer callers-own"),
        ("x-api-key", "callers-own"),
        ("cookie", "callers-own"),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    gateway.conversation().converse(request).await.unwrap();
    let seen = upstream.seen().remove(0);
    for (name, value) in [
        ("x-dashscope-workspace", Some("ws-1")),
        ("x-dashscope-datainspection", Some("enable")),
        (
            "traceparent",
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ),
        ("tracestate", Some("a=b")),
        ("x-dashscope-async", None),
        ("x-dashscope-ossresourceresolve", None),
        ("authorization", Some("Bearer sk-canary")),
        ("x-api-key", None),
        ("cookie", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(!format!("{:?}", seen.headers).contains("callers-own"));
}

#[tokio::test(start_paused = true)]
async fn the_request_id_is_on_answers_and_errors() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut request = Request::new(ask_whole(question()));
    request
        .metadata_mut()
        .insert("x-request-id", "mine".parse().unwrap());
    let response = gateway.conversation().converse(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "mine");
    assert_eq!(response.into_inner().request_id, "mine");

    let mut request = Request::new(dashgate::grpc::pb::ConverseRequest::default());
    request
        .metadata_mut()
        .insert("x-request-id", "mine".parse().unwrap());
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "mine");
}
