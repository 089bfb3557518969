//! The emulator's speech sessions: text that arrives in pieces, and its audio.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, SocketEnd};

const TTS: &str = "qwen3-tts-flash-realtime";

/// The events of a response, each once.
const RESPONSE: [&str; 8] = [
    "response.created",
    "response.output_item.added",
    "response.content_part.added",
    "response.audio.delta",
    "response.audio.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
];

async fn opened(served: &TestEmulator, session: Value) -> LiveSocket {
    let mut socket = LiveSocket::session(served.address, TTS).await;
    let update = json!({"type": "session.update", "session": session});
    socket.send(update).await;
    socket.until("session.updated").await;
    socket.events.clear();
    socket
}

async fn append(socket: &mut LiveSocket, text: &str) {
    let event = json!({"type": "input_text_buffer.append", "text": text});
    socket.send(event).await;
}

fn audio(events: &[Value]) -> Vec<u8> {
    let deltas = events.iter().filter_map(|event| event["delta"].as_str());
    deltas
        .flat_map(|delta| STANDARD.decode(delta).unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_server_speaks_each_sentence_as_it_is_complete() {
    let served = TestEmulator::plain().await;
    let session = json!({"voice": "Cherry", "mode": "server_commit", "response_format": "pcm",
        "sample_rate": 24_000});
    let mut socket = opened(&served, session).await;
    append(&mut socket, "你好，").await;
    append(&mut socket, "今天天气不错。再").await;
    let done = socket.until("response.done").await;
    assert_eq!(socket.kinds(), RESPONSE);
    assert_eq!(done["response"]["usage"], json!({"characters": 18}));
    assert_eq!(audio(&socket.events).len(), 10 * 2880);
    socket.events.clear();
    append(&mut socket, "见").await;
    socket.send(json!({"type": "session.finish"})).await;
    let done = socket.until("response.done").await;
    assert_eq!(done["response"]["usage"], json!({"characters": 4}));
    let update = json!({"type": "session.update", "session": {}});
    assert_eq!(socket.end().await, SocketEnd::Closed(1000, String::new()));
    assert_eq!(socket.events.last().unwrap()["type"], "session.finished");
    let mut late = opened(&served, json!({})).await;
    append(&mut late, "x").await;
    late.send(update).await;
    let error = late.until("error").await;
    let text = "Session update error: session already started or finished or failed.";
    assert_eq!(error["error"]["message"], text);
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_client_commits_what_is_spoken() {
    let served = TestEmulator::plain().await;
    let session = json!({"mode": "commit", "response_format": "wav", "sample_rate": 16_000});
    let mut socket = opened(&served, session).await;
    socket
        .send(json!({"type": "input_text_buffer.commit"}))
        .await;
    let error = socket.until("error").await;
    assert_eq!(error["error"]["type"], "invalid_request_error");
    append(&mut socket, "not spoken.").await;
    socket
        .send(json!({"type": "input_text_buffer.clear"}))
        .await;
    socket.until("input_text_buffer.cleared").await;
    append(&mut socket, "hello").await;
    socket
        .send(json!({"type": "input_text_buffer.commit"}))
        .await;
    socket.until("input_text_buffer.committed").await;
    socket.events.clear();
    let done = socket.until("response.done").await;
    assert_eq!(done["response"]["usage"], json!({"characters": 5}));
    let audio = audio(&socket.events);
    // The header, then 60 ms for each character.
    assert!(audio.starts_with(b"RIFF"));
    assert_eq!(audio.len(), 44 + 5 * 1920);
    socket.close().await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn invalid_speech_sessions_are_refused() {
    let served = TestEmulator::plain().await;
    for (session, message) in [
        (json!({"voice": ""}), "Invalid voice: it must not be empty."),
        (json!({"mode": "now"}), "Invalid mode: 'now'"),
        (
            json!({"response_format": "midi"}),
            "Invalid response_format: 'midi': the format is unknown.",
        ),
        (
            json!({"response_format": "opus"}),
            "Invalid response_format: 'opus': the emulator encodes pcm and wav only.",
        ),
        (
            json!({"sample_rate": 1}),
            "Invalid sample_rate: must be from 8000 to 48000.",
        ),
    ] {
        let mut socket = LiveSocket::session(served.address, TTS).await;
        let update = json!({"type": "session.update", "session": session});
        let id = socket.send(update).await;
        let error = socket.until("error").await["error"].clone();
        assert_eq!(
            (&error["message"], &error["event_id"]),
            (&json!(message), &json!(id))
        );
        socket.close().await;
    }
    served.stop().await;
}
