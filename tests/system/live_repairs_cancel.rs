//! Responses that are cancelled, by the caller or by its speech: each ends once, with the status
//! `cancelled`, and nothing of it follows.

use std::time::Duration;

use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::{self, response_delta};
use tokio::time::Instant;

use crate::live_repairs_dialects::{before, create};
use crate::support::live_call::{LiveCall, manual, name, order, setup};
use crate::support::realtime::{RealtimeUpstream, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const OMNI_35: &str = "qwen3.5-omni-plus-realtime";

/// Cancels the response that is running.
pub fn cancel() -> Ask {
    Ask::CancelResponse(pb::CancelResponse {})
}

/// The end of a response.
pub fn completed(event: &Heard) -> Option<&pb::ResponseCompleted> {
    match event {
        Heard::ResponseCompleted(end) => Some(end),
        _ => None,
    }
}

/// A session with manual turns.
pub fn by_hand(model: &str) -> pb::LiveSetup {
    pb::LiveSetup {
        turn_detection: manual(),
        ..setup(model)
    }
}

/// Whether it is a piece of a response.
fn is_delta(event: &Heard) -> bool {
    matches!(event, Heard::ResponseDelta(_))
}

/// A session in which a response has begun to speak, and its caller has heard something.
async fn speaking(
    upstream: &mut RealtimeUpstream,
    gateway: &Running,
    setup: pb::LiveSetup,
) -> (LiveCall, UpstreamSocket) {
    let (mut call, mut socket) = upstream.open(gateway, setup).await;
    call.send(Ask::Text("hello".to_owned())).await;
    call.send(create()).await;
    socket.until("response.create").await;
    socket.response_created("r1");
    socket.speak("r1", &[1; 480]);
    call.until(is_delta).await;
    (call, socket)
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_response_ends_with_its_done_event_and_its_usage() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = speaking(&mut upstream, &gateway, by_hand(OMNI)).await;
    call.send(cancel()).await;
    socket.until("response.cancel").await;
    socket.speak("r1", &[2; 480]);
    socket.item_done("r1");
    socket.response_done("r1", "cancelled");
    let events = call.until(|event| completed(event).is_some()).await;
    // The audio after the cancellation is withheld.
    assert_eq!(order(&events), ["response_completed"]);
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.status(), pb::ResponseStatus::Cancelled);
    assert_eq!(end.usage.as_ref().unwrap().output_tokens, Some(10));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_response_without_done_ends_soon_after_its_last_item() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = speaking(&mut upstream, &gateway, by_hand(OMNI_35)).await;
    let began = Instant::now();
    call.send(cancel()).await;
    socket.until("response.cancel").await;
    socket.item_done("r1");
    let events = call.until(|event| completed(event).is_some()).await;
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.status(), pb::ResponseStatus::Cancelled);
    assert_eq!(end.usage, None);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // The session goes on, and late audio of that response is not passed on.
    socket.speak("r1", &[3; 480]);
    call.send(create()).await;
    socket.until("response.create").await;
    socket.answer("r2", "two");
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(
        order(&events),
        ["response_started", "response_delta", "response_completed"]
    );
    assert_eq!(completed(events.last().unwrap()).unwrap().response_id, "r2");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_response_of_which_nothing_more_comes_ends_after_five_seconds() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = speaking(&mut upstream, &gateway, by_hand(OMNI_35)).await;
    let began = Instant::now();
    call.send(cancel()).await;
    socket.until("response.cancel").await;
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.status(), pb::ResponseStatus::Cancelled);
    // The usage of an end that comes later still counts.
    socket.response_done("r1", "cancelled");
    call.half_close();
    socket.finish().await;
    let rest = call.rest().await;
    let Some(Heard::SessionEnded(ended)) = rest.last() else {
        panic!("{rest:?}")
    };
    assert_eq!(ended.usage.as_ref().unwrap().total_tokens, Some(30));
    assert_eq!(ended.responses, 1);
}

#[tokio::test(start_paused = true)]
async fn unread_audio_of_a_cancelled_response_is_withdrawn() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = speaking(&mut upstream, &gateway, by_hand(OMNI)).await;
    // More than the windows of HTTP/2 hold, and less than the buffer of the session.
    let piece = vec![4; 24_000];
    for _ in 0..8 {
        socket.speak("r1", &piece);
    }
    call.send(cancel()).await;
    socket.until("response.cancel").await;
    socket.response_done("r1", "cancelled");
    let events = call.until(|event| completed(event).is_some()).await;
    let audio: usize = events
        .iter()
        .filter_map(|event| match event {
            Heard::ResponseDelta(delta) => match delta.part.as_ref()? {
                response_delta::Part::Audio(audio) => Some(audio.len()),
                _ => None,
            },
            _ => None,
        })
        .sum();
    assert!(audio < 8 * piece.len(), "{audio}");
    // Sequence numbers have no gap, although something was withdrawn.
    let last = call.sequence;
    call.half_close();
    socket.finish().await;
    let rest = call.rest().await;
    assert_eq!(call.sequence, last + i32::try_from(rest.len()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_second_cancellation_is_not_sent_and_one_without_a_response_is_refused() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = speaking(&mut upstream, &gateway, by_hand(OMNI)).await;
    call.send(cancel()).await;
    call.send(cancel()).await;
    socket.until("response.cancel").await;
    socket.response_done("r1", "cancelled");
    call.until(|event| completed(event).is_some()).await;
    call.send(cancel()).await;
    let Heard::SessionWarning(warning) = call.event().await else {
        panic!("no warning")
    };
    assert_eq!(warning.field, "cancel_response");
    // The setup, the text, the request and two cancellations were before it.
    assert_eq!(warning.refused_message, 6);
    call.half_close();
    socket.finish().await;
    let cancels = socket.seen.iter();
    let cancels = cancels.filter(|frame| frame["type"] == "response.cancel");
    assert_eq!(cancels.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_that_crosses_the_end_of_its_response_is_no_warning() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = speaking(&mut upstream, &gateway, by_hand(OMNI)).await;
    call.send(cancel()).await;
    let frame = socket.until("response.cancel").await;
    socket.response_done("r1", "completed");
    socket.refuse(&frame["event_id"], "response.cancel", "no active response");
    call.until(|event| completed(event).is_some()).await;
    call.half_close();
    socket.finish().await;
    assert_eq!(order(&call.rest().await), ["session_ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_cancelled_before_it_starts_has_no_output() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    call.send(Ask::Text("hello".to_owned())).await;
    call.send(create()).await;
    socket.until("response.create").await;
    call.send(cancel()).await;
    // Until it has started, there is nothing that DashScope could cancel.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!socket.has_frame());
    socket.response_created("r1");
    socket.speak("r1", &[1; 480]);
    socket.until("response.cancel").await;
    socket.response_done("r1", "cancelled");
    let events = call.until(|event| completed(event).is_some()).await;
    assert!(!events.iter().any(is_delta), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn speech_of_the_caller_ends_a_response_even_if_dashscope_does_not_report_its_end() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, socket) = speaking(&mut upstream, &gateway, setup(OMNI)).await;
    socket.speech_started("item_2");
    socket.speak("r1", &[2; 480]);
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(order(&events), ["speech_started", "response_completed"]);
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.status(), pb::ResponseStatus::Cancelled);
    socket.speech_stopped("item_2");
    socket.answer("r2", "two");
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(completed(events.last().unwrap()).unwrap().response_id, "r2");
    assert_eq!(name(&events[0]), "speech_stopped");
}

#[tokio::test(start_paused = true)]
async fn speech_does_not_end_a_response_where_the_caller_has_disabled_that() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let kind = pb::turn_detection::Kind::ServerVad(pb::VoiceActivity {
        interrupt_response: Some(false),
        ..pb::VoiceActivity::default()
    });
    let without = pb::LiveSetup {
        turn_detection: Some(pb::TurnDetection { kind: Some(kind) }),
        ..setup(OMNI)
    };
    let (mut call, socket) = speaking(&mut upstream, &gateway, without).await;
    socket.speech_started("item_2");
    socket.speak("r1", &[2; 480]);
    socket.response_done("r1", "completed");
    let events = call.until(|event| completed(event).is_some()).await;
    let expected = ["speech_started", "response_delta", "response_completed"];
    assert_eq!(order(&events), expected);
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.status(), pb::ResponseStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn with_smart_turns_only_speech_that_is_a_turn_ends_a_response() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let kind = pb::turn_detection::Kind::SmartTurn(pb::SmartTurn::default());
    let smart = pb::LiveSetup {
        turn_detection: Some(pb::TurnDetection { kind: Some(kind) }),
        ..setup("qwen-audio-3.1-realtime-plus")
    };
    let (mut call, socket) = speaking(&mut upstream, &gateway, smart).await;
    socket.speech_started("item_2");
    socket.send(serde_json::json!({
        "type": "input_audio_buffer.speech_stopped", "audio_end_ms": 300, "item_id": "item_2",
        "reason": "turn_invalid",
    }));
    socket.speak("r1", &[2; 480]);
    let events = call.until(is_delta).await;
    let expected = ["speech_started", "speech_stopped", "response_delta"];
    assert_eq!(order(&events), expected);
    socket.speech_started("item_3");
    socket.speech_stopped("item_3");
    socket.speak("r1", &[3; 480]);
    let events = call.until(|event| completed(event).is_some()).await;
    assert!(!events.iter().any(is_delta), "{events:?}");
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.status(), pb::ResponseStatus::Cancelled);
}
