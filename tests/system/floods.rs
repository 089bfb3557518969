//! Callers that mean no good: each is sent away, tells nothing to DashScope, and leaves the others
//! as they were.

use std::time::Duration;

use dashgate::grpc::pb::health::HealthCheckRequest;
use tokio::time::Instant;
use tonic::Code;

use crate::support::http2_peer::*;
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);
const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Whether others are served, on a connection that was there before and on a new one.
async fn others_are_served(gateway: &Running) {
    let request = HealthCheckRequest::default;
    gateway.health().check(request()).await.unwrap();
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let head = block("/grpc.health.v1.Health/Check", &[]);
    raw.send(&h2(HEADERS, END_HEADERS, 1, &head)).await;
    raw.send(&h2(DATA, END_STREAM, 1, &[0; 5])).await;
    while let Some(frame) = raw.next().await {
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            return;
        }
    }
    panic!("a new connection is not served");
}

/// Sends the same bytes, with another number of the stream each time, until that is impossible.
async fn flood(raw: &mut Raw, most: u32, mut bytes: impl FnMut(u32) -> Vec<u8>) {
    for number in 0..most {
        if !raw.send(&bytes(2 * number + 1)).await {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c3_a_head_that_trickles_in_ends_its_connection_at_ten_seconds() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let head = block(CONVERSE, &[]);
    let whole = h2(HEADERS, END_HEADERS, 1, &head);
    let begun = h2(HEADERS, 0, 1, &head);
    let more = h2(CONTINUATION, 0, 1, &[]);
    let by_bytes = |bytes: &[u8]| bytes.chunks(1).map(<[u8]>::to_vec).collect::<Vec<_>>();
    for (name, pieces) in [
        ("half a head of a frame", vec![whole[..5].to_vec()]),
        ("half a frame", vec![whole[..40].to_vec()]),
        ("a byte a second", by_bytes(&whole)),
        ("a head without its end", vec![begun.clone()]),
        (
            "frames without an end",
            [vec![begun], vec![more; 5]].concat(),
        ),
        (
            "settings without an end",
            by_bytes(&h2(SETTINGS, 0, 0, &[0; 60])),
        ),
    ] {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        let started = Instant::now();
        for piece in pieces {
            if !raw.send(&piece).await || started.elapsed() > 15 * SECOND {
                break;
            }
            tokio::time::sleep(SECOND).await;
        }
        let why = raw.dismissed().await;
        assert_eq!(
            why,
            (ENHANCE_YOUR_CALM, "header_timeout".to_owned()),
            "{name}"
        );
        let passed = started.elapsed().as_secs();
        assert!((10..=16).contains(&passed), "{name}: {passed} s");
        others_are_served(&gateway).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c3_a_head_that_comes_slowly_but_in_time_is_answered() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let head = h2(HEADERS, END_HEADERS | END_STREAM, 1, &block(CONVERSE, &[]));
    for call in [1, 3, 5] {
        let mut head = head.clone();
        head[8] = call;
        for piece in head.chunks(head.len().div_ceil(8)) {
            assert!(raw.send(piece).await);
            tokio::time::sleep(SECOND).await;
        }
        let answer = loop {
            let frame = raw.next().await.expect("it goes on");
            if frame.kind == HEADERS {
                break frame;
            }
        };
        assert_eq!(answer.stream, u32::from(call));
    }
}

#[tokio::test(start_paused = true)]
async fn c4_rapid_resets_end_their_connection() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let head = block(CONVERSE, &[]);
    let reset = 8u32.to_be_bytes();
    let window = [0; 4];
    for (name, bytes, expected) in [
        (
            "reset by the caller",
            h2(RST_STREAM, 0, 0, &reset),
            ENHANCE_YOUR_CALM,
        ),
        (
            "reset at a window of nothing",
            h2(WINDOW_UPDATE, 0, 0, &window),
            PROTOCOL_ERROR,
        ),
        (
            "reset at a window too large",
            h2(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ENHANCE_YOUR_CALM,
        ),
    ] {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        flood(&mut raw, 20_000, |stream| {
            let mut all = h2(HEADERS, END_HEADERS, stream, &head);
            let mut second = bytes.clone();
            second[5..9].copy_from_slice(&stream.to_be_bytes());
            all.extend(second);
            all
        })
        .await;
        let (code, why) = raw.dismissed().await;
        assert_eq!(code, expected, "{name}: {why}");
        others_are_served(&gateway).await;
    }
    assert!(upstream.seen().is_empty(), "nothing reaches DashScope");
}

#[tokio::test(start_paused = true)]
async fn c4_a_hundred_calls_that_are_cancelled_at_once_are_no_flood() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let head = block(CONVERSE, &[]);
    let mut all = Vec::new();
    for call in 0..100 {
        all.extend(h2(HEADERS, END_HEADERS, 2 * call + 1, &head));
    }
    for call in 0..100 {
        all.extend(h2(RST_STREAM, 0, 2 * call + 1, &8u32.to_be_bytes()));
    }
    raw.send(&all).await;
    raw.send(&h2(HEADERS, END_HEADERS | END_STREAM, 201, &head))
        .await;
    while let Some(frame) = raw.next().await {
        assert_ne!(frame.kind, GOAWAY);
        if frame.kind == HEADERS {
            assert_eq!(frame.stream, 201);
            return;
        }
    }
    panic!("the connection was closed");
}

#[tokio::test(start_paused = true)]
async fn c5_floods_of_frames_end_their_connection() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let head = block(CONVERSE, &[]);
    let begin = |flags| h2(HEADERS, flags, 1, &head);
    for (name, first, again, expected) in [
        (
            "CONTINUATION",
            begin(0),
            h2(CONTINUATION, 0, 1, &[]),
            "too_many_continuations",
        ),
        (
            "CONTINUATION of 16 KiB",
            begin(0),
            h2(
                CONTINUATION,
                0,
                1,
                &fields(&[("x", "y".repeat(126).as_str()); 120]),
            ),
            "",
        ),
        (
            "PING",
            Vec::new(),
            h2(PING, 0, 0, &[0; 8]),
            "too_many_pings",
        ),
        ("empty DATA", begin(END_HEADERS), h2(DATA, 0, 1, &[]), ""),
    ] {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        raw.send(&first).await;
        flood(&mut raw, 100_000, |_| again.clone()).await;
        let (code, why) = raw.dismissed().await;
        assert_eq!(code, ENHANCE_YOUR_CALM, "{name}: {why}");
        assert!(why.contains(expected), "{name}: {why}");
        others_are_served(&gateway).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_its_permit_before_its_body_is_read_and_returns_it_when_it_is_cancelled() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    settings.server.max_in_flight = 1;
    let gateway = gateway_with(settings).await;
    // Whether the only place is free, once the gateway has seen what was sent.
    let becomes = async |free: bool| {
        for _ in 0..1000 {
            let answer = gateway.conversation().converse(ask_whole(question())).await;
            match answer {
                Ok(_) if free => return,
                Err(status) if !free => {
                    assert_fault(&status, Code::Unavailable, "OVERLOADED");
                    return;
                }
                _ => tokio::task::yield_now().await,
            }
        }
        panic!(
            "the place does not become {}",
            if free { "free" } else { "taken" }
        );
    };
    becomes(true).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let head = h2(HEADERS, END_HEADERS, 1, &block(CONVERSE, &[]));
    raw.send(&head).await;
    becomes(false).await;
    raw.send(&h2(RST_STREAM, 0, 1, &8u32.to_be_bytes())).await;
    becomes(true).await;
    // One that stops to send is ended, and so is its place.
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    raw.send(&head).await;
    becomes(false).await;
    tokio::time::sleep(31 * SECOND).await;
    becomes(true).await;
}

#[tokio::test(start_paused = true)]
async fn pings_every_ten_seconds_are_welcome() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    for number in 0..40u8 {
        raw.send(&h2(PING, 0, 0, &[number; 8])).await;
        loop {
            let frame = raw.next().await.expect("it goes on");
            assert_ne!(frame.kind, GOAWAY);
            if frame.kind == PING && frame.flags & ACK != 0 {
                assert_eq!(frame.payload, [number; 8]);
                break;
            }
        }
        tokio::time::sleep(10 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pings_every_second_are_not() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    for _ in 0..5 {
        raw.send(&h2(PING, 0, 0, &[0; 8])).await;
        tokio::time::sleep(SECOND).await;
    }
    let why = raw.dismissed().await;
    assert_eq!(why, (ENHANCE_YOUR_CALM, "too_many_pings".to_owned()));
    others_are_served(&gateway).await;
}

#[tokio::test(start_paused = true)]
async fn pings_beside_answers_are_how_libraries_measure_the_line() {
    let events = (1..=60).flat_map(|id| [piece(frame_of(id)), Step::Pause(SECOND)]);
    let mut steps = vec![sse()];
    steps.extend(events);
    steps.extend([piece(frame(61, "x", "stop")), end()]);
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let path = "/dashgate.v1.ConversationService/ConverseStream";
    raw.send(&h2(HEADERS, END_HEADERS, 1, &block(path, &[])))
        .await;
    let question = prost::Message::encode_to_vec(&ask_stream(question()));
    let length = u32::try_from(question.len()).unwrap().to_be_bytes();
    let message = [&[0][..], &length, &question].concat();
    raw.send(&h2(DATA, END_STREAM, 1, &message)).await;
    let mut pieces = 0;
    while let Some(heard) = raw.next().await {
        assert_ne!(heard.kind, GOAWAY);
        if heard.kind == DATA {
            pieces += 1;
            raw.send(&h2(PING, 0, 0, &[0; 8])).await;
        }
        if heard.flags & END_STREAM != 0 && heard.kind == HEADERS {
            assert!(pieces > 60, "{pieces}");
            return;
        }
    }
    panic!("the connection was closed");
}

fn frame_of(id: u32) -> String {
    frame(id, &format!("{id} "), "null")
}
