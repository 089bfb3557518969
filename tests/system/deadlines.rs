//! Deadlines, silences and callers that go away: at every stage the upstream is closed, and the
//! status says what happened.

use std::time::Duration;

use dashgate::grpc::pb::converse_stream_response::Event;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn with_server_timeout<T>(message: T, timeout: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("grpc-timeout", timeout.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn c16_a_unary_deadline_is_kept_and_closes_the_upstream() {
    let mut upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let started = Instant::now();

    let status = gateway
        .conversation()
        .converse(with_server_timeout(ask_whole(question()), "3S"))
        .await
        .unwrap_err();

    assert_fault(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(
        (3000..3050).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );
    upstream.closed().await;
}

#[tokio::test(start_paused = true)]
async fn c16_a_deadline_cuts_a_stream_in_the_middle() {
    let mut upstream =
        Upstream::always(vec![sse(), piece(frame(1, "一", "null")), Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let started = Instant::now();

    let events = gateway
        .conversation()
        .converse_stream(with_server_timeout(ask_stream(question()), "5000m"))
        .await
        .unwrap()
        .into_inner();
    let events: Vec<_> = events.collect().await;

    assert_eq!(
        events.len(),
        3,
        "Started, Delta, then the status: {events:?}"
    );
    let status = events.last().unwrap().as_ref().unwrap_err();
    assert_fault(status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(
        (5000..5050).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );
    upstream.closed().await;
}

#[tokio::test(start_paused = true)]
async fn c13_a_deadline_of_zero_sends_no_request() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;

    let request = with_server_timeout(ask_whole(question()), "0n");
    let status = gateway.conversation().converse(request).await.unwrap_err();

    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c13_a_malformed_deadline_is_an_invalid_argument() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for timeout in ["", "S", "1", "123456789S", "-1S", "1.5S", "1s", "1 S", "S1"] {
        let request = with_server_timeout(ask_whole(question()), timeout);
        let status = gateway.conversation().converse(request).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(
            violations(&status),
            ["metadata.grpc-timeout"],
            "{timeout:?}"
        );
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c14_without_a_deadline_the_defaults_hold() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let started = Instant::now();
    let status = gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(started.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn c13_a_deadline_beyond_the_most_is_capped() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let started = Instant::now();
    let request = with_server_timeout(ask_whole(question()), "99999999H");
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(started.elapsed().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn u6_a_stream_that_does_not_begin_times_out_once() {
    for steps in [vec![Step::Hang], vec![sse(), Step::Hang]] {
        let mut upstream = Upstream::always(steps).await;
        let gateway = gateway(&upstream).await;
        let started = Instant::now();
        let events = gateway
            .conversation()
            .converse_stream(ask_stream(question()))
            .await
            .unwrap();
        let events: Vec<_> = events.into_inner().collect().await;
        let status = events.last().unwrap().as_ref().unwrap_err();
        assert_fault(status, Code::DeadlineExceeded, "FIRST_EVENT_TIMEOUT");
        assert_eq!(started.elapsed().as_secs(), 30);
        assert_eq!(upstream.seen().len(), 1, "it may have been billed");
        upstream.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn u7_a_stream_that_falls_silent_times_out() {
    let mut upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "null")),
        Step::Pause(59 * SECOND),
        piece(frame(2, "二", "null")),
        Step::Hang,
    ])
    .await;
    let gateway = gateway(&upstream).await;
    let started = Instant::now();
    let events = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    let events: Vec<_> = events.into_inner().collect().await;
    let status = events.last().unwrap().as_ref().unwrap_err();
    assert_fault(status, Code::DeadlineExceeded, "STREAM_STALLED");
    assert_eq!(started.elapsed().as_secs(), 59 + 60);
    assert_eq!(texts(&events), ["一", "二"]);
    upstream.closed().await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_fill_every_silence_before_and_after_the_first_event() {
    let upstream = Upstream::always(vec![
        Step::Pause(20 * SECOND),
        sse(),
        piece(frame(1, "一", "null")),
        Step::Pause(35 * SECOND),
        piece(frame(2, "二", "stop")),
        end(),
    ])
    .await;
    let gateway = gateway(&upstream).await;
    let events = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    let events: Vec<_> = events.into_inner().map(Result::unwrap).collect().await;
    let order: String = events
        .iter()
        .map(|event| match event.event.as_ref().unwrap() {
            Event::Started(_) => 's',
            Event::Delta(_) => 'd',
            Event::Heartbeat(_) => 'h',
            Event::Completed(_) => 'c',
        })
        .collect();
    assert_eq!(order, "hsdhhdc");
    let numbers: Vec<_> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, [0, 1, 2, 2, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn c17_a_caller_that_goes_away_closes_the_upstream_at_every_stage() {
    let before_head = vec![Step::Hang];
    let after_head = vec![sse(), Step::Hang];
    let mid_stream = vec![sse(), piece(frame(1, "一", "null")), Step::Hang];
    for steps in [before_head, after_head, mid_stream] {
        let mut upstream = Upstream::always(steps.clone()).await;
        let gateway = gateway(&upstream).await;
        let mut client = gateway.conversation();

        let call = tokio::spawn(async move {
            let events = client.converse_stream(ask_stream(question())).await;
            let _: Vec<_> = events.unwrap().into_inner().collect().await;
        });
        upstream.wait_for_requests(1).await;
        call.abort();
        assert!(upstream.is_closed_at_once().await);
    }
}

#[tokio::test(start_paused = true)]
async fn c17_a_unary_caller_that_goes_away_closes_the_upstream() {
    let mut upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let call = tokio::spawn(async move { client.converse(ask_whole(question())).await });
    upstream.wait_for_requests(1).await;
    call.abort();
    assert!(upstream.is_closed_at_once().await);
}

#[tokio::test(start_paused = true)]
async fn c19_a_caller_that_does_not_read_ends_at_the_limit() {
    // Far more than any window between the two ends holds.
    let long = "长".repeat(100_000);
    let mut steps = vec![sse()];
    steps.extend((1..=200).map(|id| piece(frame(id, &format!("{id}{long}"), "null"))));
    steps.push(Step::Hang);
    let mut upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let events = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    let mut events = events.into_inner();

    let started = Instant::now();
    upstream.closed().await;
    let waited = started.elapsed();
    assert!((30..=32).contains(&waited.as_secs()), "{waited:?}");

    let last = loop {
        match events.next().await.unwrap() {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_fault(&last, Code::ResourceExhausted, "SLOW_CONSUMER");
    let call = call_failure(&last);
    assert!(call.output_started && call.usage.unwrap().output_tokens > Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_even_while_nobody_reads() {
    let long = "长".repeat(100_000);
    let mut steps = vec![sse()];
    steps.extend((1..=200).map(|id| piece(frame(id, &format!("{id}{long}"), "null"))));
    steps.push(Step::Hang);
    let mut upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let request = with_server_timeout(ask_stream(question()), "10S");
    let _unread = gateway
        .conversation()
        .converse_stream(request)
        .await
        .unwrap();
    let started = Instant::now();
    upstream.closed().await;
    assert!(
        (9..=11).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn p6_a_full_gateway_refuses_at_once_with_a_pushback() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let mut settings = settings(&upstream);
    settings.server.max_in_flight = 1;
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    let first = tokio::spawn(async move { client.converse(ask_whole(question())).await });
    upstream.wait_for_requests(1).await;

    let status = gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap_err();

    assert_fault(&status, Code::Unavailable, "OVERLOADED");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    let pushback: u64 = pushback.to_str().unwrap().parse().unwrap();
    assert!((50..500).contains(&pushback));

    first.abort();
    upstream.closed_once().await;
    // The place is free again: the call is taken, and hangs as the first one did.
    let request = with_timeout(ask_whole(question()), SECOND);
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_ne!(status.code(), Code::Unavailable);
    assert_eq!(upstream.seen().len(), 2);
}
