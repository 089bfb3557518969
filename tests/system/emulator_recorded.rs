//! The emulator's answers to recorded requests, and those of models with a form of their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::emulator_generation::{SAMPLES, frames};
use crate::support::emulator::{TestEmulator, wav};

#[tokio::test(start_paused = true)]
async fn transcriptions_take_an_empty_context() {
    let served = TestEmulator::plain().await;
    let body = json!({"model": "qwen3-asr-flash", "input": {"messages": [
        {"role": "system", "content": [{"text": ""}]},
        {"role": "user", "content": [{"audio": format!("{SAMPLES}welcome.mp3")}]}]}});
    let answer = served.request(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = "/output/choices/0/message/content/0/text";
    let text = answer.json().pointer(text).cloned();
    assert!(text.is_some_and(|text| !text.as_str().unwrap().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn newer_audio_models_answer_as_fun_asr_does() {
    let served = TestEmulator::plain().await;
    let data = STANDARD.encode(wav(8000, &[900; 8000]));
    let body = json!({"model": "qwen-audio-3.1-asr-flash", "parameters": {"format": "wav"},
        "input": {"messages": [{"role": "user", "content": [{"type": "input_audio",
            "input_audio": {"data": format!("data:audio/wav;base64,{data}")}}]}]}});
    let answer = served.request(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.json()["output"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("1.00 s, 8000 Hz"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_file_of_streamed_speech_has_placeholder_sizes() {
    let served = TestEmulator::plain().await;
    let body = json!({"model": "qwen3-tts-flash", "input": {"text": "hi", "voice": "Cherry"}});
    let frames = frames(&served.request_stream(&body).await);
    let urls = frames.iter().map(|frame| &frame["output"]["audio"]["url"]);
    let url = urls.filter_map(Value::as_str).rfind(|url| !url.is_empty());
    let origin = format!("http://{}", served.address);
    let path = url.unwrap().strip_prefix(&origin).unwrap();
    let file = served.call("GET", path, &[], b"").await;
    assert_eq!(file.status, 200);
    let size = |at: usize| u32::from_le_bytes(file.body[at..at + 4].try_into().unwrap());
    assert_eq!((&file.body[..4], size(4)), (&b"RIFF"[..], 0x7fff_ffbf));
    assert_eq!((&file.body[36..40], size(40)), (&b"data"[..], 0x7fff_ff9b));
}

/// Recorded requests that DashScope would refuse, and its words: their answers were played.
const REFUSED: [(&str, &str); 6] = [
    (
        "006-base64-audio-data-uri",
        "Input files format not supported.",
    ),
    ("008-sampling-parameters", "must contain the word 'json'"),
    (
        "042-voice-only-input",
        "Required input parameter missing from request.",
    ),
    (
        "052-upload-missing-bare-path",
        "The provided URL does not appear to be valid.",
    ),
    (
        "096-v2-client-inline-audio",
        "Input files format not supported.",
    ),
    (
        "envelope-that-names-a-parameter",
        "Temperature should be in [0.0, 2.0)",
    ),
];

#[tokio::test(start_paused = true)]
async fn recorded_requests_of_the_sdks_are_answered() {
    let served = TestEmulator::plain().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures");
    let (mut answered, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let cases = std::fs::read(entry.unwrap().path()).unwrap();
        let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
        for case in cases {
            let body = &case["sent"]["body"];
            // Files that only the recorded storage has, and requests to other endpoints.
            let model = body["model"].as_str().unwrap_or_default();
            if body.to_string().contains("oss://") || model.is_empty() {
                continue;
            }
            let stream = case["call"]["method"] == "ConverseStream";
            let answer = match stream {
                true => served.request_stream(body).await,
                false => served.request(body).await,
            };
            let text = answer.text();
            // Models that are not emulated.
            if text.contains("\"ModelNotFound\"") {
                continue;
            }
            answered += 1;
            let name = case["case"].as_str().unwrap().to_owned();
            let is_refused = answer.status != 200 || text.contains("event:error");
            let refusal = REFUSED.iter().find(|(case, _)| *case == name);
            let right =
                refusal.map_or(!is_refused, |(_, words)| is_refused && text.contains(words));
            if !right {
                failed.push((name, text));
            }
        }
    }
    assert!(answered > 50, "{answered} requests");
    assert!(failed.is_empty(), "{failed:#?}");
}
