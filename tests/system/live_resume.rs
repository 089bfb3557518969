//! Live sessions whose stream breaks: what was missed, once and in order, after every event.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::json;
use tokio::time::sleep;
use tonic::Code;

use crate::support::live_call::{LiveCall, name, resumption, setup, started};
use crate::support::realtime::{RealtimeUpstream, SocketEnd, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const SECOND: Duration = Duration::from_secs(1);

/// How a stream breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    /// It is reset.
    Stream,
    /// Its connection is closed.
    Connection,
}

/// What DashScope sends in a turn, and the events that become of it, the first ones included.
fn play(socket: &UpstreamSocket) -> Vec<&'static str> {
    socket.speech_started("item_1");
    socket.speech_stopped("item_1");
    socket.send(json!({
        "type": "conversation.item.input_audio_transcription.completed", "item_id": "item_1",
        "transcript": "hello",
    }));
    socket.response_created("resp_1");
    socket.transcript("resp_1", "one ");
    socket.speak("resp_1", &[1; 640]);
    socket.speak("resp_1", &[2; 640]);
    socket.transcript("resp_1", "two");
    socket.item_done("resp_1");
    socket.response_done("resp_1", "completed");
    vec![
        "session_started",
        "session_updated",
        "speech_started",
        "speech_stopped",
        "input_committed",
        "input_transcript",
        "response_started",
        "response_delta",
        "response_delta",
        "response_delta",
        "response_delta",
        "response_completed",
    ]
}

/// Reads this many events, with their numbers.
async fn read(call: &mut LiveCall, count: usize, heard: &mut Vec<(i32, Heard)>) {
    for _ in 0..count {
        let event = call.event().await;
        heard.push((call.sequence, event));
    }
}

/// Breaks a stream after so many events, resumes it, and checks that all events came once.
async fn cut(way: Break, after: usize, plays_later: bool, finishes: bool) {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let client = match way {
        Break::Stream => gateway.client.clone(),
        Break::Connection => connection(),
    };
    let opening = LiveCall::open_with(&gateway, client, setup(OMNI), &[]);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    socket.configured().await;
    let mut names = Vec::new();
    if !plays_later {
        names = play(&socket);
    }
    if finishes {
        names.push("session_ended");
        call.send(Ask::Finish(pb::Finish {})).await;
        assert_eq!(socket.finish().await, SocketEnd::Closed(1000));
    }
    let mut heard = Vec::new();
    read(&mut call, after, &mut heard).await;
    let Heard::SessionStarted(first) = heard[0].1.clone() else {
        panic!("{heard:?}");
    };
    drop(call);
    sleep(SECOND).await;
    if plays_later {
        names = play(&socket);
        sleep(SECOND).await;
    }
    let last = i32::try_from(after).unwrap();
    let mut call = LiveCall::resume(&gateway, &first, last).await.unwrap();
    let again = started(&mut call).await;
    assert_eq!((again.resumed, call.sequence), (true, last));
    assert_eq!(again.session_id, first.session_id);
    assert_eq!(again.resume_token, first.resume_token);
    read(&mut call, names.len() - after, &mut heard).await;
    let numbers: Vec<i32> = heard.iter().map(|(number, _)| *number).collect();
    let expected: Vec<i32> = (1..).take(names.len()).collect();
    assert_eq!(numbers, expected, "{way:?} after {after}");
    let order: Vec<_> = heard.iter().map(|(_, event)| name(event)).collect();
    assert_eq!(order, names, "{way:?} after {after}");
    if !finishes {
        call.send(Ask::Finish(pb::Finish {})).await;
        socket.finish().await;
        assert!(matches!(call.event().await, Heard::SessionEnded(_)));
    }
    assert_eq!(call.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_after_any_event_is_resumed_without_gap_or_double() {
    for way in [Break::Stream, Break::Connection] {
        for after in 1..=12 {
            cut(way, after, false, false).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_come_while_the_caller_is_away_follow_when_it_resumes() {
    for way in [Break::Stream, Break::Connection] {
        for after in 1..=2 {
            cut(way, after, true, false).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_ended_gives_the_rest_within_the_window() {
    for way in [Break::Stream, Break::Connection] {
        for after in 1..=13 {
            cut(way, after, false, true).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_ended_is_forgotten_after_the_window() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    call.half_close();
    socket.finish().await;
    call.rest().await;
    for _ in 0..3 {
        sleep(9 * SECOND).await;
        let mut again = LiveCall::resume(&gateway, &first, 1).await.unwrap();
        assert_eq!(again.rest().await.len(), 3);
    }
    sleep(4 * SECOND).await;
    let status = LiveCall::resume(&gateway, &first, 1).await.err().unwrap();
    assert_fault(&status, Code::NotFound, "SESSION_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_resumption_without_any_event_reports_the_start_once() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, _socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    let mut again = LiveCall::resume(&gateway, &first, 0).await.unwrap();
    assert!(started(&mut again).await.resumed);
    assert_eq!(again.sequence, 1);
    assert!(matches!(again.event().await, Heard::SessionUpdated(_)));
}

#[tokio::test(start_paused = true)]
async fn events_beyond_the_bound_of_the_journal_are_a_typed_gap() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.live.journal_bytes = 64 * 1024;
    })
    .await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    socket.response_created("resp_1");
    for _ in 0..40 {
        socket.speak("resp_1", &[0; 4000]);
    }
    for _ in 0..42 {
        call.event().await;
    }
    assert_eq!(call.sequence, 43);
    drop(call);
    sleep(SECOND).await;
    for last in [0, 1, 20, 44, i32::MAX] {
        let resumed = LiveCall::resume(&gateway, &first, last).await;
        let status = resumed.err().unwrap();
        assert_fault(&status, Code::OutOfRange, "RESUME_GAP");
        let expected = "the events after 28 up to 43 are kept";
        assert!(status.message().contains(expected), "{status:?}");
    }
    let mut call = LiveCall::resume(&gateway, &first, 28).await.unwrap();
    started(&mut call).await;
    for number in 29..=43 {
        call.event().await;
        assert_eq!(call.sequence, number);
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledged_events_are_not_kept() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    let count = play(&socket).len() - 1;
    for _ in 0..count {
        call.event().await;
    }
    // Numbers that were not sent have no effect beyond those that were.
    for sequence in [i32::MIN, 3, 5] {
        call.send(Ask::Acknowledge(pb::Acknowledge { sequence }))
            .await;
    }
    sleep(SECOND).await;
    let status = LiveCall::resume(&gateway, &first, 4).await.err().unwrap();
    assert_fault(&status, Code::OutOfRange, "RESUME_GAP");
    call.send(Ask::Acknowledge(pb::Acknowledge { sequence: i32::MAX }))
        .await;
    sleep(SECOND).await;
    let status = LiveCall::resume(&gateway, &first, 11).await.err().unwrap();
    assert_fault(&status, Code::OutOfRange, "RESUME_GAP");
    assert!(LiveCall::resume(&gateway, &first, 12).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_a_wrong_token_and_another_caller_get_the_same_status() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let mine: &[(&str, &str)] = &[("authorization", "Bearer one")];
    let client = || gateway.client.clone();
    let opening = LiveCall::open_with(&gateway, client(), setup(OMNI), mine);
    let (call, _socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    let first = started(&mut call).await;
    let wrong = |change: &dyn Fn(&mut pb::SessionStarted)| {
        let mut changed = first.clone();
        change(&mut changed);
        resumption(&changed, 1)
    };
    let mut statuses = Vec::new();
    for (setup, metadata) in [
        (wrong(&|it| it.session_id = "live_x".to_owned()), mine),
        (wrong(&|it| it.resume_token = "x".to_owned()), mine),
        (wrong(&|it| it.resume_token.clear()), mine),
        (wrong(&|_| {}), &[("authorization", "Bearer two")]),
        (wrong(&|_| {}), &[]),
    ] {
        let resumed = LiveCall::open_with(&gateway, client(), setup, metadata).await;
        statuses.push(resumed.err().unwrap());
    }
    for status in &statuses {
        if status.code() != Code::InvalidArgument {
            assert_fault(status, Code::NotFound, "SESSION_NOT_FOUND");
            assert_eq!(status.message(), statuses[0].message());
        }
    }
    // The session was not disturbed, and is resumed by who may.
    let setup = resumption(&first, 1);
    let resumed = LiveCall::open_with(&gateway, client(), setup, mine).await;
    assert!(started(&mut resumed.unwrap()).await.resumed);
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_takes_over_and_the_first_one_ends_aborted() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    call.send(Ask::Audio(vec![1; 3200].into())).await;
    socket.until("input_audio_buffer.append").await;
    let mut second = LiveCall::resume(&gateway, &first, 1).await.unwrap();
    started(&mut second).await;
    let status = call.status().await;
    assert_fault(&status, Code::Aborted, "SESSION_TAKEN_OVER");
    second.send(Ask::Audio(vec![2; 3200].into())).await;
    socket.until("input_audio_buffer.append").await;
    socket.answer("resp_1", "hello");
    second
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    assert_eq!(socket.audio(), [[1; 3200], [2; 3200]].concat());
}
