//! The official `openai` package, which judges the emulator's OpenAI-style endpoints.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Case;
use super::judge::{equal, hears_the_tone, holds, json_values, number, text};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// Python takes its time to import; no call here takes long.
const LIMIT: Duration = Duration::from_secs(120);

const SCRIPT: &str = include_str!("openai.py");

const CONTENT: &str = "/choices/0/message/content";
const FINISH: &str = "/choices/0/finish_reason";
const MODEL: &str = "Qwen/Qwen2.5-Omni-7B";

pub(crate) const CASES: &[Case] = &[
    ("openai_chats_in_every_dialect", Tool::Python, chats),
    ("openai_sends_audio", Tool::Python, sends_audio),
    ("openai_hears_audio", Tool::Python, hears_audio),
    ("openai_accumulates_tool_calls", Tool::Python, calls_tools),
    ("openai_parses_structured_answers", Tool::Python, parses),
    ("openai_raises_the_right_errors", Tool::Python, raises),
    (
        "openai_raises_the_errors_of_a_script",
        Tool::Python,
        raises_scripted,
    ),
    ("openai_lists_models", Tool::Python, lists_models),
];

fn emulator(dialect: &str) -> Result<Server, String> {
    Server::emulator_of(&["--dialect", dialect])
}

/// Calls an endpoint, `/v1` or `/compatible-mode/v1`.
fn call(
    python: &Path,
    server: &Server,
    path: &str,
    key: &str,
    call: &str,
    with: &Value,
) -> Result<Vec<Value>, String> {
    let url = format!("http://{}{path}", server.address());
    let asked = json!({"url": url, "key": key, "call": call, "with": with});
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT, &asked.to_string()]);
    let said = ask(&mut command, LIMIT)?;
    let log = || format!("{}\n{}", said.err, server.log());
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", log()))?;
    let results = json_values(&said.out)?;
    holds("there is a result", !results.is_empty(), &said)?;
    Ok(results)
}

fn one(
    python: &Path,
    server: &Server,
    path: &str,
    how: &str,
    with: &Value,
) -> Result<Value, String> {
    let results = call(python, server, path, "sk-peer", how, with)?;
    equal("the number of results", results.len(), 1)?;
    Ok(results.into_iter().next().unwrap_or_default())
}

fn question(more: &Value) -> Value {
    let mut asked = json!({"model": MODEL,
        "messages": [{"role": "user", "content": "tell me the weather"}]});
    if let (Some(asked), Some(more)) = (asked.as_object_mut(), more.as_object()) {
        asked.extend(more.clone());
    }
    asked
}

fn chats(python: &Path) -> Result<(), String> {
    for dialect in ["vllm", "vllm-omni", "sglang", "sglang-omni", "openai"] {
        let server = emulator(dialect)?;
        let text_only = json!({"modalities": ["text"]});
        let whole = one(python, &server, "/v1", "create", &question(&text_only))?;
        let said = text(&whole, CONTENT);
        holds(dialect, said.contains("tell me the weather"), &whole)?;
        equal("the finish", text(&whole, FINISH), "stop")?;
        let usage = json!({"modalities": ["text"], "stream_options": {"include_usage": true}});
        let streamed = one(python, &server, "/v1", "stream", &question(&usage))?;
        equal("the streamed text", text(&streamed, CONTENT), said)?;
        equal("the streamed finish", text(&streamed, FINISH), "stop")?;
        for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            let place = format!("/usage/{count}");
            let (streamed, whole) = (number(&streamed, &place), number(&whole, &place));
            holds(count, whole > Some(0), whole)?;
            equal(count, streamed, whole)?;
        }
    }
    Ok(())
}

/// The tone as base64.
fn tone() -> Result<String, String> {
    let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tone.wav");
    let bytes = fs::read(sound).map_err(|error| error.to_string())?;
    Ok(STANDARD.encode(bytes))
}

fn sends_audio(python: &Path) -> Result<(), String> {
    let data = tone()?;
    let server = emulator("openai")?;
    let content = |data: String| {
        json!([{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
            {"type": "text", "text": "What is in this audio?"}])
    };
    let asked = |model: &str, data: String| {
        json!({"model": model,
            "messages": [{"role": "user", "content": content(data)}]})
    };
    let plain = asked("Qwen/Qwen2-Audio-7B-Instruct", data.clone());
    let answer = one(python, &server, "/v1", "create", &plain)?;
    let tokens = number(&answer, "/usage/prompt_tokens_details/audio_tokens");
    hears_the_tone(text(&answer, CONTENT), tokens)?;
    let uri = asked("qwen3-asr-flash", format!("data:;base64,{data}"));
    let answer = one(python, &server, "/compatible-mode/v1", "create", &uri)?;
    let tokens = number(&answer, "/usage/prompt_tokens_details/audio_tokens");
    hears_the_tone(text(&answer, CONTENT), tokens)
}

fn hears_audio(python: &Path) -> Result<(), String> {
    let server = emulator("vllm-omni")?;
    let more = json!({"model": "qwen3-omni-flash", "modalities": ["text", "audio"],
        "audio": {"voice": "Cherry", "format": "wav"},
        "stream_options": {"include_usage": true}});
    let path = "/compatible-mode/v1";
    let chunks = call(python, &server, path, "sk-peer", "chunks", &question(&more))?;
    let mut pcm = Vec::new();
    for chunk in &chunks {
        let data = text(chunk, "/choices/0/delta/audio/data");
        pcm.extend(STANDARD.decode(data).map_err(|error| error.to_string())?);
    }
    // At least a second, without a header.
    holds(
        "there is PCM",
        pcm.len() > 48_000 && !pcm.starts_with(b"RIFF"),
        pcm.len(),
    )?;
    let last = chunks.last().unwrap_or(&Value::Null);
    let spoken = number(last, "/usage/completion_tokens_details/audio_tokens");
    holds("its tokens are counted", spoken > Some(0), last)?;
    let mut more = json!({"modalities": ["text", "audio"]});
    let whole = one(python, &server, "/v1", "create", &question(&more))?;
    let data = text(&whole, "/choices/0/message/audio/data");
    let wav = STANDARD.decode(data).map_err(|error| error.to_string())?;
    holds(
        "it is a WAV file",
        wav.starts_with(b"RIFF") && wav.len() > 48_000,
        wav.len(),
    )?;
    let server = emulator("openai")?;
    if let Some(more) = more.as_object_mut() {
        more.insert("audio".into(), json!({"voice": "alloy", "format": "wav"}));
    }
    let whole = one(python, &server, "/v1", "create", &question(&more))?;
    let transcript = text(&whole, "/choices/0/message/audio/transcript");
    holds(
        "it has a transcript",
        transcript.contains("weather"),
        &whole,
    )
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "weather", "strict": true, "parameters":
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            "additionalProperties": false}}}])
}

fn calls_tools(python: &Path) -> Result<(), String> {
    for (dialect, path) in [
        ("vllm", "/v1"),
        ("sglang", "/v1"),
        ("openai", "/v1"),
        ("vllm", "/compatible-mode/v1"),
    ] {
        let server = emulator(dialect)?;
        let more = json!({"model": "qwen3-vl-plus", "tools": tools()});
        let whole = one(python, &server, path, "create", &question(&more))?;
        equal("the finish", text(&whole, FINISH), "tool_calls")?;
        let name = text(&whole, "/choices/0/message/tool_calls/0/function/name");
        equal("the function", name, "weather")?;
        let streamed = one(python, &server, path, "stream", &question(&more))?;
        let city = "/choices/0/message/tool_calls/0/function/parsed_arguments/city";
        equal(dialect, text(&streamed, city), "tell me the weather")?;
    }
    Ok(())
}

fn parses(python: &Path) -> Result<(), String> {
    let server = emulator("vllm")?;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"},
        "degrees": {"type": "integer"}}, "required": ["city", "degrees"]});
    let more = json!({"response_format": {"type": "json_schema",
        "json_schema": {"name": "weather", "schema": schema}}, "logprobs": true, "n": 2});
    let answer = one(python, &server, "/v1", "create", &question(&more))?;
    let document: Value =
        serde_json::from_str(text(&answer, CONTENT)).map_err(|error| error.to_string())?;
    equal("the degrees", number(&document, "/degrees"), Some(1))?;
    let tokens = answer.pointer("/choices/1/logprobs/content");
    let tokens = tokens.and_then(Value::as_array).map_or(0, Vec::len);
    holds("both choices have log probabilities", tokens > 1, &answer)
}

fn raised(error: &Value, class: &str, status: i64, code: &str) -> Result<(), String> {
    equal("the class", text(error, "/class"), class).map_err(|why| format!("{why}: {error}"))?;
    equal("the status", number(error, "/status"), Some(status))?;
    equal("the code", text(error, "/code"), code)?;
    let id = text(error, "/request_id");
    holds("it has a request id", id.len() > 8, error)
}

/// A refused call: dialect, path, key and fields; then class, status and code of its error.
type RefusedCall = (
    &'static str,
    &'static str,
    &'static str,
    Value,
    &'static str,
    i64,
    &'static str,
);

fn refused_calls() -> Vec<RefusedCall> {
    let unknown = || json!({"model": "nope"});
    let compatible = "/compatible-mode/v1";
    let (not_found, bad, denied) = ("NotFoundError", "BadRequestError", "AuthenticationError");
    let unprocessable = "UnprocessableEntityError";
    let omni = json!({"model": "qwen3-omni-flash"});
    vec![
        ("vllm", "/v1", "x", json!({"n": 0}), bad, 400, "400"),
        ("vllm", "/v1", "x", unknown(), not_found, 404, "404"),
        ("sglang", "/v1", "x", json!({"n": 0}), bad, 400, "400"),
        (
            "sglang-omni",
            "/v1",
            "x",
            json!({"stop": 1}),
            unprocessable,
            422,
            "",
        ),
        (
            "openai",
            "/v1",
            "x",
            json!({}),
            denied,
            401,
            "invalid_api_key",
        ),
        (
            "openai",
            "/v1",
            "sk-x",
            unknown(),
            not_found,
            404,
            "model_not_found",
        ),
        (
            "vllm",
            compatible,
            "x",
            json!({}),
            denied,
            401,
            "invalid_api_key",
        ),
        (
            "vllm",
            compatible,
            "sk-x",
            unknown(),
            not_found,
            404,
            "model_not_found",
        ),
        (
            "vllm",
            compatible,
            "sk-x",
            omni,
            bad,
            400,
            "invalid_parameter_error",
        ),
    ]
}

fn raises(python: &Path) -> Result<(), String> {
    for (dialect, path, key, more, class, status, code) in refused_calls() {
        let server = emulator(dialect)?;
        let errors = call(python, &server, path, key, "create", &question(&more))?;
        raised(errors.first().unwrap_or(&Value::Null), class, status, code)?;
    }
    Ok(())
}

fn raises_scripted(python: &Path) -> Result<(), String> {
    let script = json!({"rules": [
        {"match": {"count": 1}, "reply": {"error": {"status": 429, "message": "slow down",
            "code": "Throttling.RateQuota"}}},
        {"match": {"count": 1}, "reply": {"answer": {"chunks": ["one", "two"]},
            "error": {"status": 500, "message": "out of memory", "after_chunks": 2}}}]});
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openai.json");
    fs::write(&file, script.to_string()).map_err(|error| error.to_string())?;
    let file = file.display().to_string();
    for (dialect, path, code) in [
        ("vllm", "/v1", "429"),
        ("sglang", "/v1", "429"),
        ("vllm", "/compatible-mode/v1", "limit_requests"),
    ] {
        let server = Server::emulator_of(&["--dialect", dialect, "--script", &file])?;
        let asked = question(&json!({}));
        let limited = call(python, &server, path, "sk-peer", "create", &asked)?;
        let limited = limited.first().unwrap_or(&Value::Null);
        raised(limited, "RateLimitError", 429, code)?;
        let results = call(python, &server, path, "sk-peer", "chunks", &asked)?;
        let (failed, before) = results.split_last().ok_or("no result")?;
        equal("the chunks before the error", before.len(), 2)?;
        equal("the class", text(failed, "/class"), "APIError")?;
        equal("the message", text(failed, "/message"), "out of memory")?;
    }
    Ok(())
}

fn lists_models(python: &Path) -> Result<(), String> {
    let server = Server::emulator_of(&["--model", "mine/model-1", "--api-key", "secret"])?;
    let models = call(python, &server, "/v1", "secret", "models", &json!({}))?;
    equal("the number of models", models.len(), 1)?;
    let model = models.first().unwrap_or(&Value::Null);
    equal("the model", text(model, "/id"), "mine/model-1")?;
    holds(
        "it has a length",
        number(model, "/max_model_len") > Some(0),
        model,
    )?;
    let with = json!({"model": "mine/model-1"});
    let found = call(python, &server, "/v1", "secret", "model", &with)?;
    let found = found.first().unwrap_or(&Value::Null);
    equal("the same model", text(found, "/id"), "mine/model-1")?;
    let refused = call(python, &server, "/v1", "other", "models", &json!({}))?;
    let class = text(refused.first().unwrap_or(&Value::Null), "/class");
    equal("the class", class, "AuthenticationError")?;
    let path = "/compatible-mode/v1";
    let models = call(python, &server, path, "sk-peer", "models", &json!({}))?;
    holds("there are models", models.len() > 2, &models)
}
