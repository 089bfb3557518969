//! A DashScope, or somebody on the way to it, that answers in odd shapes: no caller ever gets an
//! answer that was meant for another, or a part of one as if it were whole.

use dashgate::grpc::pb::{self, content};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use crate::support::*;

/// The question of one caller, by which its answer is known.
fn ask(caller: usize) -> pb::ConverseRequest {
    let text = content::Kind::Text(format!("caller-{caller}"));
    ask_whole(conversation("qwen-audio-turbo", vec![text]))
}

/// Whose question a request is.
fn asker(request: &Seen) -> String {
    let text = &request.json()["input"]["messages"][0]["content"][0]["text"];
    text.as_str().unwrap().to_owned()
}

fn text_of(answer: &pb::ConverseResponse) -> String {
    let message = answer.choices[0].message.as_ref().unwrap();
    match message.content[0].kind.as_ref() {
        Some(content::Kind::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// How an answer may come: everything that two readers of HTTP might read in two ways. `BODY`,
/// `LEN` and `HEX` stand for the answer and its length, `CHUNKS` for the answer in one chunk, and
/// `NEXT` for another whole answer that nobody asked for.
const SHAPES: &[&str] = &[
    // As it should be.
    "HTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\r\nBODY",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nCHUNKS",
    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nBODY\0close",
    // More than was asked for.
    "HTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\r\nBODY\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nCHUNKSNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\nx: y\r\n\r\nNEXT",
    "HTTP/1.1 204 No Content\r\ncontent-length: LEN\r\n\r\nBODY",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: LEN\r\n\r\nBODY",
    "HTTP/1.1 205 Reset Content\r\n\r\nNEXT",
    "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nNEXT",
    "NEXTNEXT",
    "NEXT\r\n\r\nNEXT",
    // Two lengths.
    "HTTP/1.1 200 OK\r\ncontent-length: LEN\r\ncontent-length: 2\r\n\r\nBODY",
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: LEN\r\n\r\nBODY",
    "HTTP/1.1 200 OK\r\ncontent-length: LEN, LEN\r\n\r\nBODY",
    "HTTP/1.1 200 OK\r\ncontent-length: LEN\r\ntransfer-encoding: chunked\r\n\r\nCHUNKS",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nCHUNKS",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\nCHUNKS",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\nCHUNKS",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length : LEN\r\n\r\nBODYNEXT",
    // Lengths that are none.
    "HTTP/1.1 200 OK\r\ncontent-length: +LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length: 0xHEX\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-length: LEN \r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0xHEX\r\nBODY\r\n0\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nBODY\r\n0\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nBODY\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n HEX\r\nBODY\r\n0\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX;a=\"\r\nBODY\r\n0\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX\nBODY\r\n0\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX\r\nBODYxx0\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX\r\nBODY\r\n00\r\n\r\nNEXT",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\rNEXT",
    // Heads that are none.
    "HTTP/1.1 200 OK\ncontent-length: LEN\n\nBODYNEXT",
    "HTTP/1.1 200 OK\r\n content-length: 3\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\nx: a\r\n\tcontent-length: 3\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\nx\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\n: x\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "\r\nHTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.0 200 OK\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.0 200 OK\r\n\r\nBODY\0close",
    "HTTP/2 200\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 2000 OK\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 OK\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "ICY 200 OK\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "BODY\0close",
    "\0close",
    // Answers before the answer.
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\r\nBODY",
    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\r\nBODY",
    "HTTP/1.1 100 Continue\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nNEXT",
    "HTTP/1.1 199 X\r\n\r\nNEXTNEXT",
    // Too little.
    "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nBODY\0close",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX\r\nBODY\r\n\0close",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nHEX\r\nBODY\0close",
    "HTTP/1.1 200 OK\r\ncontent-length: LEN\r\n\0close",
    "HTTP/1.1 200 OK\0close",
    // Bodies that are not what they say.
    "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-encoding: gzip, gzip\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: LEN\r\n\r\nBODYNEXT",
];

/// The bytes of a shape, and whether the connection is closed after them.
fn shaped(shape: &str, body: &str) -> Vec<Step> {
    let next = whole("of nobody");
    let next = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{next}",
        next.len()
    );
    let text = shape
        .replace("NEXT", &next)
        .replace("CHUNKS", "HEX\r\nBODY\r\n0\r\n\r\n")
        .replace("LEN", &body.len().to_string())
        .replace("HEX", &format!("{:x}", body.len()))
        .replace("BODY", body);
    match text.strip_suffix("\0close") {
        Some(text) => vec![Step::Write(text.into()), Step::Close],
        None => vec![Step::Write(text.into())],
    }
}

/// Calls again and again over the same connections, while every second answer has this shape.
async fn outcomes(shape: &'static str) -> Vec<Result<pb::ConverseResponse, Status>> {
    let upstream = Upstream::start(move |number, request| {
        let body = whole(&asker(request));
        match number % 2 {
            0 => shaped(shape, &body),
            _ => json(200, &body),
        }
    })
    .await;
    let mut settings = settings(&upstream);
    settings.retry.max_attempts = 1;
    let gateway = gateway_with(settings).await;
    let mut outcomes = Vec::new();
    for caller in 0..6 {
        let mut request = tonic::Request::new(ask(caller));
        request.set_timeout(std::time::Duration::from_secs(5));
        let outcome = gateway.conversation().converse(request).await;
        outcomes.push(outcome.map(tonic::Response::into_inner));
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn u22_no_answer_is_given_to_another_caller() {
    assert!(SHAPES.len() > 60);
    for shape in SHAPES {
        let mut answered = 0;
        for (caller, outcome) in outcomes(shape).await.into_iter().enumerate() {
            match outcome {
                Ok(answer) => {
                    // The ways in which DashScope itself may stutter: the whole of an answer that
                    // comes at the place of this caller's is taken for this caller's.
                    let text = text_of(&answer);
                    let unasked = shape.starts_with("NEXT") || shape.contains("\r\n\r\nNEXT");
                    let own = text == format!("caller-{caller}");
                    assert!(own || unasked && text == "of nobody", "{shape:?}: {text}");
                    answered += 1;
                }
                Err(status) => assert_ne!(status.code(), Code::Cancelled, "{shape:?}"),
            }
        }
        // Whatever became of the odd ones, the others are answered.
        assert!(answered >= 3, "{shape:?}: {answered} of 6");
    }
}

/// Answers in every framing: the name, the bytes, and where the answer is complete.
fn framings() -> Vec<(&'static str, String, usize)> {
    let body = whole("一二三");
    let stream = frame(1, "一", "null") + &frame(2, "二三", "stop");
    let ok = "HTTP/1.1 200 OK\r\n";
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    let chunked = |head: &str, body: &str| {
        let size = body.len();
        format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
    };
    let length = body.len();
    let framings = [
        (
            "a length",
            format!("{ok}content-length: {length}\r\n\r\n{body}"),
        ),
        ("chunks", chunked(ok, &body)),
        ("a stream in chunks", chunked(events, &stream)),
        (
            "a stream until the end",
            format!("{events}connection: close\r\n\r\n{stream}"),
        ),
    ];
    let complete = |(name, answer): (_, String)| {
        // A stream is complete with its last brace, before the body is.
        let last_brace = answer.rfind("}\n\n").map(|at| at + 1);
        let complete = last_brace.unwrap_or(answer.len());
        (name, answer, complete)
    };
    framings.into_iter().map(complete).collect()
}

/// The answer, whole and in chunks and as a stream, cut at every byte in both ways.
#[tokio::test(start_paused = true)]
async fn u8_an_answer_that_is_cut_at_any_byte_is_never_complete() {
    for (name, answer, complete) in framings() {
        let bytes = answer.into_bytes();
        // The number of the request says where its answer is cut.
        let upstream = Upstream::start(move |at, _| {
            let end = match at % 2 {
                0 => Step::Close,
                _ => Step::Reset,
            };
            vec![Step::Write(bytes[..at].to_vec()), end]
        })
        .await;
        let mut settings = settings(&upstream);
        settings.retry.max_attempts = 1;
        settings.upstream.breaker_failures = 0;
        let gateway = gateway_with(settings).await;
        for at in 0..complete {
            let request = ask_stream(question());
            let status = match gateway.conversation().converse_stream(request).await {
                Err(status) => status,
                Ok(events) => {
                    let events: Vec<_> = events.into_inner().collect().await;
                    let last = events.into_iter().find_map(Result::err);
                    last.unwrap_or_else(|| panic!("{name} at {at} of {complete} is OK"))
                }
            };
            assert_eq!(status.code(), Code::Internal, "{name} at {at}: {status:?}");
        }
        assert_eq!(
            upstream.seen().len(),
            complete,
            "{name}: each was asked for"
        );
    }
}
