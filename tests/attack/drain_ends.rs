//! Calls that remain at the end of the drain timeout: each gets a status, whatever was received of
//! its request. And requests whose deadline passes before they are complete.

use dashgate::grpc::pb::{self, upload_media_request::Payload};
use tokio::time::Instant;
use tonic::Code;

use crate::clocks::*;
use crate::clocks_of_services::with_storage;
use crate::closed_window::*;
use crate::support::http2_peer::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Manners, Raw, fields, h2,
};
use crate::support::*;

const CHECK: &str = "/grpc.health.v1.Health/Check";

fn upload_message(payload: Payload) -> Vec<u8> {
    message(&pb::UploadMediaRequest {
        payload: Some(payload),
    })
}

fn description() -> Vec<u8> {
    upload_message(Payload::Description(pb::MediaDescription {
        model: "qwen-vl-max".to_owned(),
        ..pb::MediaDescription::default()
    }))
}

/// The beginnings of an upload.
fn uploads() -> Vec<Vec<u8>> {
    let (description, chunk) = (
        description(),
        upload_message(Payload::Chunk(vec![1; 1000].into())),
    );
    let half = description[..description.len() - 2].to_vec();
    let half_chunk = [&description[..], &chunk[..chunk.len() - 2]].concat();
    let with_chunk = [description.clone(), chunk].concat();
    vec![half, description, half_chunk, with_chunk]
}

#[track_caller]
fn assert_status(ended: &Ended, code: Code, reason: &str) {
    match ended {
        Ended::Status(status) => assert_fault(status, code, reason),
        other => panic!("{other:?}"),
    }
}

async fn storage_that_hangs() -> Upstream {
    with_storage(|| vec![Step::Hang]).await
}

#[tokio::test(start_paused = true)]
async fn every_incomplete_request_gets_a_status_at_the_end_of_the_drain() {
    let upstream = storage_that_hangs().await;
    let mut settings = settings(&upstream);
    settings.server.drain_delay = SECOND;
    settings.server.drain_timeout = 10 * SECOND;
    settings.server.request_body_timeout = 100 * SECOND;
    let gateway = gateway_with(settings).await;
    let (whole, stream) = (whole_request("qwen-vl-max"), stream_request("qwen-vl-max"));
    let mut begun = vec![
        (CONVERSE, Vec::new()),
        (CONVERSE, whole[..3].to_vec()),
        (CONVERSE, whole[..whole.len() - 2].to_vec()),
        // Complete, but without the end of the stream.
        (CONVERSE, whole),
        (STREAM, stream[..stream.len() - 2].to_vec()),
        (CHECK, vec![0, 0, 0]),
    ];
    begun.extend(uploads().into_iter().map(|bytes| (UPLOAD, bytes)));
    let mut caller = Caller::connect(gateway.address, Closed::Stream).await;
    caller.read_again();
    let mut calls = Vec::new();
    for (path, bytes) in begun {
        calls.push((path, bytes.len(), caller.open(path, &[], bytes).await));
    }
    // Completely sent, but not stored yet.
    let stored = caller.call(UPLOAD, &[], uploads().pop().unwrap()).await;
    tokio::time::sleep(SECOND).await;
    let start = Instant::now();
    gateway.stop().await;
    for (path, length, (call, _open)) in calls {
        let ended = end_of(call).await;
        println!("{path} after {length} bytes");
        assert_status(&ended, Code::Unavailable, "SHUTTING_DOWN");
        assert_at(start, 11 * SECOND);
    }
    assert_status(&end_of(stored).await, Code::Unavailable, "SHUTTING_DOWN");
    assert_at(start, 11 * SECOND);
    gateway.ended().await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_an_incomplete_upload_is_named_as_such() {
    let upstream = storage_that_hangs().await;
    let gateway = gateway(&upstream).await;
    let mut caller = Caller::connect(gateway.address, Closed::Stream).await;
    caller.read_again();
    for bytes in uploads() {
        let start = Instant::now();
        let timeout = [("grpc-timeout", "400m")];
        let (call, _open) = caller.open(UPLOAD, &timeout, bytes).await;
        let ended = end_of(call).await;
        assert_status(&ended, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert_at(start, 2 * SECOND / 5);
    }
    for bytes in uploads() {
        let (call, _open) = caller.open(UPLOAD, &[], bytes).await;
        let ended = end_of(call).await;
        assert_status(&ended, Code::DeadlineExceeded, "REQUEST_BODY_TIMEOUT");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_to_head_has_no_content() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    for (kind, origin) in [
        ("text/html", "http://a"),
        ("application/grpc", "http://a"),
        ("application/grpc-web+proto", "http://a"),
        ("application/grpc-web-text", "http://b"),
    ] {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        let head = fields(&[
            (":method", "HEAD"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "gateway"),
            ("content-type", kind),
            ("origin", origin),
        ]);
        raw.send(&h2(HEADERS, END_STREAM | END_HEADERS, 1, &head))
            .await;
        loop {
            let frame = raw.next().await.expect("a response");
            if frame.stream != 1 {
                continue;
            }
            assert!(frame.kind != DATA || frame.payload.is_empty(), "{frame:?}");
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
}
