//! The emulator's realtime sessions: the handshake, updates, refusals, items, and how they end.

use std::time::Duration;

use dashgate::emulator::EmulatorConfig;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, SocketEnd, silence, tone};

const OMNI: &str = "qwen3-omni-flash-realtime";
const OMNI_35: &str = "qwen3.5-omni-flash-realtime";
const OMNI_38: &str = "qwen3.8-omni-flash-realtime";
const QWEN_AUDIO: &str = "qwen-audio-3.0-realtime-plus";
const ASR: &str = "qwen3-asr-flash-realtime";

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGVzdGluZyB0aGUga2V5IQ=="),
];

fn normal() -> SocketEnd {
    SocketEnd::Closed(1000, String::new())
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_refused_like_a_call() {
    let served = TestEmulator::plain().await;
    for (path, key, status, code) in [
        (
            "/api-ws/v1/realtime?model=m",
            "sk-bad",
            401,
            "InvalidApiKey",
        ),
        ("/api-ws/v1/realtime", "sk-a", 400, "BadRequest.EmptyModel"),
        (
            "/api-ws/v1/realtime?x=1?model=m",
            "sk-a",
            400,
            "BadRequest.EmptyModel",
        ),
        ("/api-ws/v1/realtime?model=m", "sk-a", 404, "ModelNotFound"),
    ] {
        let bearer = format!("bearer {key}");
        let mut headers = UPGRADE.to_vec();
        headers.push(("authorization", &bearer));
        let refused = served.call("GET", path, &headers, b"").await;
        let code = json!(code);
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (status, &code),
            "{path}"
        );
    }
    let headers = [("authorization", "Bearer sk-a")];
    let path = "/api-ws/v1/realtime?model=qwen3-omni-flash-realtime";
    let plain = served.call("GET", path, &headers, b"").await;
    let code = json!("BadRequest");
    assert_eq!((plain.status, &plain.json()["code"]), (400, &code));
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_begins_with_the_defaults_of_its_model() {
    let served = TestEmulator::plain().await;
    for (model, voice, format) in [
        (OMNI, json!("Cherry"), json!("pcm24")),
        (OMNI_35, json!("Tina"), json!("pcm")),
        (QWEN_AUDIO, json!("longanqian"), json!("pcm")),
        (ASR, Value::Null, Value::Null),
        ("qwen3-tts-flash-realtime", json!("Cherry"), Value::Null),
    ] {
        let mut socket = LiveSocket::session(served.address, model).await;
        let session = socket.until("session.created").await["session"].clone();
        assert_eq!(session["model"], model);
        assert_eq!(
            (&session["voice"], &session["output_audio_format"]),
            (&voice, &format)
        );
        assert!(session["id"].as_str().unwrap().starts_with("sess_"));
        let update = json!({"voice": "Ethan", "instructions": "be brief", "x": 1});
        socket
            .send(json!({"type": "session.update", "session": update}))
            .await;
        let updated = socket.until("session.updated").await["session"].clone();
        assert_eq!(
            (&updated["instructions"], &updated["x"]),
            (&json!("be brief"), &json!(1))
        );
        assert_eq!(updated["id"], session["id"]);
        socket.close().await;
    }
    served.stop().await;
}

/// Events that are refused: the model, the event, the message.
fn refused_events() -> Vec<(&'static str, Value, &'static str)> {
    let update = |session: Value| json!({"type": "session.update", "session": session});
    let image = json!({"type": "input_image_buffer.append", "image": "/9j/"});
    vec![
        (
            OMNI,
            update(json!({"modalities": ["audio"]})),
            "Invalid modalities: ['audio']. Supported combinations are: ['text'] and \
             ['audio', 'text'].",
        ),
        (
            QWEN_AUDIO,
            update(json!({"turn_detection": {"type": "semantic_vad"}})),
            "Unsupported turn_detection.type: 'semantic_vad'",
        ),
        (
            OMNI,
            image.clone(),
            "Error append image before append audio.",
        ),
        (
            QWEN_AUDIO,
            image,
            "Invalid event type: input_image_buffer.append",
        ),
        (
            OMNI,
            json!({"type": "input_audio_buffer.commit"}),
            "Error committing input audio buffer: buffer is empty.",
        ),
        (
            OMNI,
            json!({"type": "response.cancel"}),
            "no active response",
        ),
        (OMNI, json!({"type": "sing"}), "Invalid event type: sing"),
        (
            ASR,
            json!({"type": "response.create"}),
            "Invalid event type: response.create",
        ),
        (
            OMNI_35,
            json!({"type": "session.finish"}),
            "Invalid event type: session.finish",
        ),
        (
            QWEN_AUDIO,
            json!({"type": "session.finish"}),
            "Invalid event type: session.finish",
        ),
        (
            OMNI,
            json!({"type": "conversation.item.retrieve", "item_id": "item_x"}),
            "Item with id 'item_x' does not exist.",
        ),
        (
            OMNI,
            json!({"type": "input_audio_buffer.append", "audio": "%"}),
            "Invalid audio: it must be base64.",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn invalid_events_are_refused_with_their_id_and_the_session_goes_on() {
    let served = TestEmulator::plain().await;
    for (model, event, message) in refused_events() {
        let mut socket = LiveSocket::session(served.address, model).await;
        let id = socket.send(event).await;
        let error = socket.until("error").await["error"].clone();
        assert_eq!(error["message"], message);
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["event_id"], id);
        let update = json!({"type": "session.update", "session": {}});
        socket.send(update).await;
        socket.until("session.updated").await;
        socket.close().await;
    }
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    socket.send_text("{oops").await;
    let error = socket.until("error").await;
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("Invalid event: ")
    );
    let id = socket
        .send(json!({"type": "session.update", "session": 1}))
        .await;
    assert_eq!(socket.until("error").await["error"]["event_id"], id);
    let large = json!({"instructions": "x".repeat(300_000)});
    let update = json!({"type": "session.update", "session": large});
    socket.send(update).await;
    let error = socket.until("error").await;
    assert_eq!(error["error"]["message"], "The session is too large.");
    socket.send_binary(b"{}").await;
    socket.until("error").await;
    socket.close().await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_ends_the_session() {
    let served = TestEmulator::plain().await;
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    socket.until("session.created").await;
    let _ = socket.try_send_text(&"x".repeat(5_000_000)).await;
    let end = socket.end().await;
    let too_big = SocketEnd::Closed(1009, "message too big".to_owned());
    // What was not read yet makes the connection end with a reset, which may come first.
    assert!(end == too_big || end == SocketEnd::Lost, "{end:?}");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn items_are_created_retrieved_and_deleted() {
    let served = TestEmulator::plain().await;
    for (model, keeps_id) in [(OMNI, false), (QWEN_AUDIO, true)] {
        let mut socket = LiveSocket::session(served.address, model).await;
        let item = json!({"id": "mine", "type": "message", "role": "user",
            "content": [{"type": "input_text", "text": "hi"}]});
        let event = json!({"type": "conversation.item.create", "previous_item_id": "item_abc",
            "item": item});
        socket.send(event).await;
        let created = socket.until("conversation.item.created").await;
        assert_eq!(created["previous_item_id"], "item_abc");
        let id = created["item"]["id"].clone();
        assert_eq!(id == "mine", keeps_id);
        let about = |kind: &str| json!({"type": kind, "item_id": id});
        socket.send(about("conversation.item.retrieve")).await;
        let found = socket.until("conversation.item.retrieved").await;
        assert_eq!(found["item"], created["item"]);
        socket.send(about("conversation.item.delete")).await;
        let deleted = socket.until("conversation.item.deleted").await;
        assert_eq!(deleted["item_id"], id);
        socket.send(about("conversation.item.delete")).await;
        socket.until("error").await;
        socket.close().await;
    }
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_finished_as_its_model_does_it() {
    let served = TestEmulator::plain().await;
    for (model, is_acknowledged) in [(OMNI, true), (ASR, true), (OMNI_38, false)] {
        let mut socket = LiveSocket::session(served.address, model).await;
        socket.send(json!({"type": "session.finish"})).await;
        assert_eq!(socket.end().await, normal());
        let last = socket.events.last().unwrap()["type"].clone();
        let expected = match is_acknowledged {
            true => "session.finished",
            false => "session.created",
        };
        assert_eq!(last, expected, "{model}");
    }
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_finished_session_leaves_it_to_the_client_to_close() {
    let served = TestEmulator::plain().await;
    for (model, wait) in [(OMNI, 2), (ASR, 2), (OMNI_38, 0)] {
        let mut socket = LiveSocket::session(served.address, model).await;
        socket.until("session.created").await;
        let began = Instant::now();
        socket.send(json!({"type": "session.finish"})).await;
        socket.speak(&tone(200)).await;
        socket.send(json!({"type": "response.create"})).await;
        assert_eq!(socket.end().await, normal());
        assert_eq!(began.elapsed().as_secs(), wait, "{model}");
        assert!(socket.events.len() <= 2, "{:?}", socket.events);
        // The client's own close comes first.
        let mut socket = LiveSocket::session(served.address, model).await;
        socket.send(json!({"type": "session.finish"})).await;
        if wait > 0 {
            socket.until("session.finished").await;
            let began = Instant::now();
            socket.close().await;
            assert_eq!(began.elapsed().as_secs(), 0, "{model}");
        }
    }
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_closed_and_pings_are_no_activity() {
    let served = TestEmulator::plain().await;
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    socket.until("session.created").await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(200)).await;
    socket.speak(&silence(100)).await;
    let end = socket.end().await;
    assert_eq!((began.elapsed().as_secs(), end), (500, normal()));
    let error = &socket.events.last().unwrap()["error"];
    let text = "Your session was closed because no response was generated for 300 seconds.";
    assert_eq!(
        (&error["type"], &error["message"]),
        (&json!("server_error"), &json!(text))
    );
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_closed_at_its_longest_duration() {
    let settings = EmulatorConfig {
        socket_lifetime: Duration::from_secs(120),
        ..EmulatorConfig::default()
    };
    for (settings, seconds) in [(settings, 120), (EmulatorConfig::default(), 7200)] {
        let served = TestEmulator::start(settings).await;
        let mut socket = LiveSocket::session(served.address, OMNI).await;
        let began = Instant::now();
        let end = loop {
            socket.speak(&silence(100)).await;
            let wait = Duration::from_secs(100);
            if let Ok(next) = tokio::time::timeout(wait, socket.end()).await {
                break next;
            }
        };
        assert_eq!((began.elapsed().as_secs(), end), (seconds, normal()));
        let error = &socket.events.last().unwrap()["error"];
        assert_eq!(error["code"], "session_expired");
        served.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_end_when_the_emulator_stops() {
    let served = TestEmulator::plain().await;
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    socket.until("session.created").await;
    let stopping = tokio::spawn(served.stop());
    let end = socket.end().await;
    assert!(matches!(end, SocketEnd::Closed(1001, _)), "{end:?}");
    stopping.await.unwrap();
}
