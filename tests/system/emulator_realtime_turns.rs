//! The emulator's conversations: turns, responses, cancellation, tools, transcription, translation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, silence, tone};

const OMNI: &str = "qwen3-omni-flash-realtime";
const OMNI_35: &str = "qwen3.5-omni-plus-realtime";
const QWEN_AUDIO: &str = "qwen-audio-3.0-realtime-plus";

/// The events of a spoken response.
const SPOKEN: [&str; 11] = [
    "response.created",
    "response.output_item.added",
    "conversation.item.created",
    "response.content_part.added",
    "response.audio_transcript.delta",
    "response.audio.delta",
    "response.audio.done",
    "response.audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
];

async fn updated(served: &TestEmulator, model: &str, session: Value) -> LiveSocket {
    let mut socket = LiveSocket::session(served.address, model).await;
    socket
        .send(json!({"type": "session.update", "session": session}))
        .await;
    socket.until("session.updated").await;
    socket.events.clear();
    socket
}

fn texts(events: &[Value], kind: &str, field: &str) -> Vec<String> {
    let found = events.iter().filter(|event| event["type"] == kind);
    found
        .map(|event| event[field].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The types of events, each once, in the order in which they came first.
fn order(events: &[Value]) -> Vec<&str> {
    let mut order = Vec::new();
    for event in events {
        let kind = event["type"].as_str().unwrap_or_default();
        if !order.contains(&kind) || kind == "conversation.item.created" {
            order.push(kind);
        }
    }
    order
}

async fn text_item(socket: &mut LiveSocket, text: &str) {
    let item = json!({"type": "message", "role": "user",
        "content": [{"type": "input_text", "text": text}]});
    socket
        .send(json!({"type": "conversation.item.create", "item": item}))
        .await;
    socket.until("conversation.item.created").await;
}

#[tokio::test(start_paused = true)]
async fn speech_is_a_turn_that_is_transcribed_and_answered() {
    let served = TestEmulator::plain().await;
    let mut socket = updated(&served, OMNI, json!({})).await;
    let audio = [silence(1000), tone(2300), silence(1500)].concat();
    socket.speak(&audio).await;
    let done = socket.until("response.done").await["response"].clone();
    let before = [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "conversation.item.input_audio_transcription.completed",
    ];
    let expected: Vec<&str> = before.into_iter().chain(SPOKEN).collect();
    assert_eq!(order(&socket.events), expected);
    let (started, stopped) = (&socket.events[0], &socket.events[1]);
    assert_eq!(started["audio_start_ms"], 700);
    assert_eq!(stopped["audio_end_ms"], 4100);
    assert_eq!(started["item_id"], stopped["item_id"]);
    let transcript = socket.events[4]["transcript"].as_str().unwrap();
    // With the 0.3 seconds before speech and the 0.8 seconds of silence after it.
    assert_eq!(transcript, "3.4 seconds of a tone at about 440 Hz.");
    let said = texts(&socket.events, "response.audio_transcript.delta", "delta").concat();
    assert_eq!(said, format!("I heard {transcript}"));
    assert_eq!(done["output"][0]["content"][0]["transcript"], said);
    assert_eq!(
        (&done["status"], &done["voice"]),
        (&json!("completed"), &json!("Cherry"))
    );
    let audio = texts(&socket.events, "response.audio.delta", "delta");
    let bytes: Vec<usize> = audio
        .iter()
        .map(|chunk| STANDARD.decode(chunk).unwrap().len())
        .collect();
    // 60 ms for each character at 24 kHz, in chunks of 100 ms.
    assert_eq!(bytes.iter().sum::<usize>(), said.chars().count() * 2880);
    assert!(bytes.iter().rev().skip(1).all(|bytes| *bytes == 4800));
    let usage = &done["usage"];
    assert_eq!(usage["input_tokens_details"]["audio_tokens"], 43);
    assert_eq!(usage["output_tokens_details"]["audio_tokens"], 35);
    let total = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], total);
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_manual_turn_with_images_is_answered_on_request() {
    let served = TestEmulator::plain().await;
    let mut socket = updated(&served, OMNI, json!({"turn_detection": null})).await;
    socket.speak(&tone(500)).await;
    let image = png();
    for _ in 0..2 {
        let image = STANDARD.encode(&image);
        socket
            .send(json!({"type": "input_image_buffer.append", "image": image}))
            .await;
    }
    socket
        .send(json!({"type": "input_audio_buffer.commit"}))
        .await;
    socket.send(json!({"type": "response.create"})).await;
    let done = socket.until("response.done").await["response"].clone();
    let kinds = order(&socket.events);
    assert_eq!(
        kinds[..2],
        ["input_audio_buffer.committed", "conversation.item.created"]
    );
    assert_eq!(kinds[2..], SPOKEN);
    let said = done["output"][0]["content"][0]["transcript"]
        .as_str()
        .unwrap();
    assert!(said.starts_with("I heard 0.5 seconds of a tone"), "{said}");
    assert!(
        said.contains("I saw 2 images: PNG 40 x 30, PNG 40 x 30."),
        "{said}"
    );
    assert_eq!(done["usage"]["input_tokens_details"]["image_tokens"], 4);
    let update = json!({"type": "session.update", "session": {"voice": "Ethan"}});
    socket.send(update).await;
    let error = socket.until("error").await;
    assert_eq!(error["error"]["code"], "cannot_update_voice");
    socket
        .send(json!({"type": "input_audio_buffer.clear"}))
        .await;
    socket.until("input_audio_buffer.cleared").await;
    served.stop().await;
}

/// The head of a PNG of 40 by 30 pixels, which is enough to be measured.
fn png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend(40_u32.to_be_bytes());
    png.extend(30_u32.to_be_bytes());
    png.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    png
}

#[tokio::test(start_paused = true)]
async fn text_is_answered_as_text() {
    let served = TestEmulator::plain().await;
    let session = json!({"modalities": ["text"], "turn_detection": null});
    let mut socket = updated(&served, OMNI, session).await;
    text_item(&mut socket, "hello").await;
    socket
        .send(json!({"type": "response.create", "response": {"instructions": null}}))
        .await;
    let done = socket.until("response.done").await;
    let expected = [
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.text.delta",
        "response.text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ];
    assert_eq!(order(&socket.events), expected);
    let content = &done["response"]["output"][0]["content"][0];
    assert_eq!(
        content,
        &json!({"type": "text", "text": "You said: \"hello\""})
    );
    let usage = &done["response"]["usage"]["output_tokens_details"];
    assert_eq!(usage["audio_tokens"], 0);
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_response_waits_for_the_end_of_the_first() {
    let served = TestEmulator::plain().await;
    let mut socket = updated(&served, OMNI, json!({"turn_detection": null})).await;
    socket.send(json!({"type": "response.create"})).await;
    socket.until("response.audio.delta").await;
    let id = socket.send(json!({"type": "response.create"})).await;
    let error = socket.until("error").await["error"].clone();
    let text = "Cannot create response while another response is in progress.";
    assert_eq!(
        (&error["message"], &error["event_id"]),
        (&json!(text), &json!(id))
    );
    assert_eq!(error["param"], "response.create");
    socket.until("response.done").await;
    let detection = json!({"type": "server_vad"});
    let update = json!({"type": "session.update", "session": {"turn_detection": detection}});
    socket.send(update).await;
    socket.speak(&tone(500)).await;
    socket.until("input_audio_buffer.speech_started").await;
    socket.send(json!({"type": "response.create"})).await;
    let error = socket.until("error").await["error"].clone();
    assert_eq!(
        error["message"],
        "Cannot create response while user is speaking."
    );
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_response_ends_as_its_model_ends_it() {
    let served = TestEmulator::plain().await;
    for (model, is_done) in [(OMNI, true), (QWEN_AUDIO, true), (OMNI_35, false)] {
        let mut socket = updated(&served, model, json!({"turn_detection": null})).await;
        socket.send(json!({"type": "response.create"})).await;
        socket.until("response.audio.delta").await;
        socket.send(json!({"type": "response.cancel"})).await;
        let item = socket.until("response.output_item.done").await;
        assert_eq!(item["item"]["status"], "incomplete");
        if is_done {
            let done = socket.next().await.unwrap();
            assert_eq!(done["response"]["status"], "cancelled");
            assert_eq!(
                done["response"]["status_details"]["reason"],
                "client_cancelled"
            );
        }
        socket.events.clear();
        text_item(&mut socket, "go on").await;
        socket.send(json!({"type": "response.create"})).await;
        socket.until("response.done").await;
        let kinds = order(&socket.events);
        assert_eq!(
            kinds[..2],
            ["conversation.item.created", "response.created"],
            "{model}"
        );
        socket.close().await;
    }
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn speech_interrupts_a_response_and_a_late_delta_follows() {
    let served = TestEmulator::plain().await;
    let mut socket = updated(&served, OMNI, json!({})).await;
    socket.send(json!({"type": "response.create"})).await;
    socket.until("response.audio.delta").await;
    socket.events.clear();
    socket.speak(&tone(200)).await;
    let done = socket.until("response.done").await["response"].clone();
    assert_eq!(done["status"], "cancelled");
    assert_eq!(done["status_details"]["reason"], "turn_detected");
    let late = socket.next().await.unwrap();
    assert_eq!(
        (&late["type"], &late["response_id"]),
        (&json!("response.audio.delta"), &done["id"])
    );
    socket.speak(&silence(1000)).await;
    socket.until("response.done").await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_response_is_not_interrupted_where_that_is_turned_off() {
    let served = TestEmulator::plain().await;
    let detection = json!({"type": "server_vad", "interrupt_response": false,
        "silence_duration_ms": 200});
    let mut socket = updated(&served, OMNI, json!({"turn_detection": detection})).await;
    socket.send(json!({"type": "response.create"})).await;
    let first = socket.until("response.created").await["response"]["id"].clone();
    socket.speak(&[tone(300), silence(400)].concat()).await;
    let done = socket.until("response.done").await["response"].clone();
    assert_eq!(
        (&done["status"], &done["id"]),
        (&json!("completed"), &first)
    );
    let second = socket.until("response.done").await["response"].clone();
    let said = second["output"][0]["content"][0]["transcript"]
        .as_str()
        .unwrap();
    assert!(said.starts_with("I heard "), "{said}");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tools_are_called_and_their_results_are_answered() {
    let script = json!({"rules": [{"reply": {"socket": {"transcript": "get_weather please"}}}]});
    let served = TestEmulator::scripted(&script.to_string()).await;
    let tools = json!([{"type": "function", "function": {"name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    let mut socket = updated(&served, OMNI_35, json!({"tools": tools})).await;
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
    let mut socket = updated(&served, "qwen3-asr-flash-realtime", session).await;
    socket
        .speak(&[tone(1200), silence(600), tone(700)].concat())
        .await;
    let completed = "conversation.item.input_audio_transcription.completed";
    let first = socket.until(completed).await;
    assert_eq!(
        first["transcript"],
        "1.6 seconds of a tone at about 440 Hz."
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
    socket.until(completed).await;
    socket.until("session.finished").await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_translation_is_sent_as_whole_texts() {
    let served = TestEmulator::plain().await;
    let model = "qwen3.5-livetranslate-flash-realtime";
    let session = json!({"translation": {"language": "ja"}});
    let mut socket = updated(&served, model, session).await;
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
    let mut socket = updated(&served, quiet, session).await;
    socket.speak(&[tone(500), silence(1000)].concat()).await;
    socket.until("response.done").await;
    let is_about_speech = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        kind.starts_with("input_audio_buffer")
    };
    assert!(!socket.events.iter().any(is_about_speech));
    served.stop().await;
}
