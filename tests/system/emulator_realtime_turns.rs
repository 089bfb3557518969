//! The emulator's conversations: turns, responses, and how both are interrupted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, jpeg, order, silence, texts, tone, updated_session};

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
    let mut socket = updated_session(&served, OMNI, json!({})).await;
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
    // Without the 0.3 seconds before speech and the 0.8 seconds of silence after it.
    assert_eq!(transcript, "2.3 seconds of a tone at about 440 Hz.");
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
    let mut socket = updated_session(&served, OMNI, json!({"turn_detection": null})).await;
    socket.speak(&tone(500)).await;
    let image = jpeg(40, 30);
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
        said.contains("I saw 2 images: JPEG 40 x 30, JPEG 40 x 30."),
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

#[tokio::test(start_paused = true)]
async fn text_is_answered_as_text() {
    let served = TestEmulator::plain().await;
    let session = json!({"modalities": ["text"], "turn_detection": null});
    let mut socket = updated_session(&served, OMNI, session).await;
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
    let mut socket = updated_session(&served, OMNI, json!({"turn_detection": null})).await;
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
        let mut socket = updated_session(&served, model, json!({"turn_detection": null})).await;
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
    let mut socket = updated_session(&served, OMNI, json!({})).await;
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
    let mut socket = updated_session(&served, OMNI, json!({"turn_detection": detection})).await;
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
