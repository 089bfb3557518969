//! Python's grpcio, with a schema that it has from reflection alone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Case;
use super::judge::{PATH_AS_URI, PATH_FIELD, QUESTION, converse, equal, holds, json, stream, text};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// Python takes its time to import; no call here takes long.
const LIMIT: Duration = Duration::from_secs(120);

const SCRIPT: &str = include_str!("reflect.py");

pub(crate) const CASES: &[Case] = &[
    (
        "grpcio_hears_the_quick_start",
        Tool::Python,
        hears_the_quick_start,
    ),
    (
        "grpcio_hears_the_quick_start_as_a_stream",
        Tool::Python,
        hears_the_stream,
    ),
    (
        "grpcio_is_told_which_field_is_wrong",
        Tool::Python,
        the_field_is_reported,
    ),
    ("grpcio_sees_the_deadline", Tool::Python, sees_the_deadline),
];

/// Calls a method, and has `{"replies": [..], "code": .., "details": .., "trailers": {..}}` of it.
fn call(python: &Path, method: &str, message: &str, seconds: &str) -> Result<Value, String> {
    let server = Server::gateway()?;
    let mut command = Command::new(python);
    command
        .args(["-c", SCRIPT, server.address(), method, message, seconds])
        .env("GRPC_VERBOSITY", "ERROR");
    let said = ask(&mut command, LIMIT)?;
    let log = || format!("{}\n{}", said.err, server.log());
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", log()))?;
    json(&said.out)
}

fn replies(result: &Value) -> Result<&Vec<Value>, String> {
    equal("the status", text(result, "/code"), "OK").map_err(|why| format!("{why}: {result}"))?;
    let replies = result.get("replies").and_then(Value::as_array);
    replies.ok_or_else(|| format!("no replies: {result}"))
}

fn hears_the_quick_start(python: &Path) -> Result<(), String> {
    let result = call(python, "Converse", QUESTION, "30")?;
    let replies = replies(&result)?;
    equal("the number of replies", replies.len(), 1)?;
    converse(replies.first().unwrap_or(&Value::Null))?;
    let id = text(&result, "/trailers/x-request-id");
    holds("the id is in the metadata", id.len() > 8, &result)
}

fn hears_the_stream(python: &Path) -> Result<(), String> {
    stream(replies(&call(python, "ConverseStream", QUESTION, "30")?)?)
}

fn the_field_is_reported(python: &Path) -> Result<(), String> {
    for method in ["Converse", "ConverseStream"] {
        let result = call(python, method, PATH_AS_URI, "30")?;
        equal("the status", text(&result, "/code"), "INVALID_ARGUMENT")?;
        let details = text(&result, "/details");
        holds(PATH_FIELD, details.contains(PATH_FIELD), &result)?;
        // Not again: what is wrong stays wrong.
        let pushback = text(&result, "/trailers/grpc-retry-pushback-ms");
        equal("the pushback", pushback, "-1")?;
    }
    Ok(())
}

fn sees_the_deadline(python: &Path) -> Result<(), String> {
    let result = call(python, "Converse", QUESTION, "0.000001")?;
    equal("the status", text(&result, "/code"), "DEADLINE_EXCEEDED")
}
