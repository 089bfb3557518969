//! The emulator's conversations where families of models differ: tools, smart turns, transcription,
//! translation.

use serde_json::{Value, json};

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, order, silence, texts, tone, updated_session};

const OMNI_35: &str = "qwen3.5-omni-plus-realtime";
const QWEN_AUDIO: &str = "qwen-audio-3.0-realtime-plus";

#[tokio::test(start_paused = true)]
async fn tools_are_called_and_their_results_are_answered() {
    let script = json!({"rules": [{"reply": {"socket": {"transcript": "get_weather please"}}}]});
    let served = TestEmulator::scripted(&script.to_string()).await;
    let tools = json!([{"type": "function", "function": {"name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    let mut socket = updated_session(&served, OMNI_35, json!({"tools": tools})).await;
    socket.speak(&[tone(500), silence(1000)].concat()).await;
    let done = socket.until("response.done").await["response"].clone();
    let call = &done["output"][0];
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("get_weather"))
    );
    let arguments = texts(
        &socket.events,
        "response.function_call_arguments.delta",
        "delta",
    );
    assert_eq!(arguments.concat(), call["arguments"].as_str().unwrap());
    let output = json!({"type": "function_call_output", "call_id": call["call_id"],
        "output": "18 degrees"});
    let item = json!({"type": "conversation.item.create", "item": output});
    socket.send(item).await;
    socket.send(json!({"type": "response.create"})).await;
    let done = socket.until("response.done").await["response"].clone();
    let said = &done["output"][0]["content"][0]["transcript"];
    assert_eq!(said, "The tool returned: 18 degrees");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn short_speech_is_no_turn_in_smart_turn() {
    let served = TestEmulator::plain().await;
    let session = json!({"turn_detection": {"type": "smart_turn",
        "voiceprint_audio_urls": ["https://example.com/speaker.wav"]}});
    let mut socket = LiveSocket::session(served.address, QWEN_AUDIO).await;
    let update = json!({"type": "session.update", "session": session});
    socket.send(update.clone()).await;
    socket.until("voiceprint_audio_list.completed").await;
    let kinds = [
        "session.created",
        "voiceprint_audio_list.in_progress",
        "session.updated",
        "voiceprint_audio_list.completed",
    ];
    assert_eq!(socket.kinds(), kinds);
    socket.send(update).await;
    socket.until("voiceprint_audio_list.failed").await;
    socket.events.clear();
    socket.speak(&[tone(200), silence(1000)].concat()).await;
    let ambient = "conversation.item.ambient_audio_transcription.completed";
    let heard = socket.until(ambient).await;
    assert!(heard["transcript"].as_str().unwrap().contains("440 Hz"));
    let stopped = &socket.events[socket.events.len() - 2];
    assert_eq!(stopped["reason"], "turn_invalid");
    socket.events.clear();
    socket.speak(&[tone(900), silence(1000)].concat()).await;
    socket.until("response.done").await;
    let partial = "conversation.item.input_audio_transcription.delta";
    let partial = socket
        .events
        .iter()
        .filter(|event| event["type"] == partial);
    let partial: Vec<_> = partial
        .map(|event| (&event["text"], &event["stash"]))
        .collect();
    assert_eq!(partial[0], (&json!(""), &json!("0.5 seconds")));
    assert_ne!(partial.last().unwrap().0, "");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_transcription_has_settled_and_tentative_text_and_no_response() {
    let served = TestEmulator::plain().await;
    let session = json!({"modalities": ["text"], "voice": null, "input_audio_format": "pcm",
        "input_audio_transcription": {"language": "en"}, "turn_detection":
        {"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400}});
    let mut socket = updated_session(&served, "qwen3-asr-flash-realtime", session).await;
    socket
        .speak(&[tone(1200), silence(600), tone(700)].concat())
        .await;
    let completed = "conversation.item.input_audio_transcription.completed";
    let first = socket.until(completed).await;
    assert_eq!(
        first["transcript"],
        "1.2 seconds of a tone at about 440 Hz."
    );
    assert_eq!(
        (&first["language"], &first["emotion"]),
        (&json!("en"), &json!("neutral"))
    );
    let expected = [
        "input_audio_buffer.speech_started",
        "conversation.item.input_audio_transcription.text",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        completed,
    ];
    assert_eq!(order(&socket.events), expected);
    let mut settled = String::new();
    for event in &socket.events {
        if let Some(text) = event["text"].as_str() {
            assert!(text.starts_with(&settled), "{event}");
            settled = text.to_owned();
        }
    }
    assert!(!settled.is_empty());
    // What is spoken when the session is finished is transcribed too.
    socket.send(json!({"type": "session.finish"})).await;
    let last = socket.until(completed).await;
    // All of it, though the turn before has taken a part of the padding.
    assert_eq!(last["transcript"], "0.7 seconds of a tone at about 440 Hz.");
    socket.until("session.finished").await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn compressed_audio_is_transcribed_when_the_session_is_finished() {
    let served = TestEmulator::plain().await;
    let session = json!({"input_audio_format": "opus",
        "input_audio_transcription": {"language": "en"}});
    let mut socket = updated_session(&served, "qwen3-asr-flash-realtime", session).await;
    socket.speak(&tone(200)).await;
    socket.send(json!({"type": "session.finish"})).await;
    let kind = "conversation.item.input_audio_transcription.completed";
    let heard = socket.until(kind).await;
    assert_eq!(heard["transcript"], "6400 bytes of compressed audio.");
    socket.until("session.finished").await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_translation_is_sent_as_complete_texts() {
    let served = TestEmulator::plain().await;
    let model = "qwen3.5-livetranslate-flash-realtime";
    let session = json!({"translation": {"language": "ja"}});
    let mut socket = updated_session(&served, model, session).await;
    socket.speak(&[tone(500), silence(1000)].concat()).await;
    let done = socket.until("response.done").await["response"].clone();
    let said = done["output"][0]["content"][0]["transcript"]
        .as_str()
        .unwrap();
    assert!(said.starts_with("[ja] "), "{said}");
    let snapshots = texts(&socket.events, "response.audio_transcript.text", "text");
    assert!(snapshots.len() > 1);
    assert!(snapshots.is_sorted_by_key(String::len));
    assert_eq!(snapshots.last().unwrap(), said);
    let quiet = "qwen3.8-livetranslate-flash-realtime";
    let session = json!({"audio": {"input": {"turn_detection": {"type": "speaker_detection"}}}});
    let mut socket = updated_session(&served, quiet, session).await;
    socket.speak(&[tone(500), silence(1000)].concat()).await;
    socket.until("response.done").await;
    let is_about_speech = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        kind.starts_with("input_audio_buffer")
    };
    assert!(!socket.events.iter().any(is_about_speech));
    served.stop().await;
}
