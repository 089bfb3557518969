//! Requests that are small on the wire and large in memory, refused before they are decoded.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dashgate::grpc::pb::{self, content};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::support::http2_peer::*;
use crate::support::*;

pub(super) type Client = hyper_util::client::legacy::Client<HttpConnector, Body>;

pub(super) const CONVERSE: &str = "dashgate.v1.ConversationService/Converse";
pub(super) const MIB: usize = 1 << 20;

/// A message as gRPC frames it.
pub(super) fn framed(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&[flag], &length.to_be_bytes()[..], bytes].concat()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::best();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Calls with this body, and reads the whole answer.
pub(super) async fn post(client: &Client, to: SocketAddr, encoding: &str, body: Vec<u8>) -> Status {
    let request = http::Request::post(format!("http://{to}/{CONVERSE}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", encoding);
    let body = Body::new(http_body_util::Full::new(Bytes::from(body)));
    let response = client.request(request.body(body).unwrap()).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let body = response.into_body().collect().await.unwrap();
    Status::from_header_map(body.trailers().unwrap()).unwrap()
}

/// A field that is a message, as protobuf writes it.
fn field(number: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(
        number,
        prost::encoding::WireType::LengthDelimited,
        &mut bytes,
    );
    prost::encoding::encode_varint(message.len() as u64, &mut bytes);
    bytes.extend_from_slice(message);
    bytes
}

/// A `ConverseRequest` with this in its conversation.
fn request(conversation: &[u8]) -> Vec<u8> {
    field(1, conversation)
}

/// Seven million empty parts in one message.
pub(super) fn empty_parts() -> Vec<u8> {
    request(&field(3, &[0x12, 0].repeat(7_000_000)))
}

/// Three million messages of one letter.
fn short_messages() -> Vec<u8> {
    let part = field(2, &field(1, b"x"));
    request(&field(3, &[&[8, 2], &*part].concat()).repeat(1_500_000))
}

/// A text of so many bytes, as a question.
pub(super) fn long_text(bytes: usize) -> Vec<u8> {
    let text = content::Kind::Text("x".repeat(bytes));
    ask_whole(conversation("m", vec![text])).encode_to_vec()
}

/// An object that has itself inside, as often as this.
fn deep(levels: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..levels {
        // fields { key: "" value { struct_value { .. } } }
        value = field(5, &field(1, &field(2, &value)));
    }
    request(&field(
        3,
        &field(2, &field(6, &field(1, &field(2, &value)))),
    ))
}

#[tokio::test(start_paused = true)]
async fn elements_beyond_every_use_are_refused_by_their_path() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let tools = request(&[0x22, 0].repeat(5_000));
    let frames = field(4, &field(4, &[0x0a, 0].repeat(9_000)));
    let stops = field(2, &[0x4a, 0].repeat(2_000));
    let tokens = field(2, &field(10, &field(1, &[1; 20_000])));
    for (bytes, path, said) in [
        (
            empty_parts(),
            "conversation.messages[0].content",
            "bytes once it is decoded",
        ),
        (
            short_messages(),
            "conversation.messages[",
            "once it is decoded",
        ),
        (tools, "conversation.tools", "1024"),
        (
            request(&field(3, &field(2, &frames))),
            "conversation.messages[0].content[0].video.frames.frames",
            "8192",
        ),
        (stops, "options.stop", "1024"),
        (tokens, "options.stop_token_ids[0].token_ids", "16384"),
    ] {
        for (encoding, body) in [
            ("identity", framed(0, &bytes)),
            ("gzip", framed(1, &gzip(&bytes))),
            ("zstd", framed(1, &zstd::encode_all(&*bytes, 3).unwrap())),
        ] {
            let status = post(&gateway.client, gateway.address, encoding, body).await;
            assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
            let fields = violations(&status);
            let is_path = matches!(fields.as_slice(), [field] if field.starts_with(path));
            assert!(is_path, "{encoding} {path} in {status:?}");
            assert!(status.message().contains(said), "{status:?}");
        }
    }
    let body = framed(0, &deep(40));
    let status = post(&gateway.client, gateway.address, "identity", body).await;
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
    assert!(status.message().contains("24 levels"), "{status:?}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_window_of_zstd_beyond_the_largest_message_is_not_allocated() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let message = ask_whole(question()).encode_to_vec();
    // The magic, a descriptor without size, a window of 2^31 bytes, one raw block.
    let size = u32::try_from(message.len()).unwrap() << 3 | 1;
    let [a, b, c, _] = size.to_le_bytes();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, a, b, c];
    frame.extend(message);
    let status = post(&gateway.client, gateway.address, "zstd", framed(1, &frame)).await;
    assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
    let status = {
        frame[5] = 0;
        post(&gateway.client, gateway.address, "zstd", framed(1, &frame)).await
    };
    assert_eq!(
        status.code(),
        Code::Ok,
        "the same with a small window: {status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn health_and_reflection_take_small_requests_only_and_in_time() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for (path, limit) in [
        ("/grpc.health.v1.Health/Check", 4 * 1024),
        ("/grpc.health.v1.Health/Watch", 4 * 1024),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            64 * 1024,
        ),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            64 * 1024,
        ),
    ] {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        for (stream, length) in [(1, limit + 1), (3, limit)] {
            raw.send(&h2(HEADERS, END_HEADERS, stream, &block(path, &[])))
                .await;
            let [a, b, c, d] = u32::to_be_bytes(length);
            raw.send(&h2(DATA, 0, stream, &[0, a, b, c, d, 0])).await;
        }
        let began = tokio::time::Instant::now();
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let frame = raw.next().await.unwrap();
            if matches!(frame.kind, HEADERS | RST_STREAM) && frame.flags & END_STREAM != 0 {
                ended.push((frame.stream, began.elapsed().as_secs()));
            }
        }
        assert_eq!(ended, [(1, 0), (3, 30)], "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn unfinished_requests_without_credentials_hold_a_part_of_the_memory_at_most() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    settings.memory.limit = 16 * MIB;
    let gateway = gateway_with(settings).await;
    let head = block("/grpc.health.v1.Health/Check", &[]);
    let (mut refused, mut raws) = (0, Vec::new());
    for _ in 0..4 {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        for stream in (1..200).step_by(2) {
            raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
            raw.send(&h2(DATA, 0, stream, &[0, 0, 0, 15, 0, 7])).await;
        }
        let second = Duration::from_secs(1);
        while let Ok(Some(frame)) = tokio::time::timeout(second, raw.next()).await {
            refused += usize::from(frame.kind == HEADERS);
        }
        raws.push(raw);
    }
    // Each of those that are read holds a grain of 8 KiB, together at most 8 percent.
    assert!((230..=245).contains(&refused), "{refused} of 400 refused");
    let mut health = gateway.health();
    let check = health.check(pb::health::HealthCheckRequest::default());
    check
        .await
        .expect("a whole request is answered all the same");
    let mut client = gateway.conversation();
    client
        .converse(ask_whole(question()))
        .await
        .expect("callers are answered");
}

#[tokio::test(start_paused = true)]
async fn fields_that_no_list_counts_are_bounded() {
    const FIELDS: usize = 600_000;
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let valid = ask_whole(question()).encode_to_vec();
    // A field that the schema does not know, and one of its own that only its last value counts of.
    let unknown = [&*valid, &[0xa0, 0x06, 0x00].repeat(FIELDS)].concat();
    let repeated = [&*valid, &request(&[0x12, 0].repeat(FIELDS))].concat();
    for bytes in [unknown, repeated] {
        let packed = framed(1, &gzip(&bytes));
        for (encoding, body) in [("identity", framed(0, &bytes)), ("gzip", packed)] {
            let status = post(&gateway.client, gateway.address, encoding, body).await;
            assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
            assert!(status.message().contains("524288 fields"), "{status:?}");
        }
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn unfinished_heads_hold_a_part_of_the_memory_at_most() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    settings.memory.limit = 64 * MIB;
    let gateway = gateway_with(settings).await;
    let path = format!("/{CONVERSE}");
    let head = block(&path, &[("x-pad", &"v".repeat(15_000))]);
    let mut raws = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        raw.send(&h2(HEADERS, 0, 1, &head)).await;
        raws.push(raw);
    }
    let (mut held, mut dismissed) = (0, 0);
    let second = Duration::from_secs(1);
    for raw in &mut raws {
        match tokio::time::timeout(second, raw.dismissed()).await {
            Ok(goaway) => {
                assert_eq!(goaway, (11, "memory_limit".to_owned()));
                dismissed += 1;
            }
            Err(_) => held += 1,
        }
    }
    // Each takes nearly two MiB once it is decoded; 8 percent are 5.1.
    assert_eq!((held, dismissed), (2, 18));
    let mut client = gateway.conversation();
    let answer = client.converse(ask_whole(question())).await;
    answer.expect("callers are answered");
}

#[tokio::test(start_paused = true)]
async fn uploads_that_wait_are_charged_for_what_the_transport_holds_of_them() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    settings.memory.limit = 16 * MIB;
    let gateway = gateway_with(settings).await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let mut media = gateway.media();
        calls.spawn(async move { media.upload_media(tokio_stream::pending()).await });
    }
    let mut refused = 0;
    while let Some(answer) = calls.join_next().await {
        let status = answer.unwrap().unwrap_err();
        match status.code() {
            Code::Unavailable => {
                assert_fault(&status, Code::Unavailable, "OVERLOADED");
                refused += 1;
            }
            _ => assert_fault(&status, Code::DeadlineExceeded, "REQUEST_BODY_TIMEOUT"),
        }
    }
    // A window of 256 KiB and the 32 KiB of a call each, up to 85 percent.
    assert!((50..=55).contains(&refused), "{refused} of 100 refused");
}
