//! What the official SDKs send in recorded sessions, replayed to the emulator, which must send the
//! types of events in the recorded order.
//!
//! The recordings are in `tests/captures/realtime.json`: the client's frames as they were sent, and
//! the types of the server's. Audio is a number of frames; the replay sends as much as is needed
//! for the turns that the server announced.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, SocketEnd, jpeg, silence, tone};

/// Events whose number depends on the words: they are neither awaited nor compared.
const UNCOUNTED: [&str; 7] = [
    "conversation.item.ambient_audio_transcription.delta",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.text",
    "response.audio.delta",
    "response.audio_transcript.delta",
    "response.function_call_arguments.delta",
    "response.text.delta",
];

/// The type of a recorded frame of the server.
fn server(frame: &Value) -> Option<&str> {
    frame.as_str()
}

fn is_counted(kind: &str) -> bool {
    !UNCOUNTED.contains(&kind)
}

/// How long the tone of each recorded frame of audio is, so that the turn that follows is found.
fn tone_ms(rest: &[Value]) -> usize {
    let kinds: Vec<&str> = rest.iter().filter_map(server).collect();
    let ends = |kind: &&str| kind.ends_with("speech_stopped") || kind.ends_with("committed");
    let Some(end) = kinds.iter().position(ends) else {
        return 0;
    };
    let is_ambient = kinds[..end].iter().any(|kind| kind.contains("ambient"));
    if is_ambient { 60 } else { 200 }
}

async fn send(socket: &mut LiveSocket, frame: &Value, rest: &[Value]) {
    if let Some(text) = frame["send"].as_str() {
        socket.send_text(text).await;
    } else if frame["image"].is_number() {
        let image = STANDARD.encode(jpeg(40, 30));
        let event = json!({"type": "input_image_buffer.append", "image": image});
        socket.send(event).await;
    } else {
        let frames = usize::try_from(frame["audio"].as_u64().unwrap()).unwrap();
        match tone_ms(rest) {
            0 => socket.speak(&silence(100)).await,
            ms => socket.speak(&tone(ms * frames)).await,
        }
    }
}

/// Replays a recording. Returns the types that the emulator sent, without the uncounted ones.
async fn replayed(case: &Value) -> Vec<String> {
    let rule = json!({"reply": {"socket": {"transcript": case["transcripts"]}}});
    let served = TestEmulator::scripted(&json!({"rules": [rule]}).to_string()).await;
    let mut socket = LiveSocket::session(served.address, case["model"].as_str().unwrap()).await;
    let frames = case["frames"].as_array().unwrap();
    let mut sent: Vec<String> = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let Some(kind) = server(frame) else {
            send(&mut socket, frame, &frames[at + 1..]).await;
            continue;
        };
        if kind.ends_with("speech_stopped") {
            socket.speak(&silence(1500)).await;
        }
        let is_kind = |frame: &&Value| server(frame) == Some(kind);
        let expected = match is_counted(kind) {
            true => frames[..=at].iter().filter(is_kind).count(),
            // It is part of a response that goes on.
            false if kind.starts_with("response.") => 1,
            false => 0,
        };
        let count = |sent: &[String]| sent.iter().filter(|sent| *sent == kind).count();
        while count(&sent) < expected {
            match socket.next().await {
                Ok(event) => sent.push(event["type"].as_str().unwrap_or_default().to_owned()),
                Err(end @ (SocketEnd::Closed(..) | SocketEnd::Lost)) => {
                    panic!("{}: {end:?} before {kind}, after {sent:?}", case["name"]);
                }
            }
        }
    }
    socket.close().await;
    served.stop().await;
    sent.retain(|kind| is_counted(kind));
    sent
}

#[tokio::test(start_paused = true)]
async fn recorded_sessions_have_the_same_order_of_events() {
    let captures = include_str!("../captures/realtime.json");
    let cases: Vec<Value> = serde_json::from_str(captures).unwrap();
    assert!(cases.len() > 20);
    for case in &cases {
        let recorded = case["frames"].as_array().unwrap().iter();
        let recorded: Vec<&str> = recorded
            .filter_map(server)
            .filter(|k| is_counted(k))
            .collect();
        assert_eq!(replayed(case).await, recorded, "{}", case["name"]);
    }
}
