//! Metadata of any size: the call that sends too much is refused, its siblings live.

use dashgate::grpc::pb::health::HealthCheckRequest;
use http::Request;
use tonic::Code;

use crate::support::http2_peer::*;
use crate::support::*;

const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// `server.max_metadata_bytes` as it is by default.
const LIMIT: usize = 8 * 1024;

/// Up to here a call is refused by a gRPC status, however its frames are cut.
const ANSWERED: usize = 256 * 1024;

/// What HTTP/2 frames hold by default.
const FRAME: usize = 16 * 1024;

/// Field lines that HTTP/2 counts as so many bytes: names, values, and 32 for each.
/// No more of them than there are fields without charge.
fn padding(size: usize) -> Vec<(String, String)> {
    let each = 132.max(size / 240);
    let line = |number| (format!("x-pad-{number:04}"), "v".repeat(each - 32 - 10));
    (0..size / each).map(line).collect()
}

/// The sizes of the row: sixty from 1 KiB to 1 MiB.
fn sizes() -> impl Iterator<Item = usize> {
    (0..60).map(|step| (1024.0 * 1024f64.powf(f64::from(step) / 59.0)) as usize)
}

/// A call with so much metadata, in frames of 16 KiB.
fn call(stream: u32, size: usize) -> Vec<u8> {
    let padding = padding(size);
    let more: Vec<_> = padding
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let block = block(CONVERSE, &more);
    let mut pieces = block.chunks(FRAME).peekable();
    let mut frames = Vec::new();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        let last = if kind == HEADERS { END_STREAM } else { 0 };
        frames.extend(h2(kind, end | last, stream, piece));
        kind = CONTINUATION;
    }
    frames
}

/// A connection with one call that goes on: somebody who watches health.
async fn with_sibling(gateway: &Running) -> Raw {
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    raw.send(&h2(HEADERS, END_HEADERS, 1, &block(WATCH, &[])))
        .await;
    raw.send(&h2(DATA, END_STREAM, 1, &[0; 5])).await;
    while raw.next().await.expect("it goes on").kind != DATA {}
    raw
}

#[tokio::test(start_paused = true)]
async fn too_much_metadata_in_small_frames_ends_one_call() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut raw = with_sibling(&gateway).await;
    let mut stream = 1;
    for size in sizes().filter(|size| *size <= ANSWERED).chain([ANSWERED]) {
        stream += 2;
        raw.send(&call(stream, size)).await;
        let answer = loop {
            let frame = raw.next().await.expect("the connection goes on");
            assert_ne!(frame.kind, GOAWAY, "{size}");
            assert!(frame.stream != 1, "{size}: the sibling is ended");
            if frame.kind == HEADERS && frame.stream == stream {
                break frame;
            }
        };
        // `:status: 200` by its number in the static table: a status of gRPC, and no 431.
        assert_eq!(answer.payload.first(), Some(&0x88), "{size}");
        assert!(answer.flags & END_STREAM != 0, "{size}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn too_much_metadata_is_named_and_its_siblings_live() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut health = gateway.health();
    let request = HealthCheckRequest::default();
    let mut sibling = health.watch(request).await.unwrap().into_inner();
    sibling.message().await.unwrap().unwrap();
    // Up to the largest that is read; this client sends it in frames of 64 KiB.
    let largest = 1024 * 1024 - 4 * 1024;
    for size in sizes().map(|size| size.min(largest)) {
        let mut request = Request::post(format!("http://{}{CONVERSE}", gateway.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in padding(size) {
            request = request.header(name, value);
        }
        let body = tonic::body::Body::empty();
        let response = gateway.client.request(request.body(body).unwrap()).await;
        let response = response.unwrap_or_else(|error| panic!("{size}: {error}"));
        assert_eq!(response.status(), 200, "{size}");
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        if size > LIMIT {
            assert_fault(&status, Code::ResourceExhausted, "METADATA_TOO_LARGE");
        } else if size < LIMIT - 512 {
            assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
        }
    }
    let next = std::time::Duration::from_secs(1);
    let still = tokio::time::timeout(next, sibling.message()).await;
    assert!(still.is_err(), "the sibling is still open: {still:?}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn beyond_all_limits_a_connection_is_closed_and_others_are_served() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    for size in [512 * 1024, 1024 * 1024, 8 * 1024 * 1024] {
        let mut raw = with_sibling(&gateway).await;
        raw.send(&call(3, size)).await;
        let (code, why) = raw.dismissed().await;
        assert_eq!(code, 11, "{size}: {why}");
        gateway
            .health()
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
    }
}

/// A head that names one field so many times, a byte each, in frames of 16 KiB: HPACK makes 33
/// bytes of each byte.
fn repeated(stream: u32, times: usize) -> Vec<u8> {
    let mut block = block(CONVERSE, &[]);
    // A name of one letter and no value, kept in the table, and then named by its number there.
    block.extend([0x40, 1, b'z', 0]);
    block.extend(vec![0xbe; times]);
    let pieces: Vec<_> = block.chunks(FRAME).collect();
    let mut frames = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let (kind, last) = match at {
            0 => (HEADERS, END_STREAM),
            _ => (CONTINUATION, 0),
        };
        let end = match at + 1 == pieces.len() {
            true => END_HEADERS,
            false => 0,
        };
        frames.extend(h2(kind, end | last, stream, piece));
    }
    frames
}

/// The answer to a call, if it is one of gRPC; the reason of a GOAWAY otherwise.
async fn answered(raw: &mut Raw, stream: u32) -> Result<(), String> {
    loop {
        let Some(frame) = raw.next().await else {
            return Err("closed".to_owned());
        };
        if frame.kind == GOAWAY {
            let why = frame.payload.get(8..).unwrap_or_default();
            return Err(String::from_utf8_lossy(why).into_owned());
        }
        if frame.kind == HEADERS && frame.stream == stream {
            assert_eq!(frame.payload.first(), Some(&0x88));
            return Ok(());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_of_thirty_thousand_fields_is_not_decoded() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let head = repeated(3, 30_000);
    // The same behind a HEADERS frame that has none of the fields.
    let (mut empty, mut moved) = (head[..9].to_vec(), head.clone());
    empty[..3].fill(0);
    empty[4] &= !END_HEADERS;
    moved[3] = CONTINUATION;
    moved[4] &= END_HEADERS;
    let begun_empty = [empty, moved].concat();
    // In frames as they come, and in pieces of any size.
    for (head, size) in [
        (&head, usize::MAX),
        (&head, 1000),
        (&head, 7),
        (&begun_empty, usize::MAX),
        (&begun_empty, 7),
    ] {
        let mut raw = with_sibling(&gateway).await;
        for piece in head.chunks(size.min(head.len())) {
            if !raw.send(piece).await {
                break;
            }
        }
        let why = answered(&mut raw, 3).await.unwrap_err();
        assert_eq!(why, "too_many_header_fields", "{size}");
        gateway
            .health()
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn some_heads_of_too_many_fields_are_answered_and_a_flood_of_them_ends_its_connection() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let mut raw = with_sibling(&gateway).await;
    let mut stream = 1;
    let mut calls = |times| {
        stream += 2;
        (stream, repeated(stream, times))
    };
    // 1000 fields are 33 KB, four times what a call may have. Three in a minute, for ten minutes.
    for _ in 0..30 {
        let (stream, call) = calls(1000);
        raw.send(&call).await;
        answered(&mut raw, stream).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    }
    let mut borne = 0;
    let why = loop {
        let (stream, call) = calls(1000);
        raw.send(&call).await;
        match answered(&mut raw, stream).await {
            Ok(()) => borne += 1,
            Err(why) => break why,
        }
        assert!(borne <= 6, "{borne}");
    };
    assert_eq!(why, "too_many_header_fields");
    assert!(borne >= 4, "{borne}");
    // What calls may have is free, however many they are.
    let mut raw = with_sibling(&gateway).await;
    for _ in 0..100 {
        let (stream, call) = calls(200);
        raw.send(&call).await;
        answered(&mut raw, stream).await.unwrap();
    }
}
