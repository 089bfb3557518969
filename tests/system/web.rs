//! gRPC-Web: what browsers send and must hear, over HTTP/1.1 and HTTP/2, and which pages may call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dashgate::grpc::pb;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::body::Body;

use crate::support::*;

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// An answer that was read to its end.
struct Heard {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The frames of the body: the messages, and the lines of the trailers.
    fn frames(&self) -> (Vec<Bytes>, Vec<String>) {
        let mut rest = match self.header("content-type").contains("-text") {
            true => decoded(&self.body),
            false => self.body.clone(),
        };
        let (mut messages, mut trailers) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            assert!(trailers.is_empty(), "nothing follows the trailers");
            let head = rest.split_to(5);
            let length = u32::from_be_bytes(head[1..].try_into().unwrap());
            let bytes = rest.split_to(length as usize);
            match head[0] {
                0 => messages.push(bytes),
                0x80 => {
                    let text = std::str::from_utf8(&bytes).unwrap();
                    trailers.extend(text.lines().map(str::to_owned));
                }
                other => panic!("a frame of kind {other}"),
            }
        }
        (messages, trailers)
    }
}

/// Base64 in pieces, each padded by itself.
fn decoded(text: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        bytes.extend(STANDARD.decode(group).unwrap());
    }
    bytes.into()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Http1,
    Http2,
}

async fn send(gateway: &Running, over: Over, request: http::Request<Vec<u8>>) -> Heard {
    let (mut parts, body) = request.into_parts();
    let body = Body::new(Full::from(body));
    let response: Response<hyper::body::Incoming> = match over {
        Over::Http1 => {
            let stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream));
            let (mut sender, connection) = shaken.await.unwrap();
            tokio::spawn(connection);
            parts.headers.insert("host", "gateway".parse().unwrap());
            let request = http::Request::from_parts(parts, body);
            sender.send_request(request).await.unwrap()
        }
        Over::Http2 => {
            let path = parts.uri.path();
            parts.uri = format!("http://{}{path}", gateway.address).parse().unwrap();
            let request = http::Request::from_parts(parts, body);
            gateway.client.request(request).await.unwrap()
        }
    };
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    assert!(collected.trailers().is_none(), "a browser cannot read them");
    Heard {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: collected.to_bytes(),
    }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &bytes].concat()
}

fn call(method: &str, kind: &str, body: Vec<u8>) -> http::Request<Vec<u8>> {
    let body = match kind.contains("-text") {
        true => STANDARD.encode(body).into_bytes(),
        false => body,
    };
    http::Request::post(format!("/dashgate.v1.ConversationService/{method}"))
        .header("content-type", kind)
        .header("x-grpc-web", "1")
        .body(body)
        .unwrap()
}

fn from(mut request: http::Request<Vec<u8>>, origin: &str) -> http::Request<Vec<u8>> {
    let origin = origin.parse().unwrap();
    request.headers_mut().insert("origin", origin);
    request
}

/// A gateway that the pages of one origin may call.
async fn open(upstream: &Upstream) -> Running {
    let mut settings = settings(upstream);
    settings.server.allowed_origins = vec!["https://app.example".to_owned()];
    gateway_with(settings).await
}

#[tokio::test(start_paused = true)]
async fn a_unary_answer_has_every_form_over_both_protocols() {
    let upstream = Upstream::always(json(200, &whole("好"))).await;
    let gateway = gateway(&upstream).await;
    for over in [Over::Http1, Over::Http2] {
        for kind in [
            BINARY,
            TEXT,
            "application/grpc-web",
            "application/grpc-web-text+proto",
        ] {
            let request = call("Converse", kind, framed(&ask_whole(question())));
            let heard = send(&gateway, over, request).await;
            assert_eq!(heard.status, 200, "{over:?} {kind}");
            let same = heard.header("content-type").contains("-text") == kind.contains("-text");
            assert!(same, "{over:?} {kind} {}", heard.header("content-type"));
            assert!(!heard.header("x-request-id").is_empty());
            let (messages, trailers) = heard.frames();
            assert_eq!(messages.len(), 1);
            let answer = pb::ConverseResponse::decode(messages[0].clone()).unwrap();
            assert_eq!(answer.choices.len(), 1);
            assert!(
                trailers.contains(&"grpc-status:0".to_owned()),
                "{trailers:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_trailers_in_the_body() {
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "null")),
        piece(frame(2, "二", "stop")),
        end(),
    ])
    .await;
    let gateway = gateway(&upstream).await;
    for (over, kind) in [
        (Over::Http1, BINARY),
        (Over::Http1, TEXT),
        (Over::Http2, TEXT),
    ] {
        let request = call("ConverseStream", kind, framed(&ask_stream(question())));
        let (messages, trailers) = send(&gateway, over, request).await.frames();
        let events: Vec<_> = messages
            .into_iter()
            .map(|bytes| Ok(pb::ConverseStreamResponse::decode(bytes).unwrap()))
            .collect();
        assert_eq!(texts(&events), ["一", "二"]);
        assert!(
            trailers.contains(&"grpc-status:0".to_owned()),
            "{trailers:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_tells_its_details_in_the_body() {
    let upstream = Upstream::always(vec![sse(), piece(frame(1, "一", "null")), end()]).await;
    let gateway = open(&upstream).await;
    let request = call("ConverseStream", BINARY, framed(&ask_stream(question())));
    let heard = send(&gateway, Over::Http1, from(request, "https://app.example")).await;
    let (messages, trailers) = heard.frames();
    assert!(!messages.is_empty());
    for name in [
        "grpc-status:13",
        "grpc-message:",
        "grpc-status-details-bin:",
        "grpc-retry-pushback-ms:-1",
        "x-request-id:",
    ] {
        let found = trailers.iter().any(|line| line.starts_with(name));
        assert!(found, "{name} in {trailers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_without_messages_is_told_in_the_head_and_a_page_may_read_it() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = open(&upstream).await;
    for (over, kind) in [
        (Over::Http1, BINARY),
        (Over::Http1, TEXT),
        (Over::Http2, BINARY),
    ] {
        for method in ["Converse", "ConverseStream"] {
            let request = call(method, kind, framed(&pb::ConverseRequest::default()));
            let heard = send(&gateway, over, from(request, "https://app.example")).await;
            assert_eq!((heard.status, heard.header("grpc-status")), (200, "3"));
            assert!(heard.body.is_empty());
            assert_eq!(heard.header("grpc-retry-pushback-ms"), "-1");
            let readable = heard.header("access-control-expose-headers");
            for name in [
                "grpc-status",
                "grpc-message",
                "grpc-status-details-bin",
                "grpc-retry-pushback-ms",
                "x-request-id",
            ] {
                assert!(readable.split(", ").any(|one| one == name), "{name}");
                assert!(heard.headers.contains_key(name), "{name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_pages_that_are_allowed_may_call() {
    let upstream = Upstream::always(json(200, &whole("好"))).await;
    let closed = gateway(&upstream).await;
    let open = open(&upstream).await;
    let preflight = |origin: &str| {
        http::Request::options("/dashgate.v1.ConversationService/Converse")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "content-type,x-grpc-web,authorization",
            )
            .body(Vec::new())
            .unwrap()
    };
    let question = || call("Converse", BINARY, framed(&ask_whole(question())));
    for (gateway, origin, allowed) in [
        (&closed, "https://app.example", false),
        (&open, "https://app.example", true),
        (&open, "https://other.example", false),
        (&open, "http://app.example", false),
    ] {
        let asked = send(gateway, Over::Http1, preflight(origin)).await;
        assert_eq!(asked.status, if allowed { 204 } else { 403 }, "{origin}");
        let called = send(gateway, Over::Http1, from(question(), origin)).await;
        assert_eq!(called.status, if allowed { 200 } else { 403 }, "{origin}");
        for heard in [&asked, &called] {
            let granted = heard.header("access-control-allow-origin");
            assert_eq!(granted, if allowed { origin } else { "" });
        }
        if allowed {
            let names = asked.header("access-control-allow-headers");
            assert_eq!(names, "content-type,x-grpc-web,authorization");
        } else {
            let told = String::from_utf8(called.body.to_vec()).unwrap();
            assert!(told.contains("server.allowed_origins"), "{told}");
        }
    }
    assert_eq!(upstream.seen().len(), 1, "a refused page asks nothing");
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_base64_is_reported() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    for body in ["!!!!", "AAAAA", "AAA", "=AAA"] {
        let mut request = call("Converse", TEXT, Vec::new());
        *request.body_mut() = body.as_bytes().to_vec();
        let heard = send(&gateway, Over::Http1, request).await;
        assert_eq!(heard.header("grpc-status"), "13", "{body}");
        assert!(
            heard
                .header("grpc-message")
                .contains("not%20valid%20protobuf"),
            "{body}"
        );
    }
    assert!(upstream.seen().is_empty());
}

/// The bytes of a call over HTTP/1.1, with its whole body.
fn over_http1(method: &str, message: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /dashgate.v1.ConversationService/{method} HTTP/1.1\r\nhost: x\r\n\
         content-type: {BINARY}\r\ncontent-length: {}\r\n\r\n",
        message.len()
    );
    [head.as_bytes(), message].concat()
}

#[tokio::test(start_paused = true)]
async fn c17_a_page_that_is_closed_closes_the_request_to_dashscope() {
    let begun = vec![sse(), piece(frame(1, "一", "null")), Step::Hang];
    for (method, steps) in [("ConverseStream", begun), ("Converse", vec![Step::Hang])] {
        let mut upstream = Upstream::always(steps).await;
        let gateway = gateway(&upstream).await;
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let call = over_http1(method, &framed(&ask_whole(question())));
        stream.write_all(&call).await.unwrap();
        upstream.wait_for_requests(1).await;
        if method == "ConverseStream" {
            let mut heard = Vec::new();
            while !String::from_utf8_lossy(&heard).contains('一') {
                stream.read_buf(&mut heard).await.unwrap();
            }
        }
        let started = tokio::time::Instant::now();
        drop(stream);
        upstream.closed().await;
        assert_eq!(started.elapsed().as_secs(), 0, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_for_a_page_too() {
    let upstream = Upstream::always(vec![sse(), piece(frame(1, "一", "null")), Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let mut request = call("ConverseStream", BINARY, framed(&ask_stream(question())));
    let timeout = "3S".parse().unwrap();
    request.headers_mut().insert("grpc-timeout", timeout);
    let started = tokio::time::Instant::now();
    let (_, trailers) = send(&gateway, Over::Http1, request).await.frames();
    assert!(
        trailers.contains(&"grpc-status:4".to_owned()),
        "{trailers:?}"
    );
    assert_eq!(started.elapsed().as_secs(), 3);
}
