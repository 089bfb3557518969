//! A real Envoy that turns JSON and gRPC-Web into gRPC, with the files of `deploy/envoy`.

use std::path::Path;

use dashgate::grpc::pb;
use prost::Message;
use serde_json::Value;

use super::Case;
use super::envoy::{QUICK, run};
use super::judge::{PATH_AS_URI, PATH_FIELD, QUESTION, equal, holds, json, json_values, text};
use super::load::question;
use super::mesh::Mesh;
use super::tools::Tool;

const TRANSCODING: &str = include_str!("../../deploy/envoy/transcoding.yaml");
const WEB: &str = include_str!("../../deploy/envoy/web.yaml");

const SERVICE: &str = "dashgate.v1.ConversationService";
/// The origin in `web.yaml`.
const ORIGIN: &str = "https://app.example";
/// What begins the trailers of gRPC-Web, and what any frame begins with: a kind and a length.
const TRAILERS: u8 = 0x80;
const FRAME_HEAD: usize = 5;

pub(crate) const CASES: &[Case] = &[
    (
        "envoy_turns_json_into_calls_and_back",
        Tool::Envoy,
        |envoy| run(transcoding(envoy)),
    ),
    (
        "envoy_turns_grpc_web_into_calls_and_back",
        Tool::Envoy,
        |envoy| run(web(envoy)),
    ),
];

async fn transcoding(envoy: &Path) -> Result<(), String> {
    let mesh = Mesh::start(envoy, TRANSCODING, &[QUICK]).await?;
    let _replica = mesh.replica(0, &[])?;
    mesh.sees(0, true).await?;
    let (status, whole) = post_json(&mesh, "Converse", QUESTION.to_owned()).await?;
    equal("the status", status, 200).map_err(|why| why + &whole)?;
    let place = "/choices/0/message/content/0/text";
    equal("the answer", text(&json(&whole)?, place), "done")?;

    let (status, lines) = post_json(&mesh, "ConverseStream", QUESTION.to_owned()).await?;
    equal("the status", status, 200).map_err(|why| why + &lines)?;
    let events = json_values(&lines)?;
    equal(
        "one event a line",
        lines.trim().lines().count(),
        events.len(),
    )?;
    let words: String = events
        .iter()
        .map(|event| text(event, "/delta/text"))
        .collect();
    equal("the answer", words.as_str(), "abcd")?;
    let completed = events.last().and_then(|last| last.get("completed"));
    holds("it is complete", completed.is_some(), &events)?;

    let (status, refused) = post_json(&mesh, "Converse", PATH_AS_URI.to_owned()).await?;
    equal("the status", status, 400).map_err(|why| why + &refused)?;
    let code = json(&refused)?.get("code").and_then(Value::as_u64);
    equal("the code", code, Some(3)).map_err(|why| why + &refused)?;

    holds("it names the field", refused.contains(PATH_FIELD), &refused)?;

    // More than Envoy holds by itself.
    let sound = "A".repeat(2 * 1024 * 1024);
    let data = QUESTION.replace(
        r#""uri":"https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav""#,
        &format!(r#""data":"{sound}""#),
    );
    holds("it is large", data.len() > sound.len(), ())?;
    let (status, answer) = post_json(&mesh, "Converse", data).await?;
    holds("it is not too large", status != 413, (status, answer))
}

async fn post_json(mesh: &Mesh, method: &str, body: String) -> Result<(u16, String), String> {
    let url = format!("{}/{SERVICE}/{method}", mesh.door());
    let request = mesh
        .http()
        .post(url)
        .header("content-type", "application/json");
    let response = request.body(body).send().await.map_err(told)?;
    let status = response.status().as_u16();
    Ok((status, response.text().await.map_err(told)?))
}

async fn web(envoy: &Path) -> Result<(), String> {
    let mesh = Mesh::start(envoy, WEB, &[QUICK]).await?;
    let _replica = mesh.replica(0, &[])?;
    mesh.sees(0, true).await?;
    for (origin, allowed) in [(ORIGIN, Some(ORIGIN)), ("https://else.example", None)] {
        let url = format!("{}/{SERVICE}/Converse", mesh.door());
        let asked = mesh.http().request(http::Method::OPTIONS, url);
        let asked = asked.header("origin", origin);
        let asked = asked.header("access-control-request-method", "POST");
        let answer = asked.send().await.map_err(told)?;
        let said = answer.headers().get("access-control-allow-origin");
        equal(
            "who may call",
            said.and_then(|said| said.to_str().ok()),
            allowed,
        )?;
    }
    let request = pb::ConverseRequest {
        conversation: question("How are you?"),
        ..pb::ConverseRequest::default()
    };
    let (messages, trailers) = post_web(&mesh, "Converse", &request).await?;
    let [message] = messages.as_slice() else {
        return Err(format!("there are {} messages", messages.len()));
    };
    let answer = pb::ConverseResponse::decode(message.as_slice()).map_err(told)?;
    equal("the choices", answer.choices.len(), 1)?;
    holds("it is well", trailers.contains("grpc-status:0"), &trailers)?;

    let request = pb::ConverseStreamRequest {
        conversation: question("half"),
        ..pb::ConverseStreamRequest::default()
    };
    let (messages, trailers) = post_web(&mesh, "ConverseStream", &request).await?;
    holds("it begins", messages.len() >= 2, messages.len())?;
    // The error that comes after that, as the page sees it.
    for line in ["grpc-status:13", "grpc-retry-pushback-ms:-1"] {
        holds(line, trailers.contains(line), &trailers)?;
    }
    Ok(())
}

/// The messages that came, and the trailers.
async fn post_web(
    mesh: &Mesh,
    method: &str,
    message: &impl Message,
) -> Result<(Vec<Vec<u8>>, String), String> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).map_err(told)?;
    let mut body = vec![0];
    body.extend(length.to_be_bytes());
    body.extend(message);
    let url = format!("{}/{SERVICE}/{method}", mesh.door());
    let request = mesh.http().post(url).header("origin", ORIGIN);
    let request = request.header("content-type", "application/grpc-web+proto");
    let request = request.header("x-grpc-web", "1").body(body);
    let response = request.send().await.map_err(told)?;
    let kind = response.headers().get("content-type").cloned();
    equal(
        "the kind",
        kind.as_ref().and_then(|kind| kind.to_str().ok()),
        Some("application/grpc-web+proto"),
    )?;
    let bytes = response.bytes().await.map_err(told)?;
    let (mut rest, mut messages, mut trailers) = (&bytes[..], Vec::new(), String::new());
    while let Some((head, more)) = rest.split_at_checked(FRAME_HEAD) {
        let [kind, length @ ..] = head else {
            return Err("a frame without a head".to_owned());
        };
        let length = <[u8; 4]>::try_from(length).map_err(told)?;
        let length = u32::from_be_bytes(length) as usize;
        let (frame, next) = more.split_at_checked(length).ok_or("a frame is cut")?;
        if *kind == TRAILERS {
            trailers = String::from_utf8_lossy(frame).replace(": ", ":");
        } else {
            messages.push(frame.to_vec());
        }
        rest = next;
    }
    Ok((messages, trailers))
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
