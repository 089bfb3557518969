//! What a live session keeps and passes on: the memory of changes and reports, the hosts that a
//! configuration names, and what becomes of words that DashScope has not finished with.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::live_service_client::LiveServiceClient;
use dashgate::grpc::pb::response_delta::Part;
use dashgate::grpc::pb::synthesize_live_request::Event as Say;
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use crate::live_repairs_cancel::by_hand;
use crate::live_repairs_dialects::before;
use crate::support::emulator::TestEmulator;
use crate::support::live_call::{LiveCall, answer, name, order, resumption, setup, started};
use crate::support::realtime::RealtimeUpstream;
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const QWEN_AUDIO: &str = "qwen-audio-3.1-realtime-plus";
const ASR: &str = "qwen3-asr-flash-realtime";
const TTS: &str = "qwen3-tts-flash-realtime";

fn instructions(text: String) -> Ask {
    Ask::Update(pb::UpdateSession {
        instructions: Some(text),
        ..pb::UpdateSession::default()
    })
}

fn voiceprint(uri: &str) -> Option<pb::TurnDetection> {
    let kind = pb::turn_detection::Kind::SmartTurn(pb::SmartTurn {
        voiceprint_audio_uris: vec!["https://example.com/a.wav".to_owned(), uri.to_owned()],
        ..pb::SmartTurn::default()
    });
    Some(pb::TurnDetection { kind: Some(kind) })
}

fn extra(text: &str) -> Option<prost_types::Struct> {
    let kind = prost_types::value::Kind::StringValue(text.to_owned());
    let value = prost_types::Value { kind: Some(kind) };
    Some(prost_types::Struct {
        fields: [("background".to_owned(), value)].into(),
    })
}

/// The names of the fields that a status refuses.
fn fields(status: &tonic::Status) -> Vec<String> {
    use tonic_types::StatusExt as _;
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations.iter().map(|one| one.field.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn private_hosts_are_refused_in_the_setup_of_a_session_and_in_its_changes() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    for (setup, field) in [
        (
            pb::LiveSetup {
                turn_detection: voiceprint("http://169.254.169.254/latest"),
                ..setup(QWEN_AUDIO)
            },
            "setup.turn_detection.smart_turn.voiceprint_audio_uris[1]",
        ),
        (
            pb::LiveSetup {
                extra_session: extra("https://localhost/a"),
                ..setup(OMNI)
            },
            "setup.extra_session",
        ),
    ] {
        let status = LiveCall::open(&gateway, setup).await.err().unwrap();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(fields(&status), [field]);
    }
    assert!(!upstream.has_connection());
    let (mut call, _socket) = upstream.open(&gateway, setup(OMNI)).await;
    call.send(Ask::Update(pb::UpdateSession {
        extra_session: extra("http://10.0.0.1/a"),
        ..pb::UpdateSession::default()
    }))
    .await;
    let status = call.status().await;
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&status), ["update.extra_session"]);
}

#[tokio::test(start_paused = true)]
async fn replaced_configuration_is_not_charged_to_memory() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.memory.limit = 64 << 20;
    let gateway = gateway_with(settings).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    // More than the limit, if each counted.
    for _ in 0..700 {
        call.send(instructions("i".repeat(100 << 10))).await;
        socket.until("session.update").await;
    }
    call.half_close();
    socket.finish().await;
    let rest = call.rest().await;
    assert!(matches!(rest.last(), Some(Heard::SessionEnded(_))));
}

#[tokio::test(start_paused = true)]
async fn the_objects_of_events_count_towards_the_events_that_are_kept() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.live.journal_bytes = 1 << 20;
    let gateway = gateway_with(settings).await;
    let (mut call, socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    let session = json!({"id": "sess_1", "instructions": "i".repeat(512 << 10)});
    let first = started(&mut call).await;
    for _ in 0..4 {
        socket.send(json!({"type": "session.updated", "session": session}));
        call.until(|event| matches!(event, Heard::SessionUpdated(_)))
            .await;
    }
    drop(call);
    let resume = resumption(&first, 1);
    let status = LiveCall::open(&gateway, resume).await.err().unwrap();
    assert_fault(&status, Code::OutOfRange, "RESUME_GAP");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_the_last_permit_of_the_gateway_can_be_resumed() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.server.max_in_flight = 1;
    let gateway = gateway_with(settings).await;
    let (mut call, _socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
    assert_fault(&status, Code::Unavailable, "OVERLOADED");
    drop(call);
    let mut resumed = LiveCall::open(&gateway, resumption(&first, 1))
        .await
        .unwrap();
    assert!(started(&mut resumed).await.resumed);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_dashscope_refused_is_not_repeated_on_a_new_connection() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let continued = pb::LiveSetup {
        continue_after_limit: true,
        instructions: "one".to_owned(),
        ..by_hand(OMNI)
    };
    let (mut call, mut socket) = upstream.open(&gateway, continued).await;
    call.send(instructions("two".to_owned())).await;
    socket.configured().await;
    call.send(instructions("three".to_owned())).await;
    let update = socket.until("session.update").await;
    socket.refuse(&update["event_id"], "session.instructions", "Refused.");
    call.until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    socket.cut();
    let mut second = upstream.session().await;
    assert_eq!(second.configured().await["session"]["instructions"], "two");
}

#[tokio::test(start_paused = true)]
async fn warnings_have_neither_credentials_nor_control_characters_of_dashscope() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.upstream.show_messages = true;
    let gateway = gateway_with(settings).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    let key = "sk-0123456789abcdef0123456789abcdef";
    socket.refuse(&json!(null), key, &format!("Bad\u{1b} {key} 键"));
    socket.send(json!({"type": format!("new.{key}\u{1b}")}));
    for _ in 0..2 {
        let events = call
            .until(|event| matches!(event, Heard::SessionWarning(_)))
            .await;
        let Some(Heard::SessionWarning(warning)) = events.last() else {
            panic!("{events:?}")
        };
        let texts = [&warning.code, &warning.message, &warning.field];
        for text in texts {
            assert!(!text.contains("sk-0") && !text.contains('\u{1b}'), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_dashscope_are_in_warnings_only_if_the_operator_allows_it() {
    for shows in [false, true] {
        let mut upstream = RealtimeUpstream::start().await;
        let mut settings = settings_at(upstream.base_url());
        settings.upstream.show_messages = shows;
        let gateway = gateway_with(settings).await;
        let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
        socket.refuse(
            &json!(null),
            "session.voice",
            "Account 17 has no such voice.",
        );
        let events = call
            .until(|event| matches!(event, Heard::SessionWarning(_)))
            .await;
        let Some(Heard::SessionWarning(warning)) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!(warning.code, "invalid_value");
        assert!(!warning.message.is_empty());
        assert_eq!(warning.message.contains("17"), shows, "{warning:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn recognition_finishes_in_the_middle_of_speech_without_a_delay() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(ASR)).await;
    call.send(Ask::Audio(vec![1; 3200].into())).await;
    socket.until("input_audio_buffer.append").await;
    socket.speech_started("i1");
    call.until(|event| matches!(event, Heard::SpeechStarted(_)))
        .await;
    let began = Instant::now();
    call.half_close();
    socket.until("session.finish").await;
    assert!(began.elapsed() < Duration::from_secs(1));
    // The last words come after the request to finish.
    socket.speech_stopped("i1");
    socket.send(json!({"type": "session.finished"}));
    let rest = call.rest().await;
    assert_eq!(
        order(&rest),
        ["speech_stopped", "input_committed", "session_ended"]
    );
}

#[tokio::test(start_paused = true)]
async fn speech_whose_end_is_not_reported_is_a_lost_response() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    // Ten seconds of audio at once, of which DashScope may hear the end in ten seconds.
    for _ in 0..10 {
        call.send(Ask::Audio(vec![1; 32_000].into())).await;
    }
    call.half_close();
    socket.until("input_audio_buffer.append").await;
    socket.speech_started("i1");
    let began = Instant::now();
    socket.finish().await;
    let waited = began.elapsed().as_secs();
    assert!((24..=26).contains(&waited), "{waited}");
    let rest = call.rest().await;
    let lost = rest.iter().any(
        |event| matches!(event, Heard::SessionWarning(warning) if warning.code == "RESPONSE_LOST"),
    );
    assert!(lost, "{:?}", order(&rest));
}

#[tokio::test(start_paused = true)]
async fn every_event_of_a_synthesis_has_a_kind_that_the_schema_defines() {
    let emulator = TestEmulator::plain().await;
    let url = format!("http://{}/api/v1", emulator.address);
    let gateway = gateway_with(settings_at(url)).await;
    let setup = pb::SynthesisSetup {
        model: TTS.to_owned(),
        voice: "Cherry".to_owned(),
        ..pb::SynthesisSetup::default()
    };
    let said = [Say::Setup(setup), Say::Text("Good morning.".to_owned())];
    let requests = said.map(|event| pb::SynthesizeLiveRequest { event: Some(event) });
    let origin = format!("http://{}", gateway.address).parse().unwrap();
    let mut client = LiveServiceClient::with_origin(gateway.client.clone(), origin);
    let call = client.synthesize_live(tokio_stream::iter(requests));
    let mut responses = call.await.unwrap().into_inner();
    let mut sequence = 0;
    while let Some(response) = responses.message().await.unwrap() {
        sequence += 1;
        assert_eq!(response.sequence, sequence);
        assert!(response.event.is_some(), "{sequence}");
    }
    assert!(sequence > 3);
}

#[tokio::test(start_paused = true)]
async fn what_dashscope_sends_at_once_is_divided_into_events_that_every_client_accepts() {
    const LONG: usize = 5_000_000;
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    // The client has the default limit of a message, 4 MiB.
    let (mut call, socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    socket.response_created("r1");
    socket.speak("r1", &vec![7; LONG]);
    let long = "x".repeat(LONG);
    let of = |kind: &str| json!({"type": kind, "response_id": "r1", "item_id": "i", "delta": long});
    socket.send(of("response.audio_transcript.delta"));
    socket.send(of("response.text.delta"));
    socket.send(
        json!({"type": "response.function_call_arguments.done", "response_id": "r1",
        "item_id": "call", "call_id": "c", "name": "f", "arguments": long}),
    );
    socket.send(json!({"type": "future.event", "content": long}));
    socket.send(json!({"type": "session.updated", "session": {"id": "sess_1", "a": long}}));
    let transcription = "conversation.item.input_audio_transcription.completed";
    socket.send(json!({"type": transcription, "item_id": "item_1", "transcript": long}));
    socket.send(json!({"type": transcription, "item_id": long, "transcript": "a"}));
    socket.send(
        json!({"type": "response.done", "response": {"id": "r1", "status": "completed",
        "usage": {"total_tokens": 3, "a": long}}}),
    );
    let events = call
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    let (text, transcript, audio) = answer(&events);
    assert_eq!((text.len(), transcript.len(), audio), (LONG, LONG, LONG));
    let arguments = events.iter().filter_map(|event| match event {
        Heard::ResponseDelta(delta) => match delta.part.as_ref()? {
            Part::ToolCall(call) => Some(call.arguments.len()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(arguments.sum::<usize>(), LONG);
    let names: Vec<_> = events.iter().map(name).collect();
    let count = |wanted: &str| names.iter().filter(|name| **name == wanted).count();
    assert_eq!(count("response_delta"), 20);
    assert_eq!(count("input_transcript"), 2);
    assert_eq!(count("session_warning"), 1);
}
