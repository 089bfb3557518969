//! DashScope's official SDK, which judges the emulator: it was written against the real service.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::Case;
use super::judge::{ANSWER, equal, hears_the_tone, holds, json_values, number, text};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// Python takes its time to import; no call here takes long.
const LIMIT: Duration = Duration::from_secs(120);

const SCRIPT: &str = include_str!("sdk.py");

const WORDS: &str = "/output/choices/0/message/content/0/text";
const FINISH: &str = "/output/choices/0/finish_reason";

pub(crate) const CASES: &[Case] = &[
    (
        "sdk_hears_the_quick_start",
        Tool::Python,
        hears_the_quick_start,
    ),
    ("sdk_hears_a_stream_of_parts", Tool::Python, hears_parts),
    ("sdk_hears_a_stream_that_grows", Tool::Python, hears_growing),
    (
        "sdk_uploads_a_sound_and_asks_about_it",
        Tool::Python,
        uploads,
    ),
    (
        "sdk_is_told_of_a_wrong_key",
        Tool::Python,
        a_wrong_key_is_reported,
    ),
    (
        "sdk_is_told_of_a_wrong_parameter",
        Tool::Python,
        an_invalid_parameter_is_reported,
    ),
    (
        "sdk_is_told_of_an_unknown_model",
        Tool::Python,
        an_unknown_model_is_reported,
    ),
];

/// The quick start of DashScope's documentation.
fn quick_start() -> Value {
    let audio = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav";
    json!({
        "model": "qwen-audio-turbo",
        "messages": [{
            "role": "user",
            "content": [{"audio": audio}, {"text": "这段音频在说什么?"}],
        }],
    })
}

/// The quick start with these arguments added or put in the place of its own.
fn with(more: &Value) -> Value {
    let mut asked = quick_start();
    if let (Some(asked), Some(more)) = (asked.as_object_mut(), more.as_object()) {
        asked.extend(more.clone());
    }
    asked
}

fn call(python: &Path, server: &Server, asked: &Value) -> Result<Vec<Value>, String> {
    let mut asked = asked.clone();
    if let Some(asked) = asked.as_object_mut() {
        asked.insert(
            "url".into(),
            format!("http://{}/api/v1", server.address()).into(),
        );
        asked.entry("key").or_insert_with(|| "sk-peer".into());
    }
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT, &asked.to_string()]);
    let said = ask(&mut command, LIMIT)?;
    let log = || format!("{}\n{}", said.err, server.log());
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", log()))?;
    let answers = json_values(&said.out)?;
    holds("there is an answer", !answers.is_empty(), &said)?;
    Ok(answers)
}

fn one(python: &Path, asked: &Value) -> Result<Value, String> {
    let server = Server::emulator()?;
    let answers = call(python, &server, asked)?;
    equal("the number of answers", answers.len(), 1)?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

fn good(answer: &Value) -> Result<(), String> {
    equal("the status", number(answer, "/status_code"), Some(200))
        .map_err(|why| format!("{why}: {answer}"))?;
    holds(
        "it has an id",
        text(answer, "/request_id").len() > 8,
        answer,
    )
}

fn whole(answer: &Value) -> Result<(), String> {
    equal("the end", text(answer, FINISH), "stop")?;
    let counts = [
        "/usage/input_tokens",
        "/usage/audio_tokens",
        "/usage/output_tokens",
    ];
    let counts = counts.map(|name| number(answer, name));
    equal("the usage", counts, [Some(1276), Some(768), Some(19)])
}

fn hears_the_quick_start(python: &Path) -> Result<(), String> {
    let answer = one(python, &quick_start())?;
    good(&answer)?;
    equal("the text", text(&answer, WORDS), ANSWER)?;
    whole(&answer)
}

fn streamed(python: &Path, incremental: bool) -> Result<Vec<Value>, String> {
    let server = Server::emulator()?;
    let asked = with(&json!({"stream": true, "incremental_output": incremental}));
    let answers = call(python, &server, &asked)?;
    holds("it comes in parts", answers.len() > 2, &answers)?;
    let (last, before) = answers.split_last().ok_or("no answer")?;
    for answer in before {
        good(answer)?;
        holds("it has not ended", text(answer, FINISH) != "stop", answer)?;
    }
    good(last)?;
    whole(last)?;
    Ok(answers)
}

fn hears_parts(python: &Path) -> Result<(), String> {
    let answers = streamed(python, true)?;
    let parts: Vec<&str> = answers.iter().map(|answer| text(answer, WORDS)).collect();
    holds("no part is all of it", !parts.contains(&ANSWER), &parts)?;
    equal("the parts together", parts.concat().as_str(), ANSWER)
}

fn hears_growing(python: &Path) -> Result<(), String> {
    let answers = streamed(python, false)?;
    let mut before = "";
    for answer in &answers {
        let now = text(answer, WORDS);
        holds(
            "it goes on where it was",
            now.starts_with(before),
            (before, now),
        )?;
        before = now;
    }
    equal("the last text", before, ANSWER)
}

fn uploads(python: &Path) -> Result<(), String> {
    let server = Server::emulator()?;
    let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tone.wav");
    let asked = with(&json!({"messages": [{
        "role": "user",
        "content": [
            {"audio": format!("file://{}", sound.display())},
            {"text": "What is in this audio?"},
        ],
    }]}));
    let answers = call(python, &server, &asked)?;
    let answer = answers.first().ok_or("no answer")?;
    good(answer)?;
    hears_the_tone(text(answer, WORDS), number(answer, "/usage/audio_tokens"))?;
    let journal = server.fetch("/emulator/journal")?;
    for step in ["getPolicy", "oss://", "multimodal-generation"] {
        holds(step, journal.contains(step), &journal)?;
    }
    Ok(())
}

fn refused(answer: &Value, status: i64, code: &str) -> Result<(), String> {
    equal("the status", number(answer, "/status_code"), Some(status))
        .map_err(|why| format!("{why}: {answer}"))?;
    equal("the code", text(answer, "/code"), code)?;
    holds("it says why", !text(answer, "/message").is_empty(), answer)?;
    holds(
        "it has an id",
        text(answer, "/request_id").len() > 8,
        answer,
    )
}

fn a_wrong_key_is_reported(python: &Path) -> Result<(), String> {
    let answer = one(python, &with(&json!({"key": "no key of theirs"})))?;
    refused(&answer, 401, "InvalidApiKey")
}

fn an_invalid_parameter_is_reported(python: &Path) -> Result<(), String> {
    let answer = one(python, &with(&json!({"top_p": 7.0})))?;
    refused(&answer, 400, "InvalidParameter")?;
    let server = Server::emulator()?;
    let streamed = with(&json!({"top_p": 7.0, "stream": true, "incremental_output": true}));
    let answers = call(python, &server, &streamed)?;
    equal("the number of answers", answers.len(), 1)?;
    let answer = answers.first().ok_or("no answer")?;
    refused(answer, 400, "InvalidParameter")
}

fn an_unknown_model_is_reported(python: &Path) -> Result<(), String> {
    let answer = one(python, &with(&json!({"model": "no-such-model"})))?;
    refused(&answer, 404, "ModelNotFound")
}
