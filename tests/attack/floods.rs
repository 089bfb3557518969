//! Floods of frames that carry nothing: each ends its connection, and the others notice nothing.

use std::time::Duration;

use dashgate::grpc::pb::health::HealthCheckRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::memory::{MIB, framed, gzip, long_text, post};
use crate::program::Program;
use crate::support::admin::page_at;
use crate::support::http2_peer::*;
use crate::support::*;

const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
const ENHANCE_YOUR_CALM: u32 = 11;

/// The most control frames that a connection may send before it has done anything of use: its
/// credit, and what a call is worth.
const MAX_BORNE: usize = 1_010;

/// Sends the same bytes until that is impossible. How often it was possible.
async fn flood(raw: &mut Raw, most: usize, bytes: &[u8]) -> usize {
    for number in 0..most {
        if !raw.send(bytes).await {
            return number;
        }
    }
    most
}

async fn others_are_served(gateway: &Running) {
    let mut health = gateway.health();
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_flood_of_control_frames_is_answered_by_enhance_your_calm() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let call = h2(HEADERS, END_HEADERS, 1, &block(CONVERSE, &[]));
    let padding = [&[255][..], &[0; 255]].concat();
    for (name, first, again) in [
        ("PING", vec![], h2(PING, 0, 0, &[0; 8])),
        ("PING-ACK", vec![], h2(PING, ACK, 0, &[0; 8])),
        (
            "SETTINGS",
            vec![],
            h2(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        ),
        ("SETTINGS, empty", vec![], h2(SETTINGS, 0, 0, &[])),
        (
            "WINDOW_UPDATE",
            vec![],
            h2(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        (
            "WINDOW_UPDATE of a call",
            call.clone(),
            h2(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        ("PRIORITY", vec![], h2(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("unknown", vec![], h2(200, 0, 0, &[])),
        ("unknown of 16 KiB", vec![], h2(200, 0, 0, &[0; 16_384])),
        ("empty DATA", call.clone(), h2(DATA, 0, 1, &[])),
        ("DATA of padding", call.clone(), h2(DATA, 8, 1, &padding)),
    ] {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        raw.send(&first).await;
        flood(&mut raw, 200_000, &again).await;
        let (code, why) = raw.dismissed().await;
        assert_eq!(code, ENHANCE_YOUR_CALM, "{name}: {why}");
        others_are_served(&gateway).await;
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_borne_is_bounded() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let priority = h2(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]);
    // Each waits until the gateway has seen what came before, so that what is borne is counted.
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let mut borne = 0;
    let head = block("/grpc.health.v1.Health/Check", &[]);
    'flood: for number in 0u32.. {
        for _ in 0..100 {
            raw.send(&priority).await;
        }
        borne += 100;
        // A call that is answered is worth eight frames.
        let stream = 2 * number + 1;
        raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
        raw.send(&h2(DATA, END_STREAM, stream, &[0; 5])).await;
        loop {
            match raw.next().await {
                Some(frame) if frame.kind == GOAWAY => break 'flood,
                Some(frame) if frame.flags & END_STREAM != 0 && frame.kind == HEADERS => break,
                Some(_) => {}
                None => break 'flood,
            }
        }
    }
    let calls = borne / 100;
    assert!(borne <= MAX_BORNE + 100 + 12 * calls, "{borne}");
}

/// A client as the libraries are: two WINDOW_UPDATE and a PING for each frame of data.
#[tokio::test(start_paused = true)]
async fn a_client_that_answers_each_event_with_three_frames_is_welcome() {
    const EVENTS: u32 = 2_000;
    let mut steps = vec![sse()];
    steps.extend((1..=EVENTS).flat_map(|id| {
        let event = piece(frame(id, &format!("{id} "), "null"));
        [event, Step::Pause(Duration::from_millis(1))]
    }));
    steps.extend([piece(frame(EVENTS + 1, "x", "stop")), end()]);
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let path = "/dashgate.v1.ConversationService/ConverseStream";
    let question = prost::Message::encode_to_vec(&ask_stream(question()));
    let length = u32::try_from(question.len()).unwrap().to_be_bytes();
    let message = [&[0][..], &length, &question].concat();
    raw.send(&h2(HEADERS, END_HEADERS, 1, &block(path, &[])))
        .await;
    raw.send(&h2(DATA, END_STREAM, 1, &message)).await;
    let (mut data, mut control) = (0, 0);
    while let Some(heard) = raw.next().await {
        assert_ne!(heard.kind, GOAWAY, "after {data} and {control}");
        if heard.kind == DATA && !heard.payload.is_empty() {
            data += 1;
            let size = u32::try_from(heard.payload.len()).unwrap().to_be_bytes();
            for frame in [
                h2(WINDOW_UPDATE, 0, 0, &size),
                h2(WINDOW_UPDATE, 0, 1, &size),
                h2(PING, 0, 0, &[1; 8]),
            ] {
                raw.send(&frame).await;
                control += 1;
            }
        }
        if heard.kind == HEADERS && heard.flags & END_STREAM != 0 {
            assert!(data > EVENTS, "{data}");
            assert_eq!(control, 3 * data);
            return;
        }
    }
    panic!("the connection was closed after {data} and {control}");
}

/// On one thread with the calls of another connection, which all succeed.
#[tokio::test(start_paused = true)]
async fn a_flood_on_the_same_thread_hurts_no_call_of_a_neighbour() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let address = gateway.address;
    let flooding = tokio::spawn(async move {
        let again = h2(PING, ACK, 0, &[0; 8]).repeat(100);
        let mut connections = 0u32;
        loop {
            let mut raw = Raw::connect(address, Manners::Answers).await;
            flood(&mut raw, 10_000, &again).await;
            let (code, _) = raw.dismissed().await;
            assert_eq!(code, ENHANCE_YOUR_CALM);
            connections += 1;
            if connections == 50 {
                return;
            }
        }
    });
    let mut calls = 0;
    while !flooding.is_finished() || calls < 200 {
        let answer = gateway.conversation().converse(ask_whole(question())).await;
        answer.unwrap();
        calls += 1;
    }
    flooding.await.unwrap();
}

/// What one connection makes the library log is the same line a thousand times.
#[tokio::test]
async fn a_flood_fills_no_log() {
    let program = Program::start("", &["--upstream", "embedded"]);
    let greeting = [
        PREFACE,
        &h2(SETTINGS, 0, 0, &[]),
        &h2(SETTINGS, ACK, 0, &[]),
    ]
    .concat();
    let flood = h2(PING, ACK, 0, &[0; 8]).repeat(990);
    const CONNECTIONS: usize = 50;
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&program.address).await.unwrap();
        stream.write_all(&greeting).await.unwrap();
        stream.write_all(&flood).await.unwrap();
        // What was read before this is answered.
        stream.write_all(&h2(PING, 0, 0, &[9; 8])).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(8).any(|window| window == [9; 8]) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
    }
    // One more than its credit ends a connection, and that is counted.
    let mut raw = Raw::connect(program.address.parse().unwrap(), Manners::Answers).await;
    raw.send(&h2(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(MAX_BORNE))
        .await;
    let why = raw.dismissed().await;
    let expected = "too_many_control_frames".to_owned();
    assert_eq!(why, (ENHANCE_YOUR_CALM, expected.clone()));
    let text = numbers(&program).await;
    let closed = format!("dashgate_connections_closed_total{{reason=\"{expected}\"}} 1");
    assert!(text.lines().any(|line| line == closed), "{closed}");
    let line = text.lines().find_map(|line| {
        line.strip_prefix("dashgate_log_lines_dropped_total{reason=\"suppressed\"} ")
    });
    let suppressed: usize = line.unwrap().parse().unwrap();
    let log = program.log();
    let written = log.lines().filter(|line| line.contains("PING ack")).count();
    assert!(written <= 200, "{written} of {suppressed}");
    assert!(suppressed >= CONNECTIONS * 990 - 200, "{suppressed}");
    assert!(log.len() < 200_000, "{}", log.len());
}

pub async fn numbers(program: &Program) -> String {
    page_at(&program.admin, "/metrics").await
}

/// Heads of 8 KiB with as many fields as are free: what one read brings is given back before the
/// next.
#[tokio::test(start_paused = true)]
async fn heads_are_taken_a_few_at_a_time() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let mut head = block(CONVERSE, &[("x-pad", &"v".repeat(8 * 1024))]);
    // `accept-encoding: gzip, deflate` by its number in the static table.
    head.extend([0x90; 240]);
    let started = Instant::now();
    let mut all = Vec::new();
    for call in 0..100 {
        all.extend(h2(HEADERS, END_HEADERS | END_STREAM, 2 * call + 1, &head));
    }
    raw.send(&all).await;
    let mut answered = 0;
    while answered < 100 {
        let frame = raw.next().await.expect("the connection goes on");
        assert_ne!(frame.kind, GOAWAY);
        answered += usize::from(frame.kind == HEADERS && frame.flags & END_STREAM != 0);
    }
    assert!(started.elapsed() < Duration::from_secs(1));
    others_are_served(&gateway).await;
}

/// Texts of 14 MiB in 14 KB of gzip, which DashScope does not accept: each is refused, none is
/// sent, and small calls beside them are answered.
#[tokio::test]
async fn large_texts_in_small_requests_are_refused_beside_calls_that_are_answered() {
    const TEXTS: usize = 12;
    const CALLS: usize = 40;
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    settings.memory.limit = 2048 * MIB;
    let gateway = gateway_with(settings).await;
    let packed = framed(1, &gzip(&long_text(14 * MIB)));
    assert!(packed.len() < 16_000, "{}", packed.len());
    let mut texts = tokio::task::JoinSet::new();
    for _ in 0..TEXTS {
        let (client, to, body) = (gateway.client.clone(), gateway.address, packed.clone());
        texts.spawn(async move { post(&client, to, "gzip", body).await });
    }
    for _ in 0..CALLS {
        let answer = gateway.conversation().converse(ask_whole(question())).await;
        answer.unwrap();
    }
    while let Some(status) = texts.join_next().await {
        assert_fault(
            &status.unwrap(),
            tonic::Code::InvalidArgument,
            "MEDIA_TOO_LARGE",
        );
    }
    assert_eq!(upstream.seen().len(), CALLS);
}
