//! Connections that cost the attacker nothing: opened calls, silence, resets, and headers that
//! grow when they are decompressed. Each is bounded in time and memory, and others are served.

use std::time::Duration;

use dashgate::grpc::pb::health::HealthCheckRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::program::Program;
use crate::support::http2_peer::*;
use crate::support::*;

const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
const MIB: usize = 1 << 20;
const PROTOCOL_ERROR: u32 = 1;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Whether a new connection is served.
async fn a_new_connection_is_served(address: impl ToString) {
    let address = address.to_string().parse().unwrap();
    let mut raw = Raw::connect(address, Manners::Answers).await;
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

/// Opens this many calls on one connection and sends no message, as fast as the socket takes them.
async fn open_calls(raw: &mut Raw, count: u32) {
    let head = block(CONVERSE, &[]);
    for group in 0..count / 100 {
        let mut bytes = Vec::new();
        for call in 0..100 {
            bytes.extend(h2(
                HEADERS,
                END_HEADERS,
                2 * (100 * group + call) + 1,
                &head,
            ));
        }
        if !raw.send(&bytes).await {
            return;
        }
    }
}

/// The measured growth is half a MiB; a stack without a limit on streams takes 170 MB for this.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn c6_twenty_thousand_opened_calls_take_no_memory() {
    const MOST: usize = 10 * MIB;
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let program = Program::start("", &["--upstream", &upstream.base_url()]);
    a_new_connection_is_served(&program.address).await;
    let before = program.peak();
    let mut raw = Raw::connect(program.address.parse().unwrap(), Manners::Answers).await;
    open_calls(&mut raw, 20_000).await;
    a_new_connection_is_served(&program.address).await;
    let grown = program.peak().saturating_sub(before);
    println!("grew by {} KiB", grown / 1024);
    assert!(grown <= MOST, "grew by {} KiB", grown / 1024);
    assert!(upstream.seen().is_empty(), "nothing reaches DashScope");
}

/// How a connection may stall: what is sent before it says nothing more.
fn stalls() -> Vec<(&'static str, Vec<u8>)> {
    let head = block(CONVERSE, &[]);
    let greeting = [PREFACE, &h2(SETTINGS, 0, 0, &[])].concat();
    let after = |bytes: &[u8]| [&greeting, bytes].concat();
    vec![
        ("nothing", Vec::new()),
        ("half a preface", PREFACE[..12].to_vec()),
        ("a preface", PREFACE.to_vec()),
        (
            "half a head",
            after(&h2(HEADERS, END_HEADERS, 1, &head)[..20]),
        ),
        ("a head without its end", after(&h2(HEADERS, 0, 1, &head))),
        (
            "half of HTTP/1.1",
            b"POST / HTTP/1.1\r\nhost: x\r\n".to_vec(),
        ),
    ]
}

/// Opens this many connections for each way to stall, and checks that all are closed in time.
async fn are_closed_at_ten_seconds(each: usize) {
    let upstream = Upstream::always(Vec::new()).await;
    let mut settings = settings(&upstream);
    settings.server.max_connections = 100_000;
    settings.server.max_connections_per_address = 0;
    let gateway = gateway_with(settings).await;
    for (name, bytes) in stalls() {
        let mut connections = Vec::new();
        for _ in 0..each {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(&bytes).await.unwrap();
            connections.push(stream);
        }
        let started = Instant::now();
        let mut all = JoinSet::new();
        for mut stream in connections {
            all.spawn(async move {
                let mut heard = Vec::new();
                // How it is closed is not what is looked at.
                let _ = stream.read_to_end(&mut heard).await;
                started.elapsed()
            });
        }
        let slowest = all.join_all().await.into_iter().max().unwrap();
        // A second more, because the caller is told why and may read it.
        assert!(slowest <= Duration::from_secs(12), "{name}: {slowest:?}");
        a_new_connection_is_served(gateway.address).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c1_c3_silent_and_unfinished_connections_are_closed_at_ten_seconds() {
    are_closed_at_ten_seconds(50).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "opens 9,000 connections at a time"]
async fn c1_c3_nine_thousand_silent_connections_are_closed_at_ten_seconds() {
    are_closed_at_ten_seconds(9_000).await;
}

/// "MadeYouReset": frames by which a caller makes the server reset its calls, so that no limit on
/// the caller's own resets counts them. Each is sent with a call, again and again.
#[tokio::test(start_paused = true)]
async fn c4_calls_that_the_gateway_is_made_to_reset_end_their_connection() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let head = block(CONVERSE, &[]);
    let shapes: [(&str, Vec<u8>); 5] = [
        ("a window of zero more", h2(WINDOW_UPDATE, 0, 1, &[0; 4])),
        (
            "a window beyond the largest",
            h2(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "data after the end",
            [h2(DATA, END_STREAM, 1, &[]), h2(DATA, 0, 1, &[0; 5])].concat(),
        ),
        ("a priority of the wrong size", h2(PRIORITY, 0, 1, &[0; 4])),
        ("a reset of the wrong size", h2(RST_STREAM, 0, 1, &[0; 3])),
    ];
    for (name, bytes) in shapes {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        for number in 0..20_000u32 {
            let stream = (2 * number + 1).to_be_bytes();
            let mut all = h2(HEADERS, END_HEADERS, 2 * number + 1, &head);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = 9 + usize::from(rest[2]);
                let (frame, next) = rest.split_at(length);
                all.extend(&frame[..5]);
                all.extend(stream);
                all.extend(&frame[9..]);
                rest = next;
            }
            if !raw.send(&all).await {
                break;
            }
        }
        let (code, why) = raw.dismissed().await;
        let codes = [
            PROTOCOL_ERROR,
            STREAM_CLOSED,
            FRAME_SIZE_ERROR,
            ENHANCE_YOUR_CALM,
        ];
        assert!(codes.contains(&code), "{name}: {code} {why}");
        gateway
            .health()
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
        a_new_connection_is_served(gateway.address).await;
    }
    assert!(upstream.seen().is_empty(), "nothing reaches DashScope");
}

/// A header of 4,000 bytes, put into the table of the connection once and named a thousand times by
/// each head after it: 1 KiB that says 4 MB.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn c8_headers_that_grow_when_they_are_decompressed_take_no_memory() {
    const MOST: usize = 16 * MIB;
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let program = Program::start("", &["--upstream", &upstream.base_url()]);
    a_new_connection_is_served(&program.address).await;
    let before = program.peak();
    for _ in 0..20 {
        let mut raw = Raw::connect(program.address.parse().unwrap(), Manners::Answers).await;
        let mut head = block(CONVERSE, &[]);
        // A literal with indexing: a new name of one byte, and a value of 4,000.
        head.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
        head.extend([b'y'; 4000]);
        raw.send(&h2(HEADERS, END_HEADERS | END_STREAM, 1, &head))
            .await;
        for number in 1..100 {
            let mut head = block(CONVERSE, &[]);
            // The newest of the table, a thousand times.
            head.extend([0x80 | 62; 1000]);
            let flags = END_HEADERS | END_STREAM;
            if !raw.send(&h2(HEADERS, flags, 2 * number + 1, &head)).await {
                break;
            }
        }
        a_new_connection_is_served(&program.address).await;
    }
    let grown = program.peak().saturating_sub(before);
    println!("grew by {} KiB", grown / 1024);
    assert!(grown <= MOST, "grew by {} KiB", grown / 1024);
    assert!(upstream.seen().is_empty(), "nothing reaches DashScope");
}
