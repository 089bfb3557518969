//! The emulator's OpenAI-style endpoints: DashScope's compatible mode and self-hosted servers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::emulator::{Dialect, EmulatorConfig, Script};
use serde_json::{Value, json};

use crate::support::emulator::{End, TestEmulator, TestResponse, wav};

const COMPATIBLE: &str = "/compatible-mode/v1/chat/completions";
const OPENAI: &str = "/v1/chat/completions";
const JSON: (&str, &str) = ("content-type", "application/json");
const KEY: (&str, &str) = ("authorization", "Bearer sk-test");

async fn served(dialect: Dialect, script: &str) -> TestEmulator {
    TestEmulator::start(EmulatorConfig {
        dialect,
        script: Script::parse(script).unwrap(),
        ..EmulatorConfig::default()
    })
    .await
}

const NO_RULES: &str = "{\"rules\": []}";

async fn post(emulator: &TestEmulator, path: &str, body: &Value) -> TestResponse {
    let body = body.to_string();
    let headers = [JSON, KEY];
    emulator.call("POST", path, &headers, body.as_bytes()).await
}

/// The chunks of a stream that ends with `[DONE]`.
fn chunks(response: &TestResponse) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.end, End::Whole);
    let mime = response.header("content-type").unwrap();
    assert!(mime.starts_with("text/event-stream"), "{mime}");
    let text = response.text();
    let text = text.strip_suffix("data: [DONE]\n\n").expect("no [DONE]");
    let events = text.split_terminator("\n\n");
    let data = events.map(|event| event.strip_prefix("data: ").unwrap());
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// The texts at a place of all chunks, joined.
fn joined(chunks: &[Value], pointer: &str) -> String {
    let texts = chunks.iter().filter_map(|chunk| chunk.pointer(pointer));
    texts.filter_map(Value::as_str).collect()
}

fn tone() -> String {
    let samples: Vec<i16> = (0..16_000)
        .map(|n| if n % 40 < 20 { 9000 } else { -9000 })
        .collect();
    STANDARD.encode(wav(16_000, &samples))
}

fn question(model: &str, more: &Value) -> Value {
    let mut body = json!({"model": model,
        "messages": [{"role": "user", "content": "what is this?"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test(start_paused = true)]
async fn the_compatible_mode_streams_text_and_pcm() {
    let emulator = served(Dialect::Vllm, NO_RULES).await;
    let audio = json!({"type": "input_audio",
        "input_audio": {"data": format!("data:;base64,{}", tone()), "format": "wav"}});
    let body = json!({"model": "qwen3-omni-flash", "stream": true,
        "stream_options": {"include_usage": true}, "modalities": ["text", "audio"],
        "audio": {"voice": "Cherry", "format": "wav"},
        "messages": [{"role": "user", "content": [audio, {"type": "text", "text": "hi"}]}]});
    let response = post(&emulator, COMPATIBLE, &body).await;
    let chunks = chunks(&response);
    let text = joined(&chunks, "/choices/0/delta/content");
    assert!(
        text.contains("1.00 s") && text.contains("You said: \"hi\""),
        "{text}"
    );
    let mut pcm = Vec::new();
    for chunk in &chunks {
        if let Some(data) = chunk.pointer("/choices/0/delta/audio/data") {
            pcm.extend(STANDARD.decode(data.as_str().unwrap()).unwrap());
        }
    }
    assert!(
        pcm.len() > 9600 && !pcm.starts_with(b"RIFF"),
        "{}",
        pcm.len()
    );
    let (usage, finish) = (&chunks[chunks.len() - 1], &chunks[chunks.len() - 2]);
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["usage"], Value::Null);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["prompt_tokens_details"]["audio_tokens"], 25);
    let spoken = &usage["usage"]["completion_tokens_details"]["audio_tokens"];
    assert!(spoken.as_u64() > Some(0), "{usage}");
    let entry = emulator.ended().await;
    assert_eq!(
        (&entry["stream"], &entry["end"]),
        (&json!(true), &json!("completed"))
    );
}

#[tokio::test(start_paused = true)]
async fn omni_models_of_the_compatible_mode_only_stream() {
    let emulator = served(Dialect::Vllm, NO_RULES).await;
    let response = post(
        &emulator,
        COMPATIBLE,
        &question("qwen3-omni-flash", &json!({})),
    )
    .await;
    assert_eq!(response.status, 400);
    let body = response.json();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("'audio' output only support with stream=true"),
        "{message}"
    );
    assert_eq!(body["error"]["code"], "invalid_parameter_error");
    assert_eq!(body["request_id"].as_str(), response.header("x-request-id"));
    // Others answer at once, with the transcription's annotations.
    let audio = json!([{"type": "input_audio",
        "input_audio": {"data": format!("data:;base64,{}", tone())}}]);
    let body = question(
        "qwen3-asr-flash",
        &json!({"messages": [
        {"role": "user", "content": audio}]}),
    );
    let answer = post(&emulator, COMPATIBLE, &body).await.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["annotations"][0]["type"], "audio_info");
    assert_eq!(answer["usage"]["seconds"], 1);
}

#[tokio::test(start_paused = true)]
async fn keys_are_needed_where_the_dialect_needs_them() {
    let script = Script::parse(NO_RULES).unwrap();
    let emulator = TestEmulator::start(EmulatorConfig {
        script,
        api_key: Some("secret".into()),
        bad_keys: vec!["sk-worn".into()],
        ..EmulatorConfig::default()
    })
    .await;
    let body = question("Qwen/Qwen2-Audio-7B-Instruct", &json!({})).to_string();
    for (path, key, status) in [
        (OPENAI, "Bearer secret", 200),
        (OPENAI, "Bearer sk-test", 401),
        (COMPATIBLE, "Bearer sk-worn", 401),
        (COMPATIBLE, "Bearer secret", 401),
    ] {
        let headers = [JSON, ("authorization", key)];
        let response = emulator.call("POST", path, &headers, body.as_bytes()).await;
        assert_eq!(response.status, status, "{path} {key}");
        let error = &response.json()["error"];
        match (path, status) {
            (OPENAI, 401) => assert_eq!(error, "Unauthorized"),
            (_, 401) => assert_eq!(error["code"], "invalid_api_key"),
            _ => {}
        }
    }
    assert_eq!(emulator.call("GET", "/health", &[], b"").await.status, 200);
    let open = served(Dialect::Vllm, NO_RULES).await;
    let response = open.call("POST", OPENAI, &[JSON], body.as_bytes()).await;
    assert_eq!(response.status, 200);
}

#[tokio::test(start_paused = true)]
async fn self_hosted_servers_have_audio_in_their_own_places() {
    for (dialect, spoken) in [
        (Dialect::Vllm, None),
        (Dialect::Sglang, None),
        (Dialect::VllmOmni, Some("/choices/0/delta/content")),
        (Dialect::SglangOmni, Some("/choices/0/delta/audio/data")),
    ] {
        let emulator = served(dialect, NO_RULES).await;
        let more = json!({"modalities": ["text", "audio"], "stream": false,
            "audio": {"voice": "Chelsie", "format": "wav"}});
        let mut body = question("Qwen/Qwen2.5-Omni-7B", &more);
        let whole = post(&emulator, OPENAI, &body).await.json();
        let message = &whole["choices"][0]["message"];
        assert!(
            message["content"]
                .as_str()
                .unwrap()
                .contains("what is this?"),
            "{whole}"
        );
        let data = message["audio"]["data"].as_str();
        assert_eq!(
            data.is_some_and(|data| data.starts_with("UklGR")),
            spoken.is_some()
        );
        body["stream"] = json!(true);
        let chunks = chunks(&post(&emulator, OPENAI, &body).await);
        let is_audio = |chunk: &&Value| match dialect {
            Dialect::VllmOmni => chunk["modality"] == "audio",
            _ => chunk.pointer("/choices/0/delta/audio").is_some(),
        };
        let audio: Vec<&Value> = chunks.iter().filter(is_audio).collect();
        assert_eq!(audio.is_empty(), spoken.is_none(), "{dialect}");
        for chunk in audio {
            let data = chunk
                .pointer(spoken.unwrap())
                .and_then(Value::as_str)
                .unwrap();
            assert!(STANDARD.decode(data).unwrap().starts_with(b"RIFF"));
        }
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "stop", "{dialect}");
    }
}

#[tokio::test(start_paused = true)]
async fn media_are_analysed_whatever_their_dialect() {
    let data = format!("data:audio/wav;base64,{}", tone());
    let url = json!([{"type": "audio_url", "audio_url": {"url": data}},
        {"type": "text", "text": "hi"}]);
    let inline = json!([{"type": "input_audio", "input_audio": {"data": tone(), "format": "wav"}},
        {"type": "text", "text": "hi"}]);
    let mut answers = Vec::new();
    for (dialect, more) in [
        (
            Dialect::Vllm,
            json!({"messages": [{"role": "user", "content": url}]}),
        ),
        (
            Dialect::Sglang,
            json!({"messages": [{"role": "user", "content": url}]}),
        ),
        (
            Dialect::Vllm,
            json!({"messages": [{"role": "user", "content": inline}]}),
        ),
        (
            Dialect::SglangOmni,
            json!({"audios": [data], "messages": [{"role": "user", "content": "hi"}]}),
        ),
    ] {
        let emulator = served(dialect, NO_RULES).await;
        let body = question("Qwen/Qwen2-Audio-7B-Instruct", &more);
        let answer = post(&emulator, OPENAI, &body).await.json();
        let text = answer["choices"][0]["message"]["content"].clone();
        assert!(text.as_str().unwrap().contains("Audio: wave"), "{answer}");
        answers.push(text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn scripts_apply_to_every_dialect() {
    let script = json!({"rules": [
        {"match": {"text": "what is this", "count": 1, "stream": true},
         "reply": {"answer": {"chunks": ["one ", "two"], "reasoning": ["hm"],
             "usage": {"input_tokens": 5, "output_tokens": 2}}}},
        {"match": {"count": 1}, "reply": {"error": {"status": 429,
             "code": "Throttling.RateQuota", "message": "slow down"},
             "headers": {"Retry-After": "1"}}},
        {"match": {"count": 1}, "reply": {"answer": {"chunks": ["one", "two"]},
             "error": {"status": 500, "message": "gone", "after_chunks": 2}}},
        {"match": {"count": 1}, "reply": {"answer": "x",
             "wire": {"cut": {"how": "close", "after_frames": 1}}}},
        {"match": {"path": "/v1/models"}, "reply": {"error": {"status": 503}}},
        {"reply": {"raw": {"body": "as it is"}}},
    ]})
    .to_string();
    for (dialect, path) in [
        (Dialect::Vllm, COMPATIBLE),
        (Dialect::Vllm, OPENAI),
        (Dialect::VllmOmni, OPENAI),
        (Dialect::Sglang, OPENAI),
        (Dialect::OpenAi, OPENAI),
    ] {
        let emulator = served(dialect, &script).await;
        let more = json!({"stream": true, "stream_options": {"include_usage": true}});
        let body = question("any-model", &more);
        let chunks = chunks(&post(&emulator, path, &body).await);
        assert_eq!(
            joined(&chunks, "/choices/0/delta/content"),
            "one two",
            "{dialect}"
        );
        let usage = &chunks.last().unwrap()["usage"];
        assert_eq!(usage["prompt_tokens"], 5);
        assert_eq!(usage["total_tokens"], 7);
        let limited = post(&emulator, path, &body).await;
        assert_eq!(
            (limited.status, limited.header("retry-after")),
            (429, Some("1"))
        );
        assert!(limited.text().contains("slow down"));
        let failed = post(&emulator, path, &body).await;
        assert_eq!(failed.status, 200);
        let text = failed.text();
        let last = text
            .rsplit("data: ")
            .find(|event| !event.starts_with("[DONE]"));
        let last: Value = serde_json::from_str(last.unwrap()).unwrap();
        assert_eq!(last["error"]["message"], "gone", "{dialect} {path}");
        let cut = post(&emulator, path, &body).await;
        assert_eq!(cut.end, End::Closed);
        assert_eq!(post(&emulator, path, &body).await.text(), "as it is");
        let listed = emulator.call("GET", "/v1/models", &[KEY], b"").await;
        assert_eq!(listed.status, 503);
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_requests_are_refused_in_the_form_of_the_dialect() {
    for (dialect, path, status) in [
        (Dialect::Vllm, COMPATIBLE, 400),
        (Dialect::Vllm, OPENAI, 400),
        (Dialect::Sglang, OPENAI, 400),
        (Dialect::SglangOmni, OPENAI, 422),
        (Dialect::OpenAi, OPENAI, 400),
    ] {
        let emulator = served(dialect, NO_RULES).await;
        for more in [
            json!({"n": "2"}),
            json!({"stream": "yes"}),
            json!({"temperature": 9}),
            json!({"messages": []}),
            json!({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}),
        ] {
            let body = question("qwen3-vl-plus", &more);
            let response = post(&emulator, path, &body).await;
            assert_eq!(response.status, status, "{dialect} {path} {more}");
            assert_eq!(response.header("content-type"), Some("application/json"));
        }
        let response = post(&emulator, path, &question("nope", &json!({}))).await;
        if matches!(dialect, Dialect::Sglang | Dialect::SglangOmni) {
            // They have one model, and do not look at its name.
            assert_eq!(response.status, 200, "{dialect}");
            continue;
        }
        assert_eq!(response.status, 404, "{dialect}");
        let error = &response.json()["error"];
        let (code, kind) = match dialect {
            Dialect::Vllm if path == OPENAI => (json!(404), json!("NotFoundError")),
            _ => (json!("model_not_found"), json!("invalid_request_error")),
        };
        assert_eq!(
            (&error["code"], &error["type"]),
            (&code, &kind),
            "{dialect} {path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn vllm_needs_the_media_type_but_no_model() {
    let emulator = served(Dialect::Vllm, NO_RULES).await;
    let body = json!({"messages": [{"role": "user", "content": "hi"}]}).to_string();
    let plain = emulator.call("POST", OPENAI, &[], body.as_bytes()).await;
    assert_eq!(plain.status, 400);
    assert!(plain.text().contains("Only 'application/json' is allowed"));
    let mime = ("content-type", "application/json; charset=utf-8");
    let answer = emulator
        .call("POST", OPENAI, &[mime], body.as_bytes())
        .await;
    assert_eq!(answer.status, 200);
    let models = emulator.call("GET", "/v1/models", &[], b"").await.json();
    assert_eq!(answer.json()["model"], models["data"][0]["id"]);
}

#[tokio::test(start_paused = true)]
async fn models_health_and_unknown_paths_are_answered() {
    let emulator = served(Dialect::Vllm, NO_RULES).await;
    let models = emulator.call("GET", "/v1/models", &[], b"").await.json();
    assert_eq!(models["data"][0]["max_model_len"], 32_768);
    let name = models["data"][0]["id"].as_str().unwrap();
    for path in [name.to_owned(), name.replace('/', "%2F")] {
        let path = format!("/v1/models/{path}");
        assert_eq!(
            emulator.call("GET", &path, &[], b"").await.json()["id"],
            name
        );
    }
    let compatible = "/compatible-mode/v1/models";
    assert_eq!(emulator.call("GET", compatible, &[], b"").await.status, 401);
    let models = emulator.call("GET", compatible, &[KEY], b"").await.json();
    assert_eq!(models["object"], "list");
    let health = emulator.call("GET", "/health", &[], b"").await;
    assert_eq!((health.status, health.body.len()), (200, 0));
    let unknown = emulator
        .call("POST", "/v1/embeddings", &[JSON], b"{}")
        .await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json(), json!({"detail": "Not Found"}));
}
