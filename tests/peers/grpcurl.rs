//! grpcurl, which finds the schema by reflection.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::judge::{PATH_AS_URI, PATH_FIELD, QUESTION, converse, equal, holds, json};
use super::judge::{json_values, stream, text};
use super::process::{Said, ask};
use super::server::Server;
use super::tools::Tool;

/// No call here takes long.
const LIMIT: Duration = Duration::from_secs(60);

/// What grpcurl ends with when a call fails: this and the status code.
const FAILED: i32 = 64;
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const UNIMPLEMENTED: i32 = 12;

pub(crate) const CASES: &[Case] = &[
    ("grpcurl_lists_every_service", Tool::Grpcurl, lists_services),
    (
        "grpcurl_describes_the_schema_with_its_comments",
        Tool::Grpcurl,
        describes,
    ),
    ("grpcurl_checks_the_health", Tool::Grpcurl, checks_health),
    (
        "grpcurl_hears_the_quick_start",
        Tool::Grpcurl,
        hears_the_quick_start,
    ),
    (
        "grpcurl_hears_the_quick_start_as_a_stream",
        Tool::Grpcurl,
        hears_the_stream,
    ),
    (
        "grpcurl_is_told_which_field_is_wrong",
        Tool::Grpcurl,
        the_field_is_reported,
    ),
    (
        "grpcurl_is_told_what_comes_later",
        Tool::Grpcurl,
        a_stored_conversation_without_a_store_is_refused,
    ),
    (
        "grpcurl_uploads_a_sound_and_asks_about_it",
        Tool::Grpcurl,
        uploads,
    ),
];

fn run(grpcurl: &Path, arguments: &[&str]) -> Result<Said, String> {
    let mut command = Command::new(grpcurl);
    command.arg("-plaintext").args(arguments);
    ask(&mut command, LIMIT)
}

fn answered(grpcurl: &Path, arguments: &[&str]) -> Result<String, String> {
    let said = run(grpcurl, arguments)?;
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    Ok(said.out)
}

fn lists_services(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let services = answered(grpcurl, &[server.address(), "list"])?;
    for name in [
        "dashgate.v1.ConversationService",
        "dashgate.v1.MediaService",
        "dashgate.v1.ModelService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        holds(name, services.lines().any(|line| line == name), &services)?;
    }
    Ok(())
}

fn describes(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let converse = "dashgate.v1.ConversationService.Converse";
    let method = answered(grpcurl, &[server.address(), "describe", converse])?;
    let signature = "( .dashgate.v1.ConverseRequest ) returns ( .dashgate.v1.ConverseResponse )";
    holds(signature, method.contains(signature), &method)?;
    let audio = answered(
        grpcurl,
        &[server.address(), "describe", "dashgate.v1.Audio"],
    )?;
    holds("fields are explained", audio.contains("//"), &audio)
}

fn checks_health(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let check = "grpc.health.v1.Health/Check";
    let whole = json(&answered(grpcurl, &[server.address(), check])?)?;
    equal("the health", text(&whole, "/status"), "SERVING")?;
    let unknown = run(
        grpcurl,
        &["-d", r#"{"service":"nobody"}"#, server.address(), check],
    )?;
    equal("the status", unknown.code, Some(FAILED + NOT_FOUND))
}

fn hears_the_quick_start(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let method = "dashgate.v1.ConversationService/Converse";
    let reply = answered(grpcurl, &["-d", QUESTION, server.address(), method])?;
    converse(&json(&reply)?)
}

fn hears_the_stream(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let method = "dashgate.v1.ConversationService/ConverseStream";
    let replies = answered(grpcurl, &["-d", QUESTION, server.address(), method])?;
    stream(&json_values(&replies)?)
}

fn the_field_is_reported(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    for method in ["Converse", "ConverseStream"] {
        let method = format!("dashgate.v1.ConversationService/{method}");
        let said = run(grpcurl, &["-d", PATH_AS_URI, server.address(), &method])?;
        equal("the status", said.code, Some(FAILED + INVALID_ARGUMENT))?;
        holds(PATH_FIELD, said.err.contains(PATH_FIELD), &said.err)?;
        let details = [
            "google.rpc.BadRequest",
            "google.rpc.ErrorInfo",
            "google.rpc.RequestInfo",
            "dashgate.v1.CallFailure",
        ];
        for detail in details {
            holds(detail, said.err.contains(detail), &said.err)?;
        }
    }
    Ok(())
}

fn a_stored_conversation_without_a_store_is_refused(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let named = QUESTION.replacen(r#"{"model""#, r#"{"name":"one","model""#, 1);
    let method = "dashgate.v1.ConversationService/Converse";
    let said = run(grpcurl, &["-d", &named, server.address(), method])?;
    equal("the status", said.code, Some(FAILED + UNIMPLEMENTED))
}

/// The sound goes up in pieces, and the answer shows that every byte of it came through.
fn uploads(grpcurl: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let address = server.address();
    let sound = include_bytes!("../../examples/tone.wav");
    let description = r#"{"model":"qwen-audio-turbo","mimeType":"audio/wav","name":"tone.wav"}"#;
    let mut messages = format!(r#"{{"description":{description}}}"#);
    for chunk in sound.chunks(30_000) {
        messages.push_str(&format!(r#"{{"chunk":"{}"}}"#, base64(chunk)));
    }
    let method = "dashgate.v1.MediaService/UploadMedia";
    let stored = json(&sent(grpcurl, &messages, address, method)?)?;
    let uri = text(&stored, "/uri");
    holds(
        "it is stored at DashScope",
        uri.starts_with("oss://"),
        &stored,
    )?;
    let size = super::judge::number(&stored, "/sizeBytes");
    equal("its size", size, i64::try_from(sound.len()).ok())?;
    let question = QUESTION
        .replace(
            "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav",
            uri,
        )
        .replace("这段音频在说什么?", "What is in this audio?");
    let method = "dashgate.v1.ConversationService/Converse";
    let reply = json(&answered(grpcurl, &["-d", &question, address, method])?)?;
    super::judge::hears_the_tone(
        text(&reply, "/choices/0/message/content/0/text"),
        super::judge::number(&reply, "/usage/audioTokens"),
    )
}

/// Calls a method with messages that are too long for a command line.
fn sent(grpcurl: &Path, messages: &str, address: &str, method: &str) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("upload.json");
    let mut file = std::fs::File::create(&path).map_err(told)?;
    file.write_all(messages.as_bytes()).map_err(told)?;
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"exec "$0" -plaintext -d @ "$1" "$2" <"$3""#])
        .arg(grpcurl)
        .args([address, method])
        .arg(&path);
    let said = ask(&mut command, LIMIT)?;
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    Ok(said.out)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
