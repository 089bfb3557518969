//! Which part answers which path.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::error::Fault;
use super::generation::generate;
use super::response_plan::Plan;
use super::rule::Reply;
use super::sample_files::sample;
use super::script::{Call, GENERATION, Script};
use super::script_player::{Broken, Playback, play};
use super::socket::Breaker;
use super::state::{Desk, Visit};
use super::uploads::{policy, post, query, scripted};
use super::wire_format::Act;

/// Where the built-in samples are served; no key is needed for them.
const SAMPLES: &str = "/samples/";

/// The longest life of a temporary key, as documented.
const TOKEN_SECONDS: u64 = 1800;

/// Answers one request.
///
/// # Errors
///
/// When a script wants the connection to end without an answer.
pub(super) async fn route(
    desk: Arc<Desk>,
    breaker: Breaker,
    request: Request<Incoming>,
) -> Result<Response<Playback>, Broken> {
    let (parts, body) = request.into_parts();
    let own = ["/emulator/", SAMPLES]
        .iter()
        .any(|own| parts.uri.path().starts_with(own));
    let entry = if own {
        desk.journal.silent()
    } else {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        desk.journal
            .open(parts.method.as_str(), path, &parts.headers)
    };
    let mut visit = Visit {
        id: uuid::Uuid::new_v4().to_string(),
        origin: desk.origin(&parts),
        entry,
    };
    let plan = if own {
        control(&desk, &visit.id, &parts, body).await
    } else {
        dashscope(&desk, &mut visit, &parts, body).await
    };
    play(plan, visit.entry, breaker).await
}

async fn dashscope(desk: &Desk, visit: &mut Visit, parts: &Parts, body: Incoming) -> Plan {
    let path = parts.uri.path();
    if path == "/oss" || path.starts_with("/oss/") {
        return if parts.method == Method::POST {
            post(desk, visit, parts, body).await
        } else {
            fault(&Fault::path(), &visit.id)
        };
    }
    if !desk.admits(parts) {
        return fault(&Fault::key(), &visit.id);
    }
    let body = match desk.body(body).await {
        Ok(body) => body,
        Err(refused) => return fault(&refused, &visit.id),
    };
    match (parts.method.as_str(), path) {
        ("POST", GENERATION) => generate(desk, visit, parts, &body).await,
        ("GET", "/api/v1/uploads") => policy(desk, visit, parts),
        method_and_path => {
            let call = Call {
                path,
                model: "",
                text: "",
                stream: false,
            };
            let reply = desk.cue(call, visit);
            let act = match method_and_path {
                ("POST", "/api/v1/tokens") => token(desk, parts, &visit.id),
                _ => Act::fault(&Fault::path(), false, &visit.id),
            };
            scripted(act, &reply, &visit.id)
        }
    }
}

fn fault(fault: &Fault, id: &str) -> Plan {
    Act::fault(fault, false, id).stage(&Reply::default(), id)
}

fn token(desk: &Desk, parts: &Parts, id: &str) -> Act {
    let asked = query(parts, "expire_in_seconds");
    let seconds = if asked.is_empty() {
        Ok(60)
    } else {
        asked.parse()
    };
    match seconds {
        Ok(seconds @ 1..=TOKEN_SECONDS) => {
            let (token, expires_at) = desk.signer.token(Duration::from_secs(seconds));
            Act::Json(200, json!({"token": token, "expires_at": expires_at}))
        }
        Ok(_) | Err(_) => {
            let words = "expire_in_seconds must be in [1, 1800].";
            Act::fault(&Fault::parameter(words), false, id)
        }
    }
}

/// What the emulator is asked about itself.
async fn control(desk: &Desk, id: &str, parts: &Parts, body: Incoming) -> Plan {
    let plain = |status, text: String| Act::Other(status, "text/plain; charset=utf-8", text.into());
    let act = match (parts.method.as_str(), parts.uri.path()) {
        ("GET", "/emulator/journal") => Act::Json(200, desk.journal.json()),
        ("DELETE", "/emulator/journal") => {
            desk.journal.clear();
            Act::Other(204, "", Bytes::new())
        }
        ("PUT", "/emulator/script") => match desk.body(body).await {
            Err(fault) => plain(fault.status, fault.message.into_owned()),
            Ok(body) => match Script::parse(&String::from_utf8_lossy(&body)) {
                Ok(script) => {
                    desk.prompter.change(script);
                    Act::Other(204, "", Bytes::new())
                }
                Err(error) => plain(400, format!("{error}\n")),
            },
        },
        ("GET", path) if path.starts_with(SAMPLES) => match sample(path) {
            Some(bytes) => Act::Other(200, "audio/wav", bytes),
            None => plain(404, "unknown sample\n".to_owned()),
        },
        ("GET", path) => {
            let name = path.strip_prefix("/emulator/files/").unwrap_or_default();
            // Uploads have slashes in their names and are not given out.
            let object = desk
                .store
                .find(name)
                .filter(|object| object.mark.is_empty());
            match object.map(|object| (object.mime.clone(), object.bytes)) {
                Some((mime, bytes)) if mime == "audio/wav" => Act::Other(200, "audio/wav", bytes),
                Some((_, bytes)) => Act::Other(200, "image/png", bytes),
                None => plain(404, "not found, or expired\n".to_owned()),
            }
        }
        _ => plain(
            404,
            "known are GET and DELETE /emulator/journal, PUT /emulator/script, \
             GET /emulator/files/NAME and GET /samples/NAME\n"
                .to_owned(),
        ),
    };
    act.stage(&Reply::default(), id)
}
