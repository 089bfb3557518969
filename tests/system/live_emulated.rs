//! Live sessions against the emulator, which hears, answers and interrupts as DashScope does.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::response_delta::Part;
use serde_json::{Value, json};
use tonic::Code;

use crate::live_repairs_cancel::{by_hand, cancel, completed};
use crate::live_repairs_dialects::create;
use crate::live_sessions::before;
use crate::support::emulator::TestEmulator;
use crate::support::live::{jpeg, silence, tone};
use crate::support::live_call::{LiveCall, answer, order, setup};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const OMNI_35: &str = "qwen3.5-omni-plus-realtime";
const QWEN_AUDIO: &str = "qwen-audio-3.0-realtime-plus";

/// Sends audio in pieces of 100 ms at 16 kHz.
async fn speak(call: &LiveCall, samples: &[i16]) {
    for piece in samples.chunks(1600) {
        let bytes: Vec<u8> = piece.iter().flat_map(|s| s.to_le_bytes()).collect();
        call.send(Ask::Audio(bytes.into())).await;
    }
}

async fn scripted(socket: Value) -> TestEmulator {
    let rule = json!({"match": {"path": "/api-ws/*"}, "reply": {"socket": socket}});
    TestEmulator::scripted(&json!({"rules": [rule]}).to_string()).await
}

/// The end of a response, of which these are the last events.
fn end(events: &[Heard]) -> &pb::ResponseCompleted {
    completed(events.last().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn speech_is_transcribed_and_answered_and_its_end_needs_no_silence() {
    for model in [OMNI, OMNI_35, QWEN_AUDIO, "qwen3.8-omni-flash-realtime"] {
        let emulator = TestEmulator::plain().await;
        let gateway = before(&emulator).await;
        let mut call = LiveCall::open(&gateway, setup(model)).await.unwrap();
        speak(&call, &tone(1500)).await;
        // Without silence, the emulator's detection would wait for ever.
        call.half_close();
        let rest = call.rest().await;
        let names = order(&rest);
        for name in ["speech_started", "speech_stopped", "input_transcript"] {
            assert!(names.contains(&name), "{model}: {names:?}");
        }
        let (_, said, audio) = answer(&rest);
        assert!(said.starts_with("I heard "), "{model}: {said}");
        assert!(audio > 24_000, "{model}: {audio}");
        let Some(Heard::SessionEnded(ended)) = rest.last() else {
            panic!("{model}: {rest:?}")
        };
        assert_eq!(ended.responses, 1, "{model}");
        let duration = ended.input_audio_duration.as_ref().unwrap();
        assert_eq!((duration.seconds, duration.nanos), (1, 500_000_000));
    }
}

#[tokio::test(start_paused = true)]
async fn speech_interrupts_a_response_whose_late_audio_is_withheld() {
    let emulator = TestEmulator::plain().await;
    let gateway = before(&emulator).await;
    let mut call = LiveCall::open(&gateway, setup(OMNI)).await.unwrap();
    call.send(create()).await;
    let is_audio = |event: &Heard| match event {
        Heard::ResponseDelta(delta) => matches!(delta.part, Some(Part::Audio(_))),
        _ => false,
    };
    call.until(is_audio).await;
    speak(&call, &tone(200)).await;
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(end(&events).status(), pb::ResponseStatus::Cancelled);
    let first = end(&events).response_id.clone();
    let at = events
        .iter()
        .position(|event| matches!(event, Heard::SpeechStarted(_)));
    assert!(!events[at.unwrap()..].iter().any(is_audio));
    speak(&call, &silence(1000)).await;
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(end(&events).status(), pb::ResponseStatus::Completed);
    let mut deltas = events.iter().filter_map(|event| match event {
        Heard::ResponseDelta(delta) => Some(&delta.response_id),
        _ => None,
    });
    assert!(deltas.all(|id| *id != first));
}

#[tokio::test(start_paused = true)]
async fn cancelled_responses_end_whether_their_model_reports_it_or_not() {
    for done in [true, false] {
        let emulator = scripted(json!({"done_after_cancel": done})).await;
        let gateway = before(&emulator).await;
        let mut call = LiveCall::open(&gateway, by_hand(OMNI)).await.unwrap();
        for _ in 0..2 {
            call.send(create()).await;
            call.until(|event| matches!(event, Heard::ResponseDelta(_)))
                .await;
            call.send(cancel()).await;
            let events = call.until(|event| completed(event).is_some()).await;
            assert_eq!(end(&events).status(), pb::ResponseStatus::Cancelled);
            assert_eq!(end(&events).usage.is_some(), done);
        }
        call.half_close();
        assert_eq!(order(&call.rest().await), ["session_ended"]);
    }
}

#[tokio::test(start_paused = true)]
async fn tools_are_called_by_voice_and_their_results_are_spoken() {
    let emulator = scripted(json!({"transcript": "get_weather please"})).await;
    let gateway = before(&emulator).await;
    let function = pb::FunctionTool {
        name: "get_weather".to_owned(),
        ..pb::FunctionTool::default()
    };
    let with_tools = pb::LiveSetup {
        tools: vec![pb::Tool {
            kind: Some(pb::tool::Kind::Function(function)),
        }],
        ..setup(OMNI_35)
    };
    let mut call = LiveCall::open(&gateway, with_tools).await.unwrap();
    speak(&call, &[tone(500), silence(1000)].concat()).await;
    let events = call.until(|event| completed(event).is_some()).await;
    let calls: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Heard::ResponseDelta(delta) => match delta.part.as_ref()? {
                Part::ToolCall(call) => Some(call),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(calls[0].name, "get_weather");
    call.send(Ask::ToolResult(pb::ToolResult {
        tool_call_id: calls[0].id.clone(),
        output: "18 degrees".to_owned(),
    }))
    .await;
    call.send(create()).await;
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(answer(&events).1, "The tool returned: 18 degrees");
}

#[tokio::test(start_paused = true)]
async fn images_are_seen_with_the_audio_of_their_turn() {
    let emulator = TestEmulator::plain().await;
    let gateway = before(&emulator).await;
    let mut call = LiveCall::open(&gateway, by_hand(OMNI)).await.unwrap();
    speak(&call, &tone(500)).await;
    call.send(Ask::Image(jpeg(40, 30).into())).await;
    call.send(Ask::Commit(pb::CommitInput {})).await;
    call.send(create()).await;
    let events = call.until(|event| completed(event).is_some()).await;
    let said = answer(&events).1;
    assert!(said.contains("I saw 1 image: JPEG 40 x 30."), "{said}");
}

#[tokio::test(start_paused = true)]
async fn speech_that_is_no_turn_is_ambient_and_not_answered() {
    let emulator = TestEmulator::plain().await;
    let gateway = before(&emulator).await;
    let kind = pb::turn_detection::Kind::SmartTurn(pb::SmartTurn::default());
    let smart = pb::LiveSetup {
        turn_detection: Some(pb::TurnDetection { kind: Some(kind) }),
        ..setup(QWEN_AUDIO)
    };
    let mut call = LiveCall::open(&gateway, smart).await.unwrap();
    speak(&call, &[tone(200), silence(2000)].concat()).await;
    call.half_close();
    let rest = call.rest().await;
    let names = order(&rest);
    assert!(names.contains(&"ambient_transcript"), "{names:?}");
    assert!(!names.contains(&"response_started"), "{names:?}");
    let reason = rest.iter().find_map(|event| match event {
        Heard::SpeechStopped(stopped) => Some(&*stopped.reason),
        _ => None,
    });
    assert_eq!(reason, Some("turn_invalid"));
}

#[tokio::test(start_paused = true)]
async fn recognition_and_translation_process_the_last_words() {
    for model in [
        "qwen3-asr-flash-realtime",
        "qwen3-livetranslate-flash-realtime",
    ] {
        let emulator = TestEmulator::plain().await;
        let gateway = before(&emulator).await;
        let mut call = LiveCall::open(&gateway, setup(model)).await.unwrap();
        speak(&call, &tone(1500)).await;
        call.half_close();
        let rest = call.rest().await;
        let finals = rest.iter().filter(|event| match event {
            Heard::InputTranscript(transcript) => transcript.r#final,
            Heard::ResponseCompleted(_) => true,
            _ => false,
        });
        assert!(finals.count() > 0, "{model}: {:?}", order(&rest));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_emulator_ends_at_its_limit_continues_or_fails() {
    let emulator = scripted(json!({"lifetime_ms": 60_000})).await;
    let gateway = before(&emulator).await;
    for continues in [false, true] {
        let limited = pb::LiveSetup {
            continue_after_limit: continues,
            ..by_hand(OMNI)
        };
        let mut call = LiveCall::open(&gateway, limited).await.unwrap();
        call.send(Ask::Text("hello".to_owned())).await;
        call.send(create()).await;
        call.until(|event| completed(event).is_some()).await;
        if !continues {
            let status = call.status().await;
            assert_fault(&status, Code::DeadlineExceeded, "SESSION_EXPIRED");
            continue;
        }
        let events = call
            .until(|event| matches!(event, Heard::SessionWarning(_)))
            .await;
        let Some(Heard::SessionWarning(warning)) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!(warning.code, "SESSION_RECONNECTED");
        // The emulator has the text that was restored.
        let journal = emulator.journal().await;
        let rows = journal.last().unwrap()["socket"]
            .as_array()
            .unwrap()
            .clone();
        let created = |row: &&Value| row["type"] == "conversation.item.create";
        let restored = rows.iter().filter(created);
        let restored = restored.filter_map(|row| row["frame"]["item"]["role"].as_str());
        let restored: Vec<_> = restored.collect();
        assert_eq!(restored, ["user", "assistant"], "{rows:?}");
        call.send(Ask::Text("again".to_owned())).await;
        call.send(create()).await;
        let events = call.until(|event| completed(event).is_some()).await;
        assert!(!order(&events).contains(&"session_warning"), "{events:?}");
        assert!(answer(&events).1.contains("again"), "{events:?}");
        call.half_close();
        call.rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_emulator_ends_as_idle_is_kept_alive_by_silence() {
    let emulator = TestEmulator::plain().await;
    let gateway = before(&emulator).await;
    let mut call = LiveCall::open(&gateway, by_hand(OMNI)).await.unwrap();
    let status = call.status().await;
    assert_fault(&status, Code::DeadlineExceeded, "SESSION_IDLE");
    let span = prost_types::Duration {
        seconds: 1000,
        nanos: 0,
    };
    let kept = pb::LiveSetup {
        idle_policy: Some(pb::IdlePolicy {
            kind: Some(pb::idle_policy::Kind::KeepAlive(span)),
        }),
        ..by_hand(OMNI)
    };
    let mut call = LiveCall::open(&gateway, kept).await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    call.send(create()).await;
    call.until(|event| completed(event).is_some()).await;
}
