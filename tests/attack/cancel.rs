//! Callers that go away, in every way in which they can: the request to DashScope is closed at
//! once, because tokens cost money, and the place is free again.

use std::time::Duration;

use dashgate::grpc::pb;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_stream::StreamExt;

use crate::support::http2_peer::*;
use crate::support::*;

const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
const STREAM: &str = "/dashgate.v1.ConversationService/ConverseStream";
const CANCEL: u32 = 8;
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;

/// Every way for a caller to give its call up.
#[derive(Clone, Copy, Debug)]
enum Way {
    Reset(u32),
    /// The connection is closed in order.
    Close,
    /// The connection breaks.
    Break,
    /// The caller says that it goes, and closes.
    GoAway,
}

const WAYS: [Way; 6] = [
    Way::Reset(CANCEL),
    Way::Reset(NO_ERROR),
    Way::Reset(INTERNAL_ERROR),
    Way::Close,
    Way::Break,
    Way::GoAway,
];

/// A message as gRPC frames it.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat()
}

/// A connection that has sent a call, with no library between it and the socket.
async fn call(gateway: &Running, path: &str, message: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let head = h2(HEADERS, END_HEADERS, 1, &block(path, &[]));
    let data = h2(DATA, END_STREAM, 1, message);
    let greeting = [PREFACE, &h2(SETTINGS, 0, 0, &[])].concat();
    let all = [greeting, head, data].concat();
    stream.write_all(&all).await.unwrap();
    stream
}

/// Gives the call up. What is returned keeps the connection open as long as the way wants it.
async fn give_up(mut stream: TcpStream, way: Way) -> Option<TcpStream> {
    match way {
        Way::Reset(code) => {
            let reset = h2(RST_STREAM, 0, 1, &code.to_be_bytes());
            stream.write_all(&reset).await.unwrap();
            Some(stream)
        }
        Way::Close => None,
        Way::Break => {
            let linger = Some(Duration::ZERO);
            socket2::SockRef::from(&stream).set_linger(linger).unwrap();
            None
        }
        Way::GoAway => {
            stream.write_all(&h2(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
            None
        }
    }
}

/// What DashScope has done when the caller goes.
fn stages() -> [(&'static str, Vec<Step>); 3] {
    [
        ("nothing", vec![Step::Hang]),
        ("the head", vec![sse(), Step::Hang]),
        (
            "a piece",
            vec![sse(), piece(frame(1, "一", "null")), Step::Hang],
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn c17_however_a_caller_goes_its_request_to_dashscope_is_closed() {
    let named = |request_id: &str| request_id.to_owned();
    let whole = framed(&ask_whole(question()));
    let stream = framed(&ask_stream(question()));
    let whole_named = framed(&pb::ConverseRequest {
        request_id: named("n"),
        ..ask_whole(question())
    });
    let stream_named = framed(&pb::ConverseStreamRequest {
        request_id: named("n"),
        ..ask_stream(question())
    });
    let kinds = [
        ("unary", CONVERSE, whole),
        ("stream", STREAM, stream),
        ("unary with a request id", CONVERSE, whole_named),
        ("stream with a request id", STREAM, stream_named),
    ];
    for (kind, path, message) in &kinds {
        for (stage, steps) in stages() {
            for way in WAYS {
                let mut upstream = Upstream::always(steps.clone()).await;
                let mut settings = settings(&upstream);
                settings.server.max_in_flight = 1;
                let gateway = gateway_with(settings).await;
                let stream = call(&gateway, path, message).await;
                upstream.wait_for_requests(1).await;
                let _kept = give_up(stream, way).await;
                let is_closed = upstream.is_closed_at_once().await;
                assert!(is_closed, "{kind}, after {stage}, {way:?}");
                // The one place is free again: the next call reaches DashScope.
                let _next = call(&gateway, path, message).await;
                upstream.wait_for_requests(2).await;
            }
        }
    }
}

/// Two callers wait for one answer: the first that goes takes nothing from the other.
#[tokio::test(start_paused = true)]
async fn c17_c21_one_of_two_readers_that_goes_does_not_end_the_call_of_the_other() {
    for way in WAYS {
        let mut upstream = Upstream::always(vec![
            sse(),
            piece(frame(1, "一", "null")),
            Step::Pause(Duration::from_secs(5)),
            piece(frame(2, "二", "stop")),
            end(),
        ])
        .await;
        let gateway = gateway(&upstream).await;
        let request = pb::ConverseStreamRequest {
            request_id: "shared".to_owned(),
            ..ask_stream(question())
        };
        let first = call(&gateway, STREAM, &framed(&request)).await;
        upstream.wait_for_requests(1).await;
        let second = gateway
            .conversation()
            .converse_stream(request)
            .await
            .unwrap();
        let _kept = give_up(first, way).await;
        let events: Vec<_> = second.into_inner().collect().await;
        assert!(events.iter().all(Result::is_ok), "{way:?}: {events:?}");
        assert_eq!(texts(&events), ["一", "二"]);
        assert_eq!(upstream.seen().len(), 1);
        let closed = tokio::time::timeout(Duration::from_secs(1), upstream.closed()).await;
        assert!(closed.is_err(), "{way:?}: the answer was read to its end");
    }
}
