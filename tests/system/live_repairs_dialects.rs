//! The dialects of the realtime interface, as DashScope sees them: the form of the configuration,
//! how a response is requested, and how a session ends.

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::live_call::{LiveCall, manual, setup};
use crate::support::realtime::{RealtimeUpstream, SocketEnd};
use crate::support::*;

/// A gateway in front of this upstream.
pub async fn before(upstream: &RealtimeUpstream) -> Running {
    gateway_with(settings_at(upstream.base_url())).await
}

/// Requests a response.
pub fn create() -> Ask {
    Ask::CreateResponse(pb::CreateResponse::default())
}

/// A manual session with a voice and a rate of its own.
fn chosen(model: &str) -> pb::LiveSetup {
    pb::LiveSetup {
        voice: "Ethan".to_owned(),
        modalities: vec!["text".to_owned()],
        turn_detection: manual(),
        ..setup(model)
    }
}

/// How a session of a model ends.
enum Finish {
    /// With `session.finish`, which is answered.
    Acknowledged,
    /// With `session.finish`, and the close frame right after it.
    Unacknowledged,
    /// With the close frame.
    Close,
}

#[tokio::test(start_paused = true)]
async fn each_dialect_has_its_form_of_configuration_of_requests_and_of_the_end() {
    let flat = json!({"modalities": ["text"], "voice": "Ethan", "turn_detection": null});
    let nested = json!({
        "modalities": ["text"], "audio": {"output": {"voice": "Ethan"}}, "turn_detection": null,
    });
    let bare = json!({"type": "response.create"});
    let object = json!({"type": "response.create", "response": {}});
    for (model, session, request, finish) in [
        (
            "qwen3-omni-flash-realtime",
            &flat,
            &bare,
            Finish::Acknowledged,
        ),
        (
            "qwen3.5-omni-plus-realtime",
            &flat,
            &bare,
            Finish::Acknowledged,
        ),
        (
            "qwen-omni-turbo-realtime",
            &flat,
            &bare,
            Finish::Acknowledged,
        ),
        (
            "qwen3.8-omni-flash-realtime",
            &nested,
            &bare,
            Finish::Unacknowledged,
        ),
        (
            "qwen-audio-3.1-realtime-plus",
            &flat,
            &object,
            Finish::Close,
        ),
    ] {
        play(model, session, request, finish).await;
    }
}

/// Plays a session of a model, and checks the frames that are sent to DashScope.
async fn play(model: &str, session: &Value, request: &Value, finish: Finish) {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let opening = LiveCall::open(&gateway, chosen(model));
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    assert_eq!(
        socket.request.path,
        format!("/api-ws/v1/realtime?model={model}")
    );
    let update = socket.configured().await;
    assert_eq!(update["session"], *session, "{model}");
    call.send(Ask::Text("hello".to_owned())).await;
    call.send(create()).await;
    let mut created = socket.until("response.create").await;
    created.as_object_mut().unwrap().remove("event_id");
    assert_eq!(created, *request, "{model}");
    socket.answer("r1", "hi");
    call.until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    call.half_close();
    let end = match finish {
        Finish::Acknowledged => socket.finish().await,
        Finish::Unacknowledged => {
            socket.until("session.finish").await;
            socket.ended().await
        }
        Finish::Close => socket.ended().await,
    };
    assert_eq!(end, SocketEnd::Closed(1000), "{model}");
    let finishes = socket.kinds().contains(&"session.finish".to_owned());
    assert_eq!(finishes, !matches!(finish, Finish::Close), "{model}");
    let rest = call.rest().await;
    assert!(
        matches!(rest.last(), Some(Heard::SessionEnded(_))),
        "{rest:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_setting_overrides_the_dialect_of_a_model() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.upstream.dialects = vec![("qwen3-omni-*".to_owned(), "omni_v38".to_owned())];
    let gateway = gateway_with(settings).await;
    let opening = LiveCall::open(&gateway, chosen("qwen3-omni-flash-realtime"));
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    call.unwrap();
    let update = socket.configured().await;
    assert_eq!(update["session"]["audio"]["output"]["voice"], "Ethan");
}

#[tokio::test(start_paused = true)]
async fn translation_in_the_nested_form_detects_speakers() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let kind = pb::turn_detection::Kind::ServerVad(pb::VoiceActivity::default());
    let opening = LiveCall::open(
        &gateway,
        pb::LiveSetup {
            modalities: vec!["text".to_owned()],
            turn_detection: Some(pb::TurnDetection { kind: Some(kind) }),
            ..setup("qwen3.8-livetranslate-flash-realtime")
        },
    );
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    let expected = json!({
        "output_modalities": ["text"],
        "audio": {"input": {"turn_detection": {"type": "speaker_detection"}}},
    });
    assert_eq!(socket.configured().await["session"], expected);
    // Responses come by themselves.
    call.send(create()).await;
    let events = call
        .until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    let Some(Heard::SessionWarning(warning)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&*warning.field, warning.refused_message),
        ("create_response", 2)
    );
    call.half_close();
    assert_eq!(socket.finish().await, SocketEnd::Closed(1000));
    call.rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_model_does_not_support_is_refused_with_its_field_before_anything_is_sent() {
    let upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let smart = pb::turn_detection::Kind::SmartTurn(pb::SmartTurn::default());
    let semantic = pb::turn_detection::Kind::SemanticVad(pb::VoiceActivity::default());
    let by = |kind| Some(pb::TurnDetection { kind: Some(kind) });
    for (field, setup) in [
        (
            "setup.turn_detection.smart_turn",
            pb::LiveSetup {
                turn_detection: by(smart),
                ..setup("qwen3-omni-flash-realtime")
            },
        ),
        (
            "setup.turn_detection.semantic_vad",
            pb::LiveSetup {
                turn_detection: by(semantic),
                ..setup("qwen-audio-3.1-realtime-plus")
            },
        ),
        (
            "setup.input_transcription",
            pb::LiveSetup {
                input_transcription: Some(pb::InputTranscription {
                    disabled: true,
                    ..pb::InputTranscription::default()
                }),
                ..setup("qwen3.8-livetranslate-flash-realtime")
            },
        ),
        ("setup.model", setup("qwen3-tts-flash-realtime")),
    ] {
        let status = LiveCall::open(&gateway, setup).await.err().unwrap();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), [field]);
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_refuses_the_end_of_a_session_is_left_all_the_same() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream
        .open(&gateway, chosen("qwen3.5-omni-flash-realtime"))
        .await;
    call.half_close();
    let finish: Value = socket.until("session.finish").await;
    socket.refuse(&finish["event_id"], "type", "invalid event type");
    let rest = call.rest().await;
    assert!(
        matches!(rest.last(), Some(Heard::SessionEnded(_))),
        "{rest:?}"
    );
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
}
