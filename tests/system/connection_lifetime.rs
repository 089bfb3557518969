//! How long connections live, and how many there may be.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use crate::support::http2_peer::*;
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Opens a call that goes on until somebody ends it.
async fn open_call(raw: &mut Raw, stream: u32) {
    raw.send(&h2(HEADERS, END_HEADERS, stream, &block(WATCH, &[])))
        .await;
    raw.send(&h2(DATA, END_STREAM, stream, &[0; 5])).await;
    while raw.next().await.expect("an answer").kind != DATA {}
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_gets_goaway_and_its_calls_complete() {
    let mut steps = vec![sse()];
    for id in 1..=100 {
        steps.extend([
            piece(frame(id, &format!("{id} "), "null")),
            Step::Pause(SECOND),
        ]);
    }
    steps.extend([piece(frame(101, "y", "stop")), end()]);
    let upstream = Upstream::always(steps).await;
    let mut settings = settings(&upstream);
    settings.server.max_connection_age = 50 * SECOND;
    settings.server.max_connection_age_grace = 300 * SECOND;
    let gateway = gateway_with(settings).await;
    let call = ask_stream(question());
    let stream = gateway.conversation().converse_stream(call).await.unwrap();
    let events: Vec<_> = stream.into_inner().collect().await;
    assert_eq!(texts(&events).len(), 101);
    assert!(events.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn connections_that_came_together_go_one_by_one() {
    let upstream = Upstream::always(Vec::new()).await;
    let mut settings = settings(&upstream);
    settings.server.max_connection_age = 1000 * SECOND;
    settings.server.max_connection_idle = 7200 * SECOND;
    let gateway = gateway_with(settings).await;
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        tasks.spawn(async move {
            let frames = raw.rest().await;
            assert!(
                frames.iter().any(|frame| frame.kind == GOAWAY),
                "{frames:?}"
            );
            started.elapsed().as_secs()
        });
    }
    let mut ages = tasks.join_all().await;
    assert!(
        ages.iter().all(|age| (900..=1100).contains(age)),
        "{ages:?}"
    );
    ages.sort_unstable();
    ages.dedup();
    assert!(ages.len() > 15, "they are spread: {ages:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_that_does_not_go_is_cut() {
    let upstream = Upstream::always(Vec::new()).await;
    let mut settings = settings(&upstream);
    settings.server.max_connection_age = 100 * SECOND;
    settings.server.max_connection_age_grace = 60 * SECOND;
    let gateway = gateway_with(settings).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let started = Instant::now();
    open_call(&mut raw, 1).await;
    let mut asked = None;
    while let Some(frame) = raw.next().await {
        if frame.kind == GOAWAY {
            asked.get_or_insert(started.elapsed().as_secs());
        }
    }
    let (asked, cut) = (asked.unwrap(), started.elapsed().as_secs());
    assert!((90..=110).contains(&asked), "{asked}");
    assert!((59..=62).contains(&(cut - asked)), "{asked} {cut}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_is_told_to_go_and_one_with_a_call_is_not() {
    let upstream = Upstream::always(Vec::new()).await;
    let mut settings = settings(&upstream);
    settings.server.max_connection_idle = 100 * SECOND;
    let gateway = gateway_with(settings).await;
    let started = Instant::now();
    let mut idle = Raw::connect(gateway.address, Manners::Answers).await;
    let mut busy = Raw::connect(gateway.address, Manners::Answers).await;
    open_call(&mut busy, 1).await;
    let (code, _) = idle.dismissed().await;
    assert_eq!(code, 0);
    assert!((100..=101).contains(&started.elapsed().as_secs()));
    tokio::time::sleep(500 * SECOND).await;
    open_call(&mut busy, 3).await;
    for stream in [1, 3] {
        busy.send(&h2(RST_STREAM, 0, stream, &8u32.to_be_bytes()))
            .await;
    }
    let ended = Instant::now();
    busy.dismissed().await;
    assert!((99..=101).contains(&ended.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn c7_more_connections_than_allowed_are_closed_at_once() {
    let upstream = Upstream::always(Vec::new()).await;
    for (all, each) in [(3, 0), (100, 3)] {
        let mut settings = settings(&upstream);
        settings.server.max_connections = all;
        settings.server.max_connections_per_address = each;
        let gateway = gateway_with(settings).await;
        let mut kept = Vec::new();
        for _ in 0..3 {
            kept.push(Raw::connect(gateway.address, Manners::Answers).await);
        }
        let started = Instant::now();
        let mut refused = TcpStream::connect(gateway.address).await.unwrap();
        let mut heard = Vec::new();
        let _ = refused.read_to_end(&mut heard).await;
        assert!(heard.is_empty());
        assert_eq!(started.elapsed().as_secs(), 0);
        for raw in &mut kept {
            open_call(raw, 1).await;
        }
        // A place that is left is free again.
        drop(kept.pop());
        loop {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            let mut byte = [0];
            // One that is refused may be closed before it has spoken.
            let _ = stream.write_all(PREFACE).await;
            let _ = stream.write_all(&h2(SETTINGS, 0, 0, &[])).await;
            match stream.read(&mut byte).await {
                Ok(1) => break,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c18_a_caller_that_vanished_costs_nothing_after_thirty_seconds() {
    let mut steps = vec![sse()];
    for id in 1..=1000 {
        steps.extend([
            piece(frame(id, &format!("{id} "), "null")),
            Step::Pause(SECOND),
        ]);
    }
    let mut upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    // It hears everything, and answers no ping: as a host does whose packets are lost.
    let mut raw = Raw::connect(gateway.address, Manners::IsDead).await;
    let path = "/dashgate.v1.ConversationService/ConverseStream";
    raw.send(&h2(HEADERS, END_HEADERS, 1, &block(path, &[])))
        .await;
    let question = prost::Message::encode_to_vec(&ask_stream(question()));
    let length = u32::try_from(question.len()).unwrap().to_be_bytes();
    let started = Instant::now();
    let message = [&[0][..], &length, &question].concat();
    raw.send(&h2(DATA, END_STREAM, 1, &message)).await;
    upstream.closed().await;
    let passed = started.elapsed().as_secs();
    assert!(passed <= 31, "{passed} s");
}

#[tokio::test]
async fn c27_a_thousand_callers_that_come_at_once_are_all_served() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let address = gateway.address;
        storm.spawn(async move {
            let mut raw = Raw::connect(address, Manners::Answers).await;
            open_call(&mut raw, 1).await;
            raw
        });
    }
    // Meanwhile the others are served.
    let (mut calls, mut kept) = (0, Vec::new());
    while calls == 0 || !storm.is_empty() {
        let mut client = gateway.conversation();
        let answer = client.converse(ask_whole(question()));
        tokio::time::timeout(10 * SECOND, answer)
            .await
            .unwrap()
            .unwrap();
        calls += 1;
        while let Some(one) = storm.try_join_next() {
            kept.push(one.unwrap());
        }
    }
    assert_eq!(kept.len(), 1000);
}
