//! A live session without activity: it is kept alive by silence up to a bound, or ends with
//! the reason `SESSION_IDLE`.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::idle_policy::Kind;
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::{before, create};
use crate::support::live_call::setup;
use crate::support::realtime::{RealtimeUpstream, SocketEnd};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn policy(kind: Kind) -> Option<pb::IdlePolicy> {
    Some(pb::IdlePolicy { kind: Some(kind) })
}

#[tokio::test(start_paused = true)]
async fn a_session_is_kept_alive_by_silence_up_to_its_bound() {
    for (setup, clears) in [(setup(OMNI), false), (by_hand(OMNI), true)] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = before(&upstream).await;
        let setup = pb::LiveSetup {
            idle_policy: policy(Kind::KeepAlive(seconds(400))),
            ..setup
        };
        let (mut call, mut socket) = upstream.open(&gateway, setup).await;
        let began = Instant::now();
        for minute in 1..=6 {
            let audio = socket.until("input_audio_buffer.append").await;
            assert_eq!(began.elapsed().as_secs(), minute * 60);
            // 100 ms of zeros in base64.
            assert_eq!(
                audio["audio"].as_str().unwrap().len(),
                3200_usize.div_ceil(3) * 4
            );
            if clears {
                // It is no part of the next turn.
                socket.until("input_audio_buffer.clear").await;
            }
        }
        let status = call.status().await;
        assert_fault(&status, Code::DeadlineExceeded, "SESSION_IDLE");
        assert!(status.message().contains("400s"), "{status:?}");
        assert_eq!(began.elapsed().as_secs(), 400);
        assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
        assert!(socket.audio().iter().all(|byte| *byte == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_after_the_time_without_activity_that_its_caller_has_set() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let setup = pb::LiveSetup {
        idle_policy: policy(Kind::EndAfter(seconds(90))),
        ..by_hand(OMNI)
    };
    let (mut call, mut socket) = upstream.open(&gateway, setup).await;
    let began = Instant::now();
    sleep(Duration::from_secs(60)).await;
    call.send(Ask::Text("hello".to_owned())).await;
    socket.until("conversation.item.create").await;
    let status = call.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "SESSION_IDLE");
    assert_eq!(began.elapsed().as_secs(), 150);
    // No silence is sent.
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
    assert!(socket.audio().is_empty());
}

#[tokio::test(start_paused = true)]
async fn audio_in_which_nobody_speaks_is_no_activity_and_speech_and_responses_are() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let setup = pb::LiveSetup {
        idle_policy: policy(Kind::EndAfter(seconds(50))),
        ..setup(OMNI)
    };
    let (mut call, mut socket) = upstream.open(&gateway, setup).await;
    let began = Instant::now();
    socket.speech_started("item_1");
    // Speech may be longer than the limit.
    sleep(Duration::from_secs(80)).await;
    socket.speech_stopped("item_1");
    sleep(Duration::from_secs(30)).await;
    socket.response_created("r1");
    for _ in 0..3 {
        sleep(Duration::from_secs(30)).await;
        socket.speak("r1", &[1; 480]);
    }
    socket.response_done("r1", "completed");
    call.until(|event| completed(event).is_some()).await;
    assert_eq!(began.elapsed().as_secs(), 200);
    for _ in 0..4 {
        sleep(Duration::from_secs(10)).await;
        call.send(Ask::Audio(vec![0; 3200].into())).await;
        socket.until("input_audio_buffer.append").await;
    }
    let status = call.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "SESSION_IDLE");
    assert_eq!(began.elapsed().as_secs(), 250);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_dashscope_closes_as_idle_end_with_that_reason() {
    for continues in [false, true] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = before(&upstream).await;
        let setup = pb::LiveSetup {
            continue_after_limit: continues,
            ..setup(OMNI)
        };
        let (mut call, socket) = upstream.open(&gateway, setup).await;
        let reason = "Your session was closed because no response was generated for 300 seconds.";
        socket.close(1007, reason);
        let status = call.status().await;
        assert_fault(&status, Code::DeadlineExceeded, "SESSION_IDLE");
        assert!(!upstream.has_connection());
    }
}

#[tokio::test(start_paused = true)]
async fn a_requested_response_that_never_starts_ends_the_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    call.send(Ask::Text("hello".to_owned())).await;
    call.send(create()).await;
    socket.until("response.create").await;
    let began = Instant::now();
    let status = call.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "STREAM_STALLED");
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_detected_turn_that_is_not_answered_is_reported_and_the_session_goes_on() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.speech_started("item_1");
    socket.speech_stopped("item_1");
    let events = call
        .until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    let Some(Heard::SessionWarning(warning)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(warning.code, "RESPONSE_LOST");
    socket.speech_started("item_2");
    socket.speech_stopped("item_2");
    socket.answer("r2", "two");
    call.until(|event| completed(event).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_pauses_too_long_fails_with_the_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    call.send(create()).await;
    socket.until("response.create").await;
    socket.response_created("r1");
    socket.text("r1", "one");
    let events = call.until(|event| completed(event).is_some()).await;
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.status(), pb::ResponseStatus::Failed);
    let status = call.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "STREAM_STALLED");
}
