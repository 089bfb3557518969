//! Live sessions against the emulator: turns by voice and by hand, and how a session ends.

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;

use crate::support::emulator::TestEmulator;
use crate::support::live_call::{LiveCall, answer, manual, order, setup};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

/// A gateway in front of this emulator.
pub async fn before(emulator: &TestEmulator) -> Running {
    gateway_with(settings_at(format!("http://{}/api/v1", emulator.address))).await
}

#[tokio::test(start_paused = true)]
async fn a_text_turn_is_answered_and_the_session_ends_with_its_usage() {
    let emulator = TestEmulator::plain().await;
    let gateway = before(&emulator).await;
    let mut call = LiveCall::open(
        &gateway,
        pb::LiveSetup {
            modalities: vec!["text".to_owned()],
            turn_detection: manual(),
            ..setup(OMNI)
        },
    )
    .await
    .unwrap();
    let Heard::SessionStarted(started) = call.event().await else {
        panic!("not started")
    };
    assert_eq!(started.model, OMNI);
    assert!(!started.resume_token.is_empty());
    call.send(Ask::Text("hello".to_owned())).await;
    call.send(Ask::CreateResponse(pb::CreateResponse::default()))
        .await;
    let events = call
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    let (text, _, _) = answer(&events);
    assert!(!text.is_empty());
    call.half_close();
    let rest = call.rest().await;
    let Some(Heard::SessionEnded(ended)) = rest.last() else {
        panic!("{rest:?}")
    };
    assert_eq!(ended.responses, 1);
    assert!(ended.usage.as_ref().unwrap().output_tokens > Some(0));
    assert_eq!(order(&events)[..2], ["session_updated", "response_started"]);
}
