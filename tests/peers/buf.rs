//! `buf curl`, which speaks gRPC with connect-go and finds the schema by reflection.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::judge::{PATH_AS_URI, PATH_FIELD, QUESTION, converse, equal, holds, json, json_values};
use super::judge::{stream, text};
use super::process::{Said, ask};
use super::server::Server;
use super::tools::Tool;

/// No call here takes long.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const CASES: &[Case] = &[
    (
        "buf_curl_hears_the_quick_start",
        Tool::Buf,
        hears_the_quick_start,
    ),
    (
        "buf_curl_hears_the_quick_start_as_a_stream",
        Tool::Buf,
        hears_the_stream,
    ),
    (
        "buf_curl_is_told_which_field_is_wrong",
        Tool::Buf,
        is_told_the_field,
    ),
];

fn run(buf: &Path, server: &Server, method: &str, message: &str) -> Result<Said, String> {
    let service = "dashgate.v1.ConversationService";
    let url = format!("http://{}/{service}/{method}", server.address());
    let mut command = Command::new(buf);
    // In an empty folder, so that the schema comes from the server and from nowhere else.
    command
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .args([
            "curl",
            "--protocol",
            "grpc",
            "--http2-prior-knowledge",
            "--data",
            message,
        ])
        .arg(url);
    ask(&mut command, LIMIT)
}

fn answered(buf: &Path, method: &str) -> Result<String, String> {
    let server = Server::gateway()?;
    let said = run(buf, &server, method, QUESTION)?;
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    Ok(said.out)
}

fn hears_the_quick_start(buf: &Path) -> Result<(), String> {
    converse(&json(&answered(buf, "Converse")?)?)
}

fn hears_the_stream(buf: &Path) -> Result<(), String> {
    stream(&json_values(&answered(buf, "ConverseStream")?)?)
}

fn is_told_the_field(buf: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let said = run(buf, &server, "Converse", PATH_AS_URI)?;
    holds("it fails", said.code != Some(0), &said)?;
    let error = json(&said.err)?;
    equal("the status", text(&error, "/code"), "invalid_argument")?;
    holds(PATH_FIELD, said.err.contains(PATH_FIELD), &said.err)
}
