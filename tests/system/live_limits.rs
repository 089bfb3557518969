//! The bounds of live sessions: audio in both directions, calls in flight, and memory.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::metrics::{Scrape, page};
use crate::support::live_call::{LiveCall, answer, resumption, setup, started};
use crate::support::realtime::{RealtimeUpstream, SocketEnd};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const SECOND: Duration = Duration::from_secs(1);

/// With an admin port.
fn admin(settings: &mut dashgate::config::Settings) {
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
}

/// The calls in flight, as the admin port lists them.
async fn calls(gateway: &Running) -> Vec<Value> {
    let page: Value = serde_json::from_str(&page(gateway, "/calls").await).unwrap();
    page["calls"].as_array().unwrap().clone()
}

/// The memory that is charged for all calls.
async fn charged(gateway: &Running) -> f64 {
    let scrape = Scrape::of(&page(gateway, "/metrics").await);
    let series = scrape.some("dashgate_memory_bytes");
    series.iter().map(|(_, bytes)| bytes).sum()
}

/// Sends this many pieces of a second of audio, as fast as they are taken.
async fn speak(call: &LiveCall, pieces: usize) {
    for number in 0..pieces {
        let piece = vec![u8::try_from(number % 251).unwrap(); 32_000];
        if !call.try_send(Ask::Audio(piece.into())).await {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_faster_than_dashscope_is_slowed_down_and_loses_nothing() {
    const PIECES: usize = 1500;
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), admin).await;
    let (call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.set_reading(false);
    let mut sending = Box::pin(speak(&call, PIECES));
    let slowed = tokio::time::timeout(10 * SECOND, &mut sending).await;
    slowed.expect_err("all of it was taken");
    // The queues of the session; the rest is in the buffers of the system and of HTTP/2.
    let bytes = charged(&gateway).await;
    assert!(bytes < 1_000_000.0, "{bytes}");
    socket.set_reading(true);
    let mut received = Vec::new();
    tokio::join!(sending, async {
        while received.len() < PIECES * 32_000 {
            socket.until("input_audio_buffer.append").await;
            received.extend(socket.audio());
            socket.seen.clear();
        }
    });
    for (number, piece) in received.chunks(32_000).enumerate() {
        assert!(piece.iter().all(|byte| usize::from(*byte) == number % 251));
    }
}

#[tokio::test(start_paused = true)]
async fn dashscope_that_stops_reading_ends_the_session_typed_and_in_time() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), admin).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    started(&mut call).await;
    call.event().await;
    socket.set_reading(false);
    let begun = Instant::now();
    let (_, bytes) = tokio::join!(speak(&call, 1500), async {
        sleep(10 * SECOND).await;
        charged(&gateway).await
    });
    assert!(bytes < 1_000_000.0, "{bytes}");
    let status = call.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "STREAM_STALLED");
    let seconds = begun.elapsed().as_secs();
    assert!((20..60).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_nothing_ends_with_slow_consumer() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), admin).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.response_created("resp_1");
    let begun = Instant::now();
    for _ in 0..2000 {
        socket.speak("resp_1", &[7; 9600]);
    }
    sleep(20 * SECOND).await;
    let bytes = charged(&gateway).await;
    // What was read is kept to be sent again, up to `live.journal_bytes`.
    assert!(bytes < 4_000_000.0, "{bytes}");
    socket.ended().await;
    let seconds = begun.elapsed().as_secs();
    assert!((30..=65).contains(&seconds), "{seconds}");
    assert!(calls(&gateway).await.is_empty());
    let status = call.status().await;
    assert_fault(&status, Code::ResourceExhausted, "SLOW_CONSUMER");
}

#[tokio::test(start_paused = true)]
async fn a_response_can_be_cancelled_while_its_caller_reads_nothing() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), admin).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.response_created("resp_1");
    const FRAMES: usize = 1500;
    for _ in 0..FRAMES {
        socket.speak("resp_1", &[7; 9600]);
    }
    sleep(5 * SECOND).await;
    call.send(Ask::CancelResponse(pb::CancelResponse {})).await;
    socket.until("response.cancel").await;
    socket.response_done("resp_1", "cancelled");
    sleep(SECOND).await;
    let events = call
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    let Some(Heard::ResponseCompleted(end)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(end.status(), pb::ResponseStatus::Cancelled);
    let (_, _, bytes) = answer(&events);
    assert!(
        bytes < FRAMES * 9600 / 2,
        "{bytes} bytes were not withdrawn"
    );
    socket.answer("resp_2", "next");
    let events = call
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    assert_eq!(answer(&events).0, "next");
}

#[tokio::test(start_paused = true)]
async fn sessions_count_among_the_calls_in_flight_until_they_end() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        admin(settings);
        settings.server.max_in_flight = 2;
        settings.server.caller_share_percent = 100;
        settings.models.max_in_flight = vec![("qwen3-omni*".to_owned(), 1)];
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    // The limit of the model, then that of the gateway.
    let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
    assert_fault(&status, Code::Unavailable, "OVERLOADED");
    let other = setup("qwen3.5-omni-flash-realtime");
    let (second, mut second_socket) = upstream.open(&gateway, other.clone()).await;
    let status = LiveCall::open(&gateway, other).await.err().unwrap();
    assert_fault(&status, Code::Unavailable, "OVERLOADED");
    call.half_close();
    socket.finish().await;
    call.rest().await;
    sleep(SECOND).await;
    let (_third, _socket) = upstream.open(&gateway, setup(OMNI)).await;
    // A lost stream holds its permits until the session ends.
    drop(second);
    sleep(10 * SECOND).await;
    let status = LiveCall::open(&gateway, setup("qwen3.5-omni-flash-realtime")).await;
    assert_fault(&status.err().unwrap(), Code::Unavailable, "OVERLOADED");
    assert_eq!(second_socket.ended().await, SocketEnd::Closed(1000));
    let (_fourth, _socket) = upstream
        .open(&gateway, setup("qwen3.5-omni-flash-realtime"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_list_of_calls_has_the_state_the_age_and_the_audio_of_a_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), admin).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    started(&mut call).await;
    speak(&call, 3).await;
    for _ in 0..3 {
        socket.until("input_audio_buffer.append").await;
    }
    socket.response_created("resp_1");
    socket.speak("resp_1", &[0; 48_000]);
    socket.response_done("resp_1", "completed");
    call.until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    sleep(10 * SECOND).await;
    let list = calls(&gateway).await;
    assert_eq!(list.len(), 1);
    let entry = &list[0];
    assert_eq!(entry["method"], "ConverseLive");
    assert_eq!(entry["model"], OMNI);
    assert_eq!(entry["state"], "live");
    assert_eq!(entry["attempts"], 1);
    assert_eq!(entry["input_audio_seconds"], 3.0);
    assert_eq!(entry["output_audio_seconds"], 1.0);
    assert!(entry["age_seconds"].as_f64().unwrap() >= 10.0);
    let metrics = page(&gateway, "/metrics").await;
    assert!(metrics.contains("dashgate_calls_in_flight{method=\"ConverseLive\"} 1"));
    drop(call);
    sleep(SECOND).await;
    assert_eq!(calls(&gateway).await[0]["state"], "away");
    sleep(31 * SECOND).await;
    assert!(calls(&gateway).await.is_empty());
    let metrics = page(&gateway, "/metrics").await;
    assert!(metrics.contains("dashgate_calls_in_flight{method=\"ConverseLive\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn a_session_for_which_there_is_no_memory_ends_typed_and_releases_it() {
    const LIMIT: usize = 16 << 20;
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        admin(settings);
        settings.memory.limit = LIMIT;
        settings.live.journal_bytes = 1 << 30;
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.response_created("resp_1");
    // Everything is read; what was read is kept.
    let status = loop {
        socket.speak("resp_1", &[7; 24_000]);
        match call.next().await {
            Ok(event) => assert!(event.is_some(), "the session ended with OK"),
            Err(status) => break status,
        }
    };
    assert_fault(&status, status.code(), "OVERLOADED");
    socket.ended().await;
    sleep(31 * SECOND).await;
    let bytes = charged(&gateway).await;
    assert!(bytes < 100_000.0, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn the_session_whose_memory_is_reclaimed_is_the_one_that_takes_most() {
    const LIMIT: usize = 16 << 20;
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        admin(settings);
        settings.memory.limit = LIMIT;
        settings.live.journal_bytes = 1 << 30;
    })
    .await;
    let (mut large, large_socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut large).await;
    large_socket.response_created("resp_1");
    for _ in 0..420 {
        large_socket.speak("resp_1", &[7; 24_000]);
    }
    for _ in 0..422 {
        large.event().await;
    }
    // Its stream is not there: the session itself is ended.
    drop(large);
    sleep(SECOND).await;
    let (mut small, small_socket) = upstream.open(&gateway, setup(OMNI)).await;
    small_socket.response_created("resp_1");
    for _ in 0..200 {
        small_socket.speak("resp_1", &[7; 24_000]);
    }
    small_socket.response_done("resp_1", "completed");
    small
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    sleep(SECOND).await;
    let status = match LiveCall::resume(&gateway, &first, 423).await {
        Ok(mut call) => call.status().await,
        Err(status) => status,
    };
    let reason = call_failure(&status).reason().as_str_name();
    assert!(
        ["OVERLOADED", "SESSION_NOT_FOUND"].contains(&reason),
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_configuration_is_charged_for_as_long_as_the_session_lasts() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), admin).await;
    let large = pb::LiveSetup {
        instructions: "x".repeat(1 << 20),
        ..setup(OMNI)
    };
    let (mut call, mut socket) = upstream.open(&gateway, large).await;
    sleep(SECOND).await;
    let bytes = charged(&gateway).await;
    assert!((2_000_000.0..4_000_000.0).contains(&bytes), "{bytes}");
    call.send(Ask::Update(pb::UpdateSession {
        instructions: Some("y".repeat(1 << 20)),
        ..pb::UpdateSession::default()
    }))
    .await;
    socket.until("session.update").await;
    socket.send(json!({"type": "session.updated", "session": {"id": "sess_1"}}));
    sleep(SECOND).await;
    let bytes = charged(&gateway).await;
    assert!(bytes >= 4_000_000.0, "{bytes}");
    call.half_close();
    socket.finish().await;
    call.rest().await;
    sleep(31 * SECOND).await;
    let bytes = charged(&gateway).await;
    assert!(bytes < 100_000.0, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_one_of_the_streams_of_its_caller() {
    let mut upstream = RealtimeUpstream::start().await;
    let folder = crate::callers::Folder::new();
    let (_, key) = folder.key("team-a", |entry| entry.limits.max_streams = Some(1));
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.callers.keys_file = Some(folder.keys());
    })
    .await;
    let bearer = format!("Bearer {key}");
    let mine: &[(&str, &str)] = &[("authorization", &bearer)];
    let client = || gateway.client.clone();
    let opening = LiveCall::open_with(&gateway, client(), setup(OMNI), mine);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    let first = started(&mut call).await;
    let second = LiveCall::open_with(&gateway, client(), setup(OMNI), mine).await;
    let status = second.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    // The stream that resumes a session belongs to it.
    drop(call);
    sleep(SECOND).await;
    let again = resumption(&first, 1);
    let resumed = LiveCall::open_with(&gateway, client(), again, mine).await;
    let mut resumed = resumed.unwrap();
    resumed.half_close();
    socket.configured().await;
    socket.finish().await;
    resumed.rest().await;
    sleep(SECOND).await;
    let opening = LiveCall::open_with(&gateway, client(), setup(OMNI), mine);
    let (third, _socket) = tokio::join!(opening, upstream.session());
    assert!(third.is_ok());
}
