//! The emulator's tasks: recognition and speech synthesis on the inference WebSocket.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, name, silence, tone};

async fn opened(served: &TestEmulator) -> LiveSocket {
    let path = "/api-ws/v1/inference";
    LiveSocket::open(served.address, path, "sk-test")
        .await
        .unwrap()
}

async fn command(socket: &mut LiveSocket, action: &str, id: &str, payload: Value) {
    let header = json!({"action": action, "task_id": id, "streaming": "duplex"});
    let text = json!({"header": header, "payload": payload}).to_string();
    socket.send_text(&text).await;
}

fn recognition(model: &str, parameters: Value) -> Value {
    json!({"task_group": "audio", "task": "asr", "function": "recognition", "model": model,
        "parameters": parameters, "input": {}})
}

fn synthesis(parameters: Value) -> Value {
    json!({"task_group": "audio", "task": "tts", "function": "SpeechSynthesizer",
        "model": "cosyvoice-v2", "parameters": parameters, "input": {}})
}

async fn send_audio(socket: &mut LiveSocket, samples: &[i16]) {
    for frame in samples.chunks(1600) {
        let bytes: Vec<u8> = frame.iter().flat_map(|s| s.to_le_bytes()).collect();
        socket.send_binary(&bytes).await;
    }
}

fn sentences(events: &[Value]) -> Vec<&Value> {
    let results = events
        .iter()
        .filter(|event| name(event) == "result-generated");
    results
        .map(|event| &event["payload"]["output"]["sentence"])
        .collect()
}

#[tokio::test(start_paused = true)]
async fn sentences_are_recognized_as_they_are_spoken() {
    let served = TestEmulator::plain().await;
    let mut socket = opened(&served).await;
    let parameters = json!({"format": "pcm", "sample_rate": 16_000, "language_hints": ["en"]});
    let run = recognition("fun-asr-realtime", parameters);
    command(&mut socket, "run-task", "t1", run).await;
    socket.until("task-started").await;
    let audio = [silence(500), tone(1200), silence(1000), tone(400)].concat();
    send_audio(&mut socket, &audio).await;
    let context = json!({"input": {"messages": []}});
    command(&mut socket, "continue-task", "t1", context).await;
    command(&mut socket, "finish-task", "t1", json!({"input": {}})).await;
    let finished = socket.until("task-finished").await;
    assert_eq!(finished["payload"], json!({"output": {}, "usage": null}));
    let sentences = sentences(&socket.events);
    assert_eq!(sentences[0]["sentence_begin"], true);
    assert_eq!(
        (&sentences[0]["begin_time"], &sentences[0]["text"]),
        (&json!(500), &json!(""))
    );
    let ended: Vec<_> = sentences
        .iter()
        .filter(|sentence| sentence["sentence_end"] == true)
        .collect();
    assert_eq!(ended.len(), 2);
    assert_eq!(
        (&ended[0]["begin_time"], &ended[0]["end_time"]),
        (&json!(500), &json!(1700))
    );
    assert_eq!(ended[0]["text"], "1.2 seconds of a tone at about 440 Hz.");
    assert_eq!(
        (&ended[1]["sentence_id"], &ended[1]["end_time"]),
        (&json!(2), &json!(3100))
    );
    let partial = sentences.iter().filter(|s| s["end_time"].is_null()).count();
    assert!(partial > 3, "{partial}");
    let last_word = ended[0]["words"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last_word["text"], &last_word["punctuation"]),
        (&json!("Hz"), &json!("."))
    );
    socket.close().await;
    served.stop().await;
}

/// The results of a task of a translating model on two sentences.
async fn translated(model: &str, parameters: Value) -> Vec<Value> {
    let served = TestEmulator::plain().await;
    let mut socket = opened(&served).await;
    command(
        &mut socket,
        "run-task",
        "t1",
        recognition(model, parameters),
    )
    .await;
    socket.until("task-started").await;
    let audio = [silence(500), tone(1200), silence(1000), tone(800)].concat();
    send_audio(&mut socket, &audio).await;
    command(&mut socket, "finish-task", "t1", json!({"input": {}})).await;
    let finished = socket.until("task-finished").await;
    assert_eq!(finished["payload"], json!({"output": {}, "usage": null}));
    let results = socket.events.iter();
    let results = results.filter(|event| name(event) == "result-generated");
    let results = results.map(|event| event["payload"].clone()).collect();
    socket.close().await;
    served.stop().await;
    results
}

#[tokio::test(start_paused = true)]
async fn speech_is_transcribed_and_translated_at_once() {
    let parameters = json!({"format": "pcm", "sample_rate": 16_000, "source_language": "zh",
        "transcription_enabled": true, "translation_enabled": true,
        "translation_target_languages": ["en"]});
    let results = translated("gummy-realtime-v1", parameters).await;
    let first = &results[0]["output"];
    assert_eq!(results[0]["usage"], Value::Null);
    for part in [&first["transcription"], &first["translations"][0]] {
        assert_eq!(
            (&part["sentence_id"], &part["begin_time"]),
            (&json!(0), &json!(500))
        );
        assert_eq!(
            (&part["end_time"], &part["sentence_end"]),
            (&json!(null), &json!(false))
        );
        assert!(part["current_time"].as_u64().unwrap() > 500);
        assert_eq!(part["words"][0]["fixed"], false);
    }
    let is_end = |result: &&Value| result["output"]["transcription"]["sentence_end"] == true;
    let ended: Vec<_> = results.iter().filter(is_end).collect();
    assert_eq!(ended.len(), 2);
    let (said, translation) = (
        &ended[0]["output"]["transcription"],
        &ended[0]["output"]["translations"][0],
    );
    assert_eq!(said["text"], "1.2 秒纯音，约 440 Hz。");
    assert_eq!(
        translation["text"],
        "1.2 seconds of a tone at about 440 Hz."
    );
    assert_eq!(translation["lang"], "en");
    assert_eq!(
        (&said["end_time"], &said["sentence_id"]),
        (&json!(1700), &json!(0))
    );
    assert_eq!(said["words"][0]["fixed"], true);
    assert_eq!(ended[1]["output"]["transcription"]["sentence_id"], 1);
    assert!(ended[0]["usage"]["duration"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_chat_model_takes_one_sentence_and_translates_only_if_asked() {
    let parameters = json!({"format": "pcm", "sample_rate": 16_000, "source_language": "en"});
    let results = translated("gummy-chat-v1", parameters).await;
    let last = &results.last().unwrap()["output"];
    assert_eq!(
        last["transcription"]["text"],
        "1.2 seconds of a tone at about 440 Hz."
    );
    assert_eq!(last.get("translations"), None);
    let is_first = |result: &Value| result["output"]["transcription"]["sentence_id"] == 0;
    assert!(results.iter().all(is_first));
    let parameters = json!({"format": "pcm", "sample_rate": 16_000, "source_language": "zh",
        "transcription_enabled": false, "translation_enabled": true,
        "translation_target_languages": ["en", "ja"]});
    let results = translated("gummy-realtime-v1", parameters).await;
    let output = &results[0]["output"];
    assert_eq!(output.get("transcription"), None);
    assert_eq!(output["translations"][1]["lang"], "ja");
}

#[tokio::test(start_paused = true)]
async fn text_is_spoken_sentence_by_sentence_and_a_socket_has_several_tasks() {
    let served = TestEmulator::plain().await;
    let mut socket = opened(&served).await;
    let run = synthesis(json!({"voice": "longxiaochun_v2", "format": "pcm",
        "sample_rate": 24_000}));
    for id in ["t1", "t2"] {
        socket.events.clear();
        socket.binary.clear();
        command(&mut socket, "run-task", id, run.clone()).await;
        for text in ["你好，", "世界。再"] {
            let input = json!({"input": {"text": text}});
            command(&mut socket, "continue-task", id, input).await;
        }
        command(
            &mut socket,
            "continue-task",
            id,
            json!({"input": {"flush": true}}),
        )
        .await;
        command(&mut socket, "finish-task", id, json!({"input": {}})).await;
        let finished = socket.until("task-finished").await;
        assert_eq!(finished["header"]["task_id"], id);
        assert_eq!(finished["payload"]["usage"]["characters"], 12);
        let kinds: Vec<_> = socket
            .events
            .iter()
            .filter_map(|event| event["payload"]["output"]["type"].as_str())
            .collect();
        let kinds_of_two = [
            "sentence-begin",
            "sentence-end",
            "sentence-begin",
            "sentence-end",
        ];
        assert_eq!(kinds, kinds_of_two);
        // 60 ms at 24 kHz for each of the seven characters.
        let bytes: usize = socket.binary.iter().map(Vec::len).sum();
        assert_eq!(bytes, 7 * 2880);
    }
    command(&mut socket, "run-task", "t3", run).await;
    let long = "很长的话".repeat(40);
    let input = json!({"input": {"text": long}});
    command(&mut socket, "continue-task", "t3", input).await;
    command(
        &mut socket,
        "continue-task",
        "t3",
        json!({"input": {"flush": true}}),
    )
    .await;
    while socket.next().await.unwrap().get("binary").is_none() {}
    let cancel = json!({"input": {"directive": "cancel"}});
    command(&mut socket, "finish-task", "t3", cancel).await;
    socket.until("task-finished").await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_fails_without_input_and_for_invalid_commands() {
    let served = TestEmulator::plain().await;
    let mut socket = opened(&served).await;
    let good = json!({"format": "pcm", "sample_rate": 16_000});
    for (payload, code) in [
        (recognition("unknown", good.clone()), "ModelNotFound"),
        (
            recognition("fun-asr-realtime", json!({})),
            "InvalidParameter",
        ),
        (synthesis(json!({"format": "midi"})), "InvalidParameter"),
        // What the emulator cannot encode is not sent in another format.
        (synthesis(json!({"format": "mp3"})), "InvalidParameter"),
        (synthesis(json!({"format": "opus"})), "InvalidParameter"),
        (
            recognition(
                "gummy-realtime-v1",
                json!({"format": "pcm", "sample_rate": 16_000,
                "translation_enabled": true}),
            ),
            "InvalidParameter",
        ),
    ] {
        command(&mut socket, "run-task", "t1", payload).await;
        let failed = socket.until("task-failed").await["header"].clone();
        assert_eq!(
            (&failed["error_code"], &failed["task_id"]),
            (&json!(code), &json!("t1"))
        );
    }
    command(&mut socket, "finish-task", "t9", json!({})).await;
    socket.until("task-failed").await;
    command(
        &mut socket,
        "run-task",
        "t2",
        recognition("paraformer-realtime-v2", good),
    )
    .await;
    socket.until("task-started").await;
    let began = Instant::now();
    let failed = socket.until("task-failed").await["header"].clone();
    assert_eq!(failed["error_code"], "CLIENT_ERROR");
    assert_eq!(failed["error_message"], "request timeout after 23 seconds.");
    assert_eq!(began.elapsed(), Duration::from_secs(23));
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_script_fails_a_task_and_sets_its_transcript() {
    let script = json!({"rules": [{"match": {"path": "/api-ws/v1/inference"}, "reply": {"socket": {
        "transcript": "hello", "actions": [{"after": {"sent": "result-generated", "count": 4},
            "error": {"code": "InternalError", "message": "out of memory"}}]}}}]});
    let served = TestEmulator::scripted(&script.to_string()).await;
    let mut socket = opened(&served).await;
    let parameters = json!({"format": "pcm", "sample_rate": 16_000});
    let run = recognition("fun-asr-realtime", parameters);
    command(&mut socket, "run-task", "t1", run).await;
    send_audio(&mut socket, &[tone(500), silence(1000), tone(500)].concat()).await;
    let failed = socket.until("task-failed").await["header"].clone();
    assert_eq!(
        (&failed["task_id"], &failed["error_code"]),
        (&json!("t1"), &json!("InternalError"))
    );
    let texts = sentences(&socket.events)
        .into_iter()
        .map(|s| s["text"].as_str());
    assert!(texts.into_iter().any(|text| text == Some("hello")));
    served.stop().await;
}
