//! The end of the caller's input: its last words are answered before the session ends. Changes of
//! the configuration that cannot work are refused with their field.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;

use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::{before, create};
use crate::support::live_call::{LiveCall, order, setup};
use crate::support::realtime::{RealtimeUpstream, SocketEnd, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const QWEN_AUDIO: &str = "qwen-audio-3.1-realtime-plus";

/// Audio of this many milliseconds at 16 kHz, whose bytes are not zero.
fn audio(millis: usize) -> Ask {
    Ask::Audio(vec![1; millis * 32].into())
}

fn update(change: impl FnOnce(&mut pb::UpdateSession)) -> Ask {
    let mut update = pb::UpdateSession::default();
    change(&mut update);
    Ask::Update(update)
}

/// An object of JSON.
fn fields(from: &Value) -> prost_types::Struct {
    let fields = from.as_object().unwrap().iter();
    prost_types::Struct {
        fields: fields
            .map(|(key, value)| (key.clone(), prost_types::Value { kind: kind(value) }))
            .collect(),
    }
}

fn kind(from: &Value) -> Option<prost_types::value::Kind> {
    use prost_types::value::Kind;
    match from {
        Value::String(text) => Some(Kind::StringValue(text.clone())),
        Value::Object(_) => Some(Kind::StructValue(fields(from))),
        _ => panic!("{from}"),
    }
}

/// The bytes of silence after the audio of the caller.
fn silence(socket: &UpstreamSocket) -> usize {
    let audio = socket.audio();
    audio.iter().rev().take_while(|byte| **byte == 0).count()
}

/// Takes frames until this much audio has come.
async fn heard(socket: &mut UpstreamSocket, bytes: usize) {
    while socket.audio().len() < bytes {
        socket.until("input_audio_buffer.append").await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_silence_that_ends_a_turn_is_added_and_the_last_words_are_answered() {
    let vad = |millis: i32| {
        let kind = pb::turn_detection::Kind::ServerVad(pb::VoiceActivity {
            silence_duration: Some(prost_types::Duration {
                seconds: i64::from(millis / 1000),
                nanos: millis % 1000 * 1_000_000,
            }),
            ..pb::VoiceActivity::default()
        });
        Some(pb::TurnDetection { kind: Some(kind) })
    };
    // The silence of the detection, and more than a second beyond it.
    for (detection, millis) in [(None, 2000), (vad(3000), 4200)] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = before(&upstream).await;
        let detected = pb::LiveSetup {
            turn_detection: detection,
            ..setup(OMNI)
        };
        let (mut call, mut socket) = upstream.open(&gateway, detected).await;
        call.send(audio(500)).await;
        call.half_close();
        heard(&mut socket, 500 * 32 + millis * 32).await;
        assert_eq!(silence(&socket), millis * 32);
        socket.speech_started("item_1");
        socket.speech_stopped("item_1");
        // DashScope may take longer than the speech was awaited.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!socket.has_frame());
        socket.response_created("r1");
        tokio::time::sleep(Duration::from_secs(5)).await;
        socket.speak("r1", &[1; 480]);
        socket.response_done("r1", "completed");
        assert_eq!(socket.finish().await, SocketEnd::Closed(1000));
        let rest = call.rest().await;
        let expected = [
            "session_started",
            "session_updated",
            "speech_started",
            "speech_stopped",
            "input_committed",
            "response_started",
            "response_delta",
            "response_completed",
            "session_ended",
        ];
        assert_eq!(order(&rest), expected);
        let Some(Heard::SessionEnded(ended)) = rest.last() else {
            panic!("{rest:?}")
        };
        // The silence is not the caller's.
        let input = ended.input_audio_duration.as_ref().unwrap();
        assert_eq!((input.seconds, input.nanos), (0, 500_000_000));
    }
}

#[tokio::test(start_paused = true)]
async fn without_unanswered_audio_no_silence_is_added() {
    for manual in [false, true] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = before(&upstream).await;
        let setup = if manual { by_hand(OMNI) } else { setup(OMNI) };
        let (mut call, mut socket) = upstream.open(&gateway, setup).await;
        if manual {
            call.send(audio(500)).await;
        }
        call.send(Ask::Finish(pb::Finish {})).await;
        assert_eq!(socket.finish().await, SocketEnd::Closed(1000));
        assert_eq!(silence(&socket), 0);
        call.rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn audio_in_which_no_speech_is_noticed_ends_the_session_after_two_seconds() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    call.send(audio(500)).await;
    let began = Instant::now();
    call.half_close();
    socket.finish().await;
    assert_eq!(began.elapsed().as_secs(), 2);
    call.rest().await;
}

/// How long a session lasts after its caller has finished, whose speech of two seconds is reported
/// to end at this position, and is answered at once if it is a turn.
async fn lasts_after_speech_until(millis: u64, is_turn: bool) -> Duration {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    call.send(audio(2000)).await;
    let began = Instant::now();
    call.half_close();
    heard(&mut socket, (2000 + 2000) * 32).await;
    socket.speech_started("item_1");
    let reason = if is_turn { "" } else { "turn_invalid" };
    socket.send(
        json!({"type": "input_audio_buffer.speech_stopped", "item_id": "item_1",
        "audio_end_ms": millis, "reason": reason}),
    );
    if is_turn {
        socket.response_created("r1");
        socket.speak("r1", &[1; 480]);
        socket.response_done("r1", "completed");
    }
    socket.finish().await;
    let lasted = began.elapsed();
    call.rest().await;
    lasted
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_all_of_its_audio_was_processed_and_answered() {
    let at_once = Duration::from_millis(500);
    for (millis, is_turn, waits) in [
        // With the silence that ended it, or without it.
        (2800, true, false),
        (1900, true, false),
        // Other speech may follow.
        (1100, true, true),
        (1900, false, true),
        (2000, false, false),
    ] {
        let lasted = lasts_after_speech_until(millis, is_turn).await;
        assert_eq!(lasted >= at_once, waits, "{millis} {is_turn}: {lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_was_requested_last_completes_before_the_session_ends() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    call.send(Ask::Text("hello".to_owned())).await;
    call.send(create()).await;
    call.half_close();
    socket.until("response.create").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    socket.answer("r1", "hi");
    assert_eq!(socket.finish().await, SocketEnd::Closed(1000));
    let rest = call.rest().await;
    assert_eq!(
        rest.iter()
            .filter(|event| completed(event).is_some())
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_cut_before_the_last_speech_is_answered_is_an_error() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    call.send(audio(500)).await;
    call.half_close();
    heard(&mut socket, 500 * 32 + 2000 * 32).await;
    socket.cut();
    let status = call.status().await;
    assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
}

#[tokio::test(start_paused = true)]
async fn recognition_ends_when_dashscope_has_processed_what_it_was_sent() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let model = "qwen3-asr-flash-realtime";
    let (mut call, mut socket) = upstream.open(&gateway, setup(model)).await;
    call.send(audio(500)).await;
    call.half_close();
    socket.until("session.finish").await;
    assert_eq!(silence(&socket), 0);
    tokio::time::sleep(Duration::from_secs(20)).await;
    socket.send(json!({
        "type": "conversation.item.input_audio_transcription.completed", "item_id": "item_1",
        "transcript": "hello",
    }));
    socket.send(json!({"type": "session.finished"}));
    let rest = call.rest().await;
    let expected = [
        "session_started",
        "session_updated",
        "input_transcript",
        "session_ended",
    ];
    assert_eq!(order(&rest), expected);
    // Without the confirmation the last words may be missing.
    let (mut call, mut socket) = upstream.open(&gateway, setup(model)).await;
    call.send(audio(500)).await;
    call.half_close();
    socket.until("session.finish").await;
    socket.cut();
    assert_fault(&call.status().await, Code::Internal, "STREAM_TRUNCATED");
}

/// The warning that refuses the next message, and that nothing of it was sent.
async fn refused(call: &mut LiveCall, socket: &UpstreamSocket, event: Ask) -> (String, i32) {
    call.send(event).await;
    let events = call
        .until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    assert!(!socket.has_frame());
    match events.into_iter().next_back() {
        Some(Heard::SessionWarning(warning)) => {
            assert_eq!(warning.reason().as_str_name(), "INVALID_REQUEST");
            (warning.field, warning.refused_message)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_cannot_work_is_refused_with_its_field_and_not_sent() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(QWEN_AUDIO)).await;
    let extra = |value| update(|update| update.extra_session = Some(fields(&value)));
    let turns = |kind| {
        update(|update| update.turn_detection = Some(pb::TurnDetection { kind: Some(kind) }))
    };
    let vad = pb::turn_detection::Kind::ServerVad(pb::VoiceActivity::default());
    let semantic = pb::turn_detection::Kind::SemanticVad(pb::VoiceActivity::default());
    let voiceprints = pb::turn_detection::Kind::SmartTurn(pb::SmartTurn {
        voiceprint_audio_uris: vec!["https://example.com/a.wav".to_owned()],
        version: 0,
    });
    let mut position = 1;
    for (event, field) in [
        (
            extra(json!({"voice": "Ethan"})),
            "update.extra_session.voice",
        ),
        (
            extra(json!({"input_audio_format": "pcm"})),
            "update.extra_session.input_audio_format",
        ),
        (
            extra(json!({"audio": {"output": {"format": {"type": "wav"}}}})),
            "update.extra_session.audio.output.format",
        ),
        (turns(semantic), "update.turn_detection.semantic_vad"),
        (
            turns(voiceprints),
            "update.turn_detection.smart_turn.voiceprint_audio_uris",
        ),
    ] {
        position += 1;
        let expected = (field.to_owned(), position);
        assert_eq!(refused(&mut call, &socket, event).await, expected);
    }
    // Before the first audio the detection can be changed, and not afterwards.
    call.send(turns(vad.clone())).await;
    let sent = socket.configured().await;
    assert_eq!(
        sent["session"],
        json!({"turn_detection": {"type": "server_vad"}})
    );
    call.send(audio(100)).await;
    socket.until("input_audio_buffer.append").await;
    let (field, _) = refused(&mut call, &socket, turns(vad)).await;
    assert_eq!(field, "update.turn_detection");
    // The session is not affected.
    call.send(update(|update| {
        update.instructions = Some("two".to_owned())
    }))
    .await;
    let sent = socket.configured().await;
    assert_eq!(sent["session"], json!({"instructions": "two"}));
}

#[tokio::test(start_paused = true)]
async fn an_update_that_was_refused_is_not_repeated_on_a_new_connection() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let continued = pb::LiveSetup {
        continue_after_limit: true,
        ..setup(QWEN_AUDIO)
    };
    let (mut call, socket) = upstream.open(&gateway, continued).await;
    let semantic = pb::turn_detection::Kind::SemanticVad(pb::VoiceActivity::default());
    let detection = pb::TurnDetection {
        kind: Some(semantic),
    };
    let event = update(|update| update.turn_detection = Some(detection));
    refused(&mut call, &socket, event).await;
    socket.cut();
    let mut second = upstream.session().await;
    let update = second.configured().await;
    assert_eq!(update["session"], json!({}));
}
