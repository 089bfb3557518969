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
        "buf_curl_hears_the_quick_start_by_grpc_web",
        Tool::Buf,
        hears_it_by_web,
    ),
    (
        "buf_curl_is_told_of_a_protocol_that_is_not_served",
        Tool::Buf,
        a_protocol_that_is_not_served_is_reported,
    ),
    (
        "buf_curl_is_told_which_field_is_wrong",
        Tool::Buf,
        the_field_is_reported,
    ),
];

/// A protocol that `buf curl` speaks and the gateway serves, each over HTTP/2.
const GRPC: &[&str] = &["grpc", "--http2-prior-knowledge"];
const WEB: &[&str] = &["grpcweb", "--http2-prior-knowledge"];
/// As browsers speak it; reflection needs HTTP/2, so the schema comes from its files.
const WEB_BY_HTTP_1: &[&str] = &["grpcweb", "--schema", SCHEMA];
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");

fn run(
    buf: &Path,
    protocol: &[&str],
    server: &Server,
    method: &str,
    message: &str,
) -> Result<Said, String> {
    let service = "dashgate.v1.ConversationService";
    let url = format!("http://{}/{service}/{method}", server.address());
    let mut command = Command::new(buf);
    // In an empty folder, so that the schema comes from the server and from nowhere else.
    command
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .args(["curl", "--protocol"])
        .args(protocol)
        .args(["--data", message])
        .arg(url);
    ask(&mut command, LIMIT)
}

fn answered(buf: &Path, protocol: &[&str], method: &str) -> Result<String, String> {
    let server = Server::gateway()?;
    let said = run(buf, protocol, &server, method, QUESTION)?;
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    Ok(said.out)
}

fn hears_the_quick_start(buf: &Path) -> Result<(), String> {
    converse(&json(&answered(buf, GRPC, "Converse")?)?)
}

fn hears_it_by_web(buf: &Path) -> Result<(), String> {
    for protocol in [WEB, WEB_BY_HTTP_1] {
        converse(&json(&answered(buf, protocol, "Converse")?)?)?;
        stream(&json_values(&answered(buf, protocol, "ConverseStream")?)?)?;
    }
    Ok(())
}

/// Connect's own protocol is not served; whoever tries is told so, and is not left waiting.
fn a_protocol_that_is_not_served_is_reported(buf: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    let schema = ["connect", "--schema", SCHEMA];
    let said = run(buf, &schema, &server, "Converse", QUESTION)?;
    holds("it fails", said.code != Some(0), &said)?;
    holds("with HTTP's own word", said.err.contains("415"), &said.err)
}

fn hears_the_stream(buf: &Path) -> Result<(), String> {
    stream(&json_values(&answered(buf, GRPC, "ConverseStream")?)?)
}

fn the_field_is_reported(buf: &Path) -> Result<(), String> {
    let server = Server::gateway()?;
    for protocol in [GRPC, WEB] {
        let said = run(buf, protocol, &server, "Converse", PATH_AS_URI)?;
        holds("it fails", said.code != Some(0), &said)?;
        let error = json(&said.err)?;
        equal("the status", text(&error, "/code"), "invalid_argument")?;
        holds(PATH_FIELD, said.err.contains(PATH_FIELD), &said.err)?;
    }
    Ok(())
}
