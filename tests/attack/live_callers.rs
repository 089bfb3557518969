//! Hostile callers of live sessions: messages out of order, of any size and none, and streams that
//! are never finished.

use std::time::Duration;

use bytes::Bytes;
use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use prost::Message as _;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use super::closed_window::{Caller, Ended, LEVELS, end_of};
use super::memory::{framed, gzip};
use crate::support::live_call::{LiveCall, manual, setup, started};
use crate::support::realtime::{RealtimeUpstream, SocketEnd};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const PATH: &str = "/dashgate.v1.LiveService/ConverseLive";
const SECOND: Duration = Duration::from_secs(1);
const WINDOW: u32 = 1 << 20;

fn request(event: Option<Ask>) -> Vec<u8> {
    pb::ConverseLiveRequest { event }.encode_to_vec()
}

fn first() -> Vec<u8> {
    framed(0, &request(Some(Ask::Setup(setup(OMNI)))))
}

fn audio(length: usize) -> Vec<u8> {
    request(Some(Ask::Audio(vec![1; length].into())))
}

/// The status of a call that has sent these bytes and no more; the request stays open.
async fn status_of(gateway: &Running, metadata: &[(&str, &str)], bytes: Vec<u8>) -> Status {
    let mut caller = Caller::with_window(gateway.address, WINDOW).await;
    let (response, _body) = caller.open(PATH, metadata, bytes).await;
    match timeout(600 * SECOND, end_of(response)).await.unwrap() {
        Ended::Status(status) => status,
        Ended::Reset(reason) => panic!("reset: {reason}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_begin_with_its_setup_is_refused() {
    let upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    for event in [
        Some(Ask::Audio(vec![0; 3200].into())),
        Some(Ask::Finish(pb::Finish {})),
        None,
    ] {
        let status = status_of(&gateway, &[], framed(0, &request(event))).await;
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), ["setup"]);
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_setup_that_never_comes_is_not_awaited_for_long() {
    let upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let half = first()[..9].to_vec();
    for (metadata, bytes, code, reason, seconds) in [
        (
            None,
            Vec::new(),
            Code::DeadlineExceeded,
            "REQUEST_BODY_TIMEOUT",
            30,
        ),
        (
            None,
            half,
            Code::DeadlineExceeded,
            "REQUEST_BODY_TIMEOUT",
            30,
        ),
        (
            Some("5S"),
            Vec::new(),
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            5,
        ),
    ] {
        let metadata: Vec<_> = metadata
            .map(|it| ("grpc-timeout", it))
            .into_iter()
            .collect();
        let begun = Instant::now();
        let status = status_of(&gateway, &metadata, bytes).await;
        assert_fault(&status, code, reason);
        assert_eq!(begun.elapsed().as_secs(), seconds, "{status:?}");
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_that_cannot_be_read_end_the_session_typed() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let invalid = (Code::InvalidArgument, "INVALID_REQUEST");
    let large = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    for (bytes, (code, reason)) in [
        (first(), invalid),
        (framed(0, &request(None)), invalid),
        (framed(0, &request(Some(Ask::Text(String::new())))), invalid),
        (
            framed(0, &[0xff; 64]),
            (Code::Internal, "MALFORMED_MESSAGE"),
        ),
        (framed(0, &audio(17 << 20)), large),
        (vec![0, 0x7f, 0xff, 0xff, 0xff], large),
        (
            vec![0, 0, 0, 4, 0, 1],
            (Code::DeadlineExceeded, "REQUEST_BODY_TIMEOUT"),
        ),
    ] {
        let all = [first(), bytes].concat();
        let shown = all.len();
        let (status, mut socket) = tokio::join!(status_of(&gateway, &[], all), upstream.session());
        let info = status.clone();
        assert_fault(&info, code, reason);
        let end = socket.ended().await;
        assert_eq!(end, SocketEnd::Closed(1000), "{shown} bytes: {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_and_compressed_messages_arrive_whole() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let setup = request(Some(Ask::Setup(setup(OMNI))));
    let plain = [first(), framed(0, &audio(10 << 20))].concat();
    let packed = [framed(1, &gzip(&setup)), framed(1, &gzip(&audio(10 << 20)))].concat();
    for (metadata, bytes) in [(&[][..], plain), (&[("grpc-encoding", "gzip")][..], packed)] {
        let mut caller = Caller::with_window(gateway.address, WINDOW).await;
        let (response, _body) = caller.open(PATH, metadata, bytes).await;
        let mut socket = upstream.session().await;
        let mut received = 0;
        while received < 10 << 20 {
            socket.until("input_audio_buffer.append").await;
            received += socket.audio().len();
            socket.seen.clear();
        }
        assert_eq!(received, 10 << 20);
        drop(response);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_before_any_audio_is_refused_and_the_session_goes_on() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    let jpeg = [vec![0xff, 0xd8, 0xff], vec![0; 1000]].concat();
    call.send(Ask::Image(jpeg.clone().into())).await;
    let events = call
        .until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    let Some(Heard::SessionWarning(warning)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!((&*warning.field, warning.refused_message), ("image", 2));
    call.send(Ask::Audio(vec![0; 3200].into())).await;
    call.send(Ask::Image(jpeg.clone().into())).await;
    socket.until("input_image_buffer.append").await;
}

#[tokio::test(start_paused = true)]
async fn endless_messages_without_content_take_no_memory_and_end_no_call() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.memory.limit = 64 << 20;
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    for _ in 0..5_000 {
        call.send(Ask::Audio(Bytes::new())).await;
        call.send(Ask::Acknowledge(pb::Acknowledge { sequence: -1 }))
            .await;
        // One refusal each, which this caller does not read yet.
        call.send(Ask::CancelResponse(pb::CancelResponse {})).await;
    }
    call.send(Ask::Text("end".to_owned())).await;
    let mut warnings = 0;
    while warnings < 5_000 {
        let event = call.event().await;
        warnings += i32::from(matches!(event, Heard::SessionWarning(_)));
    }
    socket.until("conversation.item.create").await;
    assert_eq!(
        socket.kinds(),
        ["session.update", "conversation.item.create"]
    );
}

#[tokio::test(start_paused = true)]
async fn thousands_of_attempts_to_resume_learn_and_disturb_nothing() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.server.max_in_flight = 3;
        settings.server.caller_share_percent = 100;
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    let mut first = started(&mut call).await;
    let token = std::mem::take(&mut first.resume_token);
    for number in 0..2_000 {
        first.resume_token = format!("{number:032x}");
        let status = LiveCall::resume(&gateway, &first, 1).await.err().unwrap();
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
    // With the token, one stream after the other takes over.
    first.resume_token = token;
    for _ in 0..500 {
        let mut next = LiveCall::resume(&gateway, &first, 1).await.unwrap();
        started(&mut next).await;
        let status = call.status().await;
        assert_fault(&status, Code::Aborted, "SESSION_TAKEN_OVER");
        call = next;
    }
    socket.answer("resp_1", "hello");
    call.until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    call.half_close();
    socket.finish().await;
    call.rest().await;
}

#[tokio::test(start_paused = true)]
async fn grpc_web_is_refused_with_what_to_use_instead() {
    let upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    for kind in ["application/grpc-web", "application/grpc-web+proto"] {
        let request = http::Request::post(format!("http://{}{PATH}", gateway.address))
            .header("content-type", kind)
            .body(tonic::body::Body::new(http_body_util::Full::new(
                Bytes::from(first()),
            )))
            .unwrap();
        let response = gateway.client.request(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_fault(&status, Code::Unimplemented, "UNSUPPORTED_OPERATION");
        assert!(status.message().contains("HTTP/2"), "{status:?}");
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_window_is_closed_ends_with_slow_consumer() {
    for level in LEVELS {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = gateway_at(upstream.base_url(), |_| {}).await;
        let mut caller = Caller::connect(gateway.address, level).await;
        let (response, _body) = caller.open(PATH, &[], first()).await;
        let mut socket = upstream.session().await;
        let begun = Instant::now();
        socket.response_created("resp_1");
        for _ in 0..400 {
            socket.speak("resp_1", &[7; 9600]);
        }
        socket.ended().await;
        let seconds = begun.elapsed().as_secs();
        assert!((29..=62).contains(&seconds), "{level:?}: {seconds}");
        caller.read_again();
        match timeout(600 * SECOND, end_of(response)).await.unwrap() {
            Ended::Status(status) => {
                assert_fault(&status, Code::ResourceExhausted, "SLOW_CONSUMER");
            }
            Ended::Reset(_) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_its_session_starts_leaks_nothing() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.server.max_in_flight = 1;
        settings.server.caller_share_percent = 100;
    })
    .await;
    for _ in 0..20 {
        let opening = LiveCall::open(&gateway, setup(OMNI));
        let (opened, mut socket) = tokio::join!(timeout(SECOND, opening), upstream.accept());
        assert!(opened.is_err());
        assert_eq!(socket.ended().await, SocketEnd::Lost);
    }
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    call.half_close();
    socket.finish().await;
    call.rest().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_of_a_caller_that_reads_nothing_are_bounded() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let manual = pb::LiveSetup {
        turn_detection: manual(),
        ..setup(OMNI)
    };
    let mut caller = Caller::with_window(gateway.address, 0).await;
    let setup = framed(0, &request(Some(Ask::Setup(manual))));
    let (response, mut body) = caller.open(PATH, &[], setup).await;
    let mut socket = upstream.session().await;
    socket.configured().await;
    for number in 0..200 {
        socket.send(json!({"type": "new.event", "number": number, "text": "x".repeat(4000)}));
    }
    sleep(SECOND).await;
    let refused = framed(
        0,
        &request(Some(Ask::CancelResponse(pb::CancelResponse {}))),
    );
    let flood = refused.repeat(20_000);
    body.send_data(Bytes::from(flood), false).unwrap();
    sleep(SECOND).await;
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
    drop(response);
}
