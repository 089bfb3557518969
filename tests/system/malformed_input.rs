//! What comes through the door that is no good: half messages, lies, bombs, and things that are not
//! gRPC. Each ends one call with a clear status, and nothing is asked of DashScope.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use prost::Message;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::support::*;

/// A body that sends these bytes and then says nothing.
struct Half(Option<Bytes>);

impl http_body::Body for Half {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// A body that sends these bytes and ends.
fn all(bytes: impl Into<Bytes>) -> Body {
    Body::new(http_body_util::Full::new(bytes.into()))
}

/// A message as gRPC frames it.
fn framed(compressed: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[compressed], &length.to_be_bytes()[..], bytes].concat()
}

async fn post(gateway: &Running, encoding: Option<&str>, body: Body) -> Status {
    let path = "dashgate.v1.ConversationService/Converse";
    let mut request = http::Request::post(format!("http://{}/{path}", gateway.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let response = gateway
        .client
        .request(request.body(body).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    Status::from_header_map(response.headers()).expect("a status without a message")
}

#[tokio::test(start_paused = true)]
async fn c10_an_incomplete_request_times_out() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for bytes in [
        vec![],
        framed(0, 64 * 1024, b"half"),
        framed(0, 16 * 1024 * 1024, b"half"),
    ] {
        let started = Instant::now();
        let status = post(&gateway, None, Body::new(Half(Some(bytes.into())))).await;
        assert_fault(&status, Code::DeadlineExceeded, "REQUEST_BODY_TIMEOUT");
        assert_eq!(started.elapsed().as_secs(), 30);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c9_a_message_beyond_the_limit_is_refused_with_size_and_limit() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let limit = 16 * 1024 * 1024;
    for length in [limit + 1, 1 << 31, u32::MAX] {
        let status = post(
            &gateway,
            None,
            Body::new(Half(Some(framed(0, length, b"").into()))),
        )
        .await;
        assert_fault(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        for number in [limit, length] {
            assert!(status.message().contains(&number.to_string()), "{status:?}");
        }
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c11_broken_and_bursting_compression_is_refused() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let gzip = |bytes: &[u8]| {
        let level = flate2::Compression::best();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = gzip(&vec![0; 100 * 1024 * 1024]);
    assert!(bomb.len() < 200_000);
    let flagged = |bytes: &[u8]| all(framed(1, u32::try_from(bytes.len()).unwrap(), bytes));

    let status = post(&gateway, Some("gzip"), flagged(&bomb)).await;
    assert_fault(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    let status = post(&gateway, Some("gzip"), flagged(b"not gzip")).await;
    assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
    let status = post(&gateway, Some("br"), flagged(b"x")).await;
    assert_fault(&status, Code::Unimplemented, "UNSUPPORTED_OPERATION");
    let status = post(&gateway, None, flagged(b"x")).await;
    assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
    assert!(upstream.seen().is_empty());

    let honest = ask_whole(question()).encode_to_vec();
    let path = "dashgate.v1.ConversationService/Converse";
    let compressed = gzip(&honest);
    let request = http::Request::post(format!("http://{}/{path}", gateway.address))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .body(flagged(&compressed))
        .unwrap();
    let response = gateway.client.request(request).await.unwrap();
    assert!(
        !response.headers().contains_key("grpc-status"),
        "{response:?}"
    );
    assert!(
        !response.headers().contains_key("grpc-encoding"),
        "answers are not compressed"
    );
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_service_accepts_the_same_encodings_and_names_them_on_refusal() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let send = async |path: &str, encoding: &str, body: Vec<u8>| {
        let request = http::Request::post(format!("http://{}/{path}", gateway.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding)
            .body(all(body))
            .unwrap();
        let (head, body) = gateway.client.request(request).await.unwrap().into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned();
        (head.headers, trailers)
    };
    const HEALTH: &str = "grpc.health.v1.Health/Check";
    const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for path in [
        "dashgate.v1.ConversationService/Converse",
        "dashgate.v1.ConversationService/ConverseStream",
        "dashgate.v1.MediaService/UploadMedia",
        HEALTH,
        REFLECTION,
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        for encoding in ["br", "snappy", "gzip, zstd"] {
            let (headers, _) = send(path, encoding, framed(1, 1, b"x")).await;
            let status = Status::from_header_map(&headers).expect("a status");
            assert_fault(&status, Code::Unimplemented, "UNSUPPORTED_OPERATION");
            assert!(status.message().contains("grpc-encoding"), "{status:?}");
            assert_eq!(headers["grpc-accept-encoding"], "identity,gzip,zstd");
        }
    }
    let list_services = b"\x3a\x00";
    let zstd = zstd::encode_all(&list_services[..], 3).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(list_services).unwrap();
    let gzip = gzip.finish().unwrap();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    for (encoding, body) in [
        ("gzip", framed(1, length(&gzip), &gzip)),
        ("zstd", framed(1, length(&zstd), &zstd)),
        // A message may be uncompressed in spite of the encoding.
        ("gzip", framed(0, 2, list_services)),
        ("identity", framed(0, 2, list_services)),
    ] {
        // To Check the same bytes are an unknown field.
        for path in [REFLECTION, HEALTH] {
            let (headers, trailers) = send(path, encoding, body.clone()).await;
            let trailers = trailers.unwrap_or(headers);
            assert_eq!(
                trailers["grpc-status"], "0",
                "{path} {encoding}: {trailers:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c12_bytes_that_are_no_message_are_told_so() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let deep = [0x0a, 0x7f].repeat(1000);
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\x0a\x05ab",
        &deep,
        b"\x1a\x02\xff\xfe",
    ] {
        let length = u32::try_from(bytes.len()).unwrap();
        let status = post(&gateway, None, all(framed(0, length, bytes))).await;
        assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
    }
    let status = post(&gateway, None, all("")).await;
    assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
    let status = post(&gateway, None, all(framed(7, 0, b""))).await;
    assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn unknown_methods_and_other_protocols_are_reported() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    for path in [
        "dashgate.v1.ConversationService/Nothing",
        "no.Service/X",
        "",
        "x",
    ] {
        let request = http::Request::post(format!("http://{}/{path}", gateway.address))
            .header("content-type", "application/grpc")
            .body(all(""))
            .unwrap();
        let response = gateway.client.request(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_fault(&status, Code::Unimplemented, "UNKNOWN_METHOD");
    }
    for (method, kind, expected) in [
        ("GET", "application/grpc", 405),
        ("POST", "application/json", 415),
        ("POST", "", 415),
    ] {
        let request = http::Request::builder()
            .method(method)
            .uri(format!(
                "http://{}/dashgate.v1.ConversationService/Converse",
                gateway.address
            ))
            .header("content-type", kind)
            .body(all(""))
            .unwrap();
        let response = gateway.client.request(request).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn c6_a_hundred_calls_fit_on_a_connection_and_more_wait_their_turn() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let calls: Vec<_> = (0..150)
        .map(|_| {
            let mut client = gateway.conversation();
            tokio::spawn(async move { client.converse(ask_whole(question())).await })
        })
        .collect();
    upstream.wait_for_requests(100).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(upstream.seen().len(), 100);
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn all_wrong_fields_are_named_at_once() {
    use dashgate::grpc::pb;
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let part = |kind| pb::Content {
        kind,
        ..pb::Content::default()
    };
    let path = pb::audio::Source::Uri("/etc/passwd".to_owned());
    let audio = pb::Audio {
        source: Some(path),
        mime_type: "wav".to_owned(),
        file: None,
    };
    let message = pb::Message {
        role: 9,
        content: vec![part(None), part(Some(pb::content::Kind::Audio(audio)))],
        ..pb::Message::default()
    };
    let function = pb::FunctionTool {
        parameters: "{".to_owned(),
        ..pb::FunctionTool::default()
    };
    let request = pb::ConverseRequest {
        conversation: Some(pb::Conversation {
            messages: vec![message],
            tools: vec![pb::Tool {
                kind: Some(pb::tool::Kind::Function(function)),
            }],
            ..pb::Conversation::default()
        }),
        options: Some(Box::new(pb::GenerationOptions {
            temperature: Some(f64::NAN),
            ..pb::GenerationOptions::default()
        })),
        ..pb::ConverseRequest::default()
    };
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(
        violations(&status),
        [
            "conversation.model",
            "conversation.messages[0].role",
            "conversation.messages[0].content[0]",
            "conversation.messages[0].content[1].audio.mime_type",
            "conversation.messages[0].content[1].audio.uri",
            "conversation.tools[0].function.name",
            "conversation.tools[0].function.parameters",
            "options.temperature",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_conversation_with_a_name_needs_a_store() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let mut conversation = question();
    conversation.name = "conversations/1".to_owned();
    let status = gateway
        .conversation()
        .converse(ask_whole(conversation))
        .await
        .unwrap_err();
    assert_fault(&status, Code::Unimplemented, "NAMED_CONVERSATION");
    assert!(
        status.message().contains("leave conversation.name empty"),
        "{status:?}"
    );
}
