//! DashScope's time limit, and connections that are cut: announced, continued on a new connection
//! where the caller asked for it, and otherwise an error with the usage so far.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::{before, create};
use crate::support::live_call::{LiveCall, setup};
use crate::support::realtime::{RealtimeUpstream, SocketEnd, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

fn continued(setup: pb::LiveSetup) -> pb::LiveSetup {
    pb::LiveSetup {
        continue_after_limit: true,
        ..setup
    }
}

/// A turn in text, which is answered.
async fn exchange(call: &mut LiveCall, socket: &mut UpstreamSocket, id: &str) {
    call.send(Ask::Text(format!("question {id}"))).await;
    call.send(create()).await;
    socket.until("response.create").await;
    socket.answer(id, &format!("answer {id}"));
    call.until(|event| completed(event).is_some()).await;
}

/// The role and the text of the next message that is sent to DashScope.
async fn message(socket: &mut UpstreamSocket) -> (Value, Value) {
    let item = socket.until("conversation.item.create").await["item"].clone();
    (item["role"].clone(), item["content"][0]["text"].clone())
}

/// The next warning.
async fn warning(call: &mut LiveCall) -> pb::SessionWarning {
    let events = call
        .until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    match events.into_iter().next_back() {
        Some(Heard::SessionWarning(warning)) => warning,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_is_announced_a_minute_before_it_and_ends_the_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.live.upstream_limit = Duration::from_secs(600);
    let gateway = gateway_with(settings).await;
    let began = Instant::now();
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    let events = call
        .until(|event| matches!(event, Heard::SessionEnding(_)))
        .await;
    let Some(Heard::SessionEnding(ending)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(began.elapsed().as_secs(), 540);
    assert_eq!(ending.time_left.as_ref().unwrap().seconds, 60);
    assert_eq!(ending.reason().as_str_name(), "SESSION_EXPIRED");
    sleep(Duration::from_secs(60)).await;
    socket.close(
        1000,
        "Session exceeded the maximum duration of 120 minutes.",
    );
    let status = call.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "SESSION_EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn a_session_continues_after_the_limit_with_its_configuration_and_its_text() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.live.upstream_limit = Duration::from_secs(120);
    let gateway = gateway_with(settings).await;
    let began = Instant::now();
    let setup = pb::LiveSetup {
        instructions: "one".to_owned(),
        voice: "Ethan".to_owned(),
        ..continued(by_hand(OMNI))
    };
    let (mut call, mut socket) = upstream.open(&gateway, setup).await;
    exchange(&mut call, &mut socket, "r1").await;
    let two = Some("two".to_owned());
    call.send(Ask::Update(pb::UpdateSession {
        instructions: two,
        ..pb::UpdateSession::default()
    }))
    .await;
    socket.configured().await;
    let mut second = upstream.session().await;
    assert_eq!(began.elapsed().as_secs(), 90);
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
    let update = second.configured().await;
    let expected = json!({"instructions": "two", "voice": "Ethan", "turn_detection": null});
    assert_eq!(update["session"], expected);
    assert_eq!(
        message(&mut second).await,
        (json!("user"), json!("question r1"))
    );
    assert_eq!(
        message(&mut second).await,
        (json!("assistant"), json!("answer r1"))
    );
    assert_eq!(warning(&mut call).await.code, "SESSION_RECONNECTED");
    exchange(&mut call, &mut second, "r2").await;
    call.half_close();
    second.finish().await;
    let rest = call.rest().await;
    let Some(Heard::SessionEnded(ended)) = rest.last() else {
        panic!("{rest:?}")
    };
    assert_eq!(ended.responses, 2);
    assert_eq!(ended.usage.as_ref().unwrap().total_tokens, Some(60));
}

#[tokio::test(start_paused = true)]
async fn the_limit_waits_for_the_end_of_the_turn() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.live.upstream_limit = Duration::from_secs(120);
    let gateway = gateway_with(settings).await;
    let began = Instant::now();
    let (mut call, socket) = upstream.open(&gateway, continued(setup(OMNI))).await;
    sleep(Duration::from_secs(80)).await;
    socket.speech_started("item_1");
    sleep(Duration::from_secs(20)).await;
    socket.speech_stopped("item_1");
    socket.response_created("r1");
    assert!(!upstream.has_connection());
    sleep(Duration::from_secs(5)).await;
    socket.text("r1", "one");
    socket.response_done("r1", "completed");
    let mut second = upstream.session().await;
    assert!(began.elapsed().as_secs() <= 107, "{:?}", began.elapsed());
    second.configured().await;
    assert_eq!(warning(&mut call).await.code, "SESSION_RECONNECTED");
}

#[tokio::test(start_paused = true)]
async fn a_cut_between_responses_continues_on_a_new_connection() {
    for how in ["close", "cut", "reset", "error"] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = before(&upstream).await;
        let (mut call, mut socket) = upstream.open(&gateway, continued(by_hand(OMNI))).await;
        exchange(&mut call, &mut socket, "r1").await;
        match how {
            "close" => socket.close(1001, ""),
            "cut" => socket.cut(),
            "reset" => socket.reset(),
            _ => socket.send(json!({"type": "error", "error": {"type": "server_error",
                "code": "session_expired", "message": "Session expired."}})),
        }
        let mut second = upstream.session().await;
        second.configured().await;
        assert_eq!(message(&mut second).await.1, "question r1", "{how}");
        assert_eq!(warning(&mut call).await.code, "SESSION_RECONNECTED");
        exchange(&mut call, &mut second, "r2").await;
        call.half_close();
        second.finish().await;
        call.rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_was_awaited_at_a_cut_is_reported_as_lost() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, continued(by_hand(OMNI))).await;
    call.send(Ask::Text("hello".to_owned())).await;
    call.send(create()).await;
    socket.until("response.create").await;
    socket.cut();
    let mut second = upstream.session().await;
    assert_eq!(warning(&mut call).await.code, "SESSION_RECONNECTED");
    assert_eq!(warning(&mut call).await.code, "RESPONSE_LOST");
    second.configured().await;
    assert_eq!(message(&mut second).await.1, "hello");
    call.send(create()).await;
    second.until("response.create").await;
    second.answer("r1", "hi");
    call.until(|event| completed(event).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn speech_is_restored_before_its_answer_and_items_that_were_deleted_are_not() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, continued(setup(OMNI))).await;
    for (item, response) in [("item_1", "r1"), ("item_2", "r2")] {
        socket.speech_started(item);
        socket.speech_stopped(item);
        socket.answer(response, response);
        // A transcript may be later than the answer.
        socket.send(json!({
            "type": "conversation.item.input_audio_transcription.completed", "item_id": item,
            "content_index": 0, "transcript": item,
        }));
        call.until(|event| matches!(event, Heard::InputTranscript(_)))
            .await;
    }
    let item_id = "item_2".to_owned();
    call.send(Ask::DeleteItem(pb::DeleteItem { item_id })).await;
    socket.until("conversation.item.delete").await;
    socket.cut();
    let mut second = upstream.session().await;
    for text in ["item_1", "r1", "r2"] {
        assert_eq!(message(&mut second).await.1, text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_a_response_ends_it_and_the_session_with_the_usage_so_far() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, continued(by_hand(OMNI))).await;
    exchange(&mut call, &mut socket, "r1").await;
    call.send(create()).await;
    socket.until("response.create").await;
    socket.response_created("r2");
    socket.text("r2", "half");
    socket.cut();
    let events = call.until(|event| completed(event).is_some()).await;
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(
        (&*end.response_id, end.status()),
        ("r2", pb::ResponseStatus::Failed)
    );
    let status = call.status().await;
    assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
    let usage = call_failure(&status).usage.unwrap();
    assert_eq!(usage.total_tokens, Some(30));
    assert!(!upstream.has_connection());
}

#[tokio::test(start_paused = true)]
async fn without_continuation_a_cut_ends_the_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    for (code, reason) in [
        (1006, "STREAM_TRUNCATED"),
        (1011, "UPSTREAM_INTERNAL"),
        (1013, "UPSTREAM_OVERLOADED"),
    ] {
        let (mut call, socket) = upstream.open(&gateway, by_hand(OMNI)).await;
        match code {
            1006 => socket.cut(),
            code => socket.close(code, ""),
        }
        // Never UNAVAILABLE: the model may have run.
        assert_fault(&call.status().await, Code::Internal, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_cut_again_and_again_end_the_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, socket) = upstream.open(&gateway, continued(by_hand(OMNI))).await;
    socket.cut();
    for _ in 0..3 {
        let mut socket = upstream.session().await;
        socket.configured().await;
        socket.cut();
    }
    let status = call.status().await;
    assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
    assert!(!upstream.has_connection());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_dashscope_finishes_by_itself_is_no_success() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    socket.send(json!({"type": "session.finished"}));
    let status = call.status().await;
    assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
}
