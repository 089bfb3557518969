//! How live sessions end whose stream broke: at their deadline, after the window, or as requested.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::support::live_call::{LiveCall, resumption, setup, started};
use crate::support::realtime::{RealtimeUpstream, SocketEnd};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_stream_that_was_replaced_does_not_end_the_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let brief: &[(&str, &str)] = &[("grpc-timeout", "20S")];
    let opening = LiveCall::open_with(&gateway, gateway.client.clone(), setup(OMNI), brief);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    let first = started(&mut call).await;
    let mut second = LiveCall::resume(&gateway, &first, 1).await.unwrap();
    sleep(100 * SECOND).await;
    socket.answer("resp_1", "hello");
    second
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    // The deadline of the stream that is there ends it.
    let setup = resumption(&first, second.sequence);
    let client = gateway.client.clone();
    let third = LiveCall::open_with(&gateway, client, setup, brief).await;
    let (mut third, begun) = (third.unwrap(), Instant::now());
    let status = third.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_eq!(begun.elapsed().as_secs(), 20);
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_closes_the_connection_to_dashscope_while_the_caller_is_away() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let brief: &[(&str, &str)] = &[("grpc-timeout", "10S")];
    let begun = Instant::now();
    let opening = LiveCall::open_with(&gateway, gateway.client.clone(), setup(OMNI), brief);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    started(&mut call).await;
    drop(call);
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_resumed_in_time_is_closed_and_cancelled() {
    for (window, seconds) in [(30, 30), (0, 0)] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = gateway_at(upstream.base_url(), |settings| {
            settings.live.resume_window = window * SECOND;
            settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        })
        .await;
        let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
        let first = started(&mut call).await;
        let gone = Instant::now();
        drop(call);
        assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
        assert_eq!(gone.elapsed().as_secs(), seconds);
        let status = LiveCall::resume(&gateway, &first, 1).await.err().unwrap();
        assert_fault(&status, Code::NotFound, "SESSION_NOT_FOUND");
        let page = crate::metrics::page(&gateway, "/metrics").await;
        let ended =
            |line: &&str| line.starts_with("dashgate_calls_total") && line.contains("CANCELLED");
        let line = page.lines().find(ended).unwrap();
        assert!(line.ends_with(" 1"), "{line}");
        assert!(!page.contains(&first.resume_token), "the token is shown");
    }
}

#[tokio::test(start_paused = true)]
async fn neither_finish_nor_the_half_close_is_a_lost_connection() {
    for finishes in [true, false] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = gateway_at(upstream.base_url(), |settings| {
            settings.live.resume_window = Duration::ZERO;
        })
        .await;
        let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
        socket.response_created("resp_1");
        call.until(|event| matches!(event, Heard::ResponseStarted(_)))
            .await;
        match finishes {
            true => call.send(Ask::Finish(pb::Finish {})).await,
            false => call.half_close(),
        }
        sleep(20 * SECOND).await;
        socket.text("resp_1", "late");
        socket.response_done("resp_1", "completed");
        assert_eq!(socket.finish().await, SocketEnd::Closed(1000));
        let rest = call.rest().await;
        assert!(
            matches!(rest.last(), Some(Heard::SessionEnded(_))),
            "{rest:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn input_that_was_accepted_of_a_lost_stream_precedes_that_of_the_next() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    let mut sent = Vec::new();
    for number in 0..10_u8 {
        sent.push(number);
        call.send(Ask::Text(number.to_string())).await;
    }
    sleep(Duration::from_millis(10)).await;
    drop(call);
    let again = LiveCall::resume(&gateway, &first, 1).await.unwrap();
    for number in 10..20_u8 {
        sent.push(number);
        again.send(Ask::Text(number.to_string())).await;
    }
    for number in sent {
        let frame = socket.until("conversation.item.create").await;
        let text = frame["item"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(text, number.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_of_one_method_is_not_resumed_by_the_other() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, _socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    let origin = format!("http://{}", gateway.address).parse().unwrap();
    let mut client =
        pb::live_service_client::LiveServiceClient::with_origin(gateway.client.clone(), origin);
    let setup = pb::SynthesisSetup {
        resume: resumption(&first, 1).resume,
        ..pb::SynthesisSetup::default()
    };
    let request = pb::SynthesizeLiveRequest {
        event: Some(pb::synthesize_live_request::Event::Setup(setup)),
    };
    let status: Status = client
        .synthesize_live(tokio_stream::iter([request]))
        .await
        .err()
        .unwrap();
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
}
