//! Routes requests to endpoints.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::error::ApiError;
use super::generation::generate;
use super::openai_routes::{openai, openai_endpoint};
use super::response_plan::Plan;
use super::response_steps::ResponseContent;
use super::sample_files::sample;
use super::script::{Call, GENERATION, Script};
use super::script_player::{ConnectionCut, PlannedBody, play};
use super::script_rule::Reply;
use super::socket::ResetSwitch;
use super::socket_routes::{SocketSlot, is_socket, open};
use super::state::{RequestContext, ServerState};
use super::uploads::{policy, post, query, scripted};

/// Path of the built-in samples, which require no key.
const SAMPLES: &str = "/samples/";

/// The longest lifetime of a temporary key, as documented.
const TOKEN_SECONDS: u64 = 1800;

/// Answers one request.
///
/// # Errors
///
/// If a script ends the connection without a response.
pub(super) async fn route(
    state: Arc<ServerState>,
    reset_switch: ResetSwitch,
    slot: SocketSlot,
    mut request: Request<Incoming>,
) -> Result<Response<PlannedBody>, ConnectionCut> {
    let is_socket = is_socket(request.uri().path());
    let upgrade = is_socket.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let own = ["/emulator/", SAMPLES]
        .iter()
        .any(|own| parts.uri.path().starts_with(own));
    let entry = if own {
        state.journal.unrecorded()
    } else {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        state
            .journal
            .open(parts.method.as_str(), path, &parts.headers)
    };
    let mut context = RequestContext {
        id: uuid::Uuid::new_v4().to_string(),
        origin: state.origin(&parts),
        entry,
    };
    let plan = if let Some(upgrade) = upgrade {
        open(&state, &mut context, &parts, upgrade, &reset_switch, &slot)
    } else if own {
        control(&state, &context.id, &parts, body).await
    } else {
        dashscope(&state, &mut context, &parts, body).await
    };
    play(plan, context.entry, reset_switch).await
}

async fn dashscope(
    state: &ServerState,
    context: &mut RequestContext,
    parts: &Parts,
    body: Incoming,
) -> Plan {
    let path = parts.uri.path();
    if path == "/oss" || path.starts_with("/oss/") {
        return if parts.method == Method::POST {
            post(state, context, parts, body).await
        } else {
            error(&ApiError::path(), &context.id)
        };
    }
    if let Some(endpoint) = openai_endpoint(path, state.dialect) {
        return openai(state, context, parts, endpoint, body).await;
    }
    if !state.is_authorized(parts) {
        return error(&ApiError::key(), &context.id);
    }
    let body = match state.body(body).await {
        Ok(body) => body,
        Err(refused) => return error(&refused, &context.id),
    };
    match (parts.method.as_str(), path) {
        ("POST", GENERATION) => generate(state, context, parts, &body).await,
        ("GET", "/api/v1/uploads") => policy(state, context, parts),
        method_and_path => {
            let call = Call {
                path,
                model: "",
                text: "",
                stream: false,
            };
            let reply = state.scripted_reply(call, context);
            let content = match method_and_path {
                ("POST", "/api/v1/tokens") => token(state, parts, &context.id),
                _ => ResponseContent::error(&ApiError::path(), false, &context.id),
            };
            scripted(content, &reply, &context.id)
        }
    }
}

fn error(error: &ApiError, id: &str) -> Plan {
    ResponseContent::error(error, false, id).into_plan(&Reply::default(), id)
}

fn token(state: &ServerState, parts: &Parts, id: &str) -> ResponseContent {
    let asked = query(parts, "expire_in_seconds");
    let seconds = if asked.is_empty() {
        Ok(60)
    } else {
        asked.parse()
    };
    match seconds {
        Ok(seconds @ 1..=TOKEN_SECONDS) => {
            let (token, expires_at) = state.signer.token(Duration::from_secs(seconds));
            ResponseContent::Json(200, json!({"token": token, "expires_at": expires_at}))
        }
        Ok(_) | Err(_) => {
            let words = "expire_in_seconds must be in [1, 1800].";
            ResponseContent::error(&ApiError::parameter(words), false, id)
        }
    }
}

/// The control endpoints of the emulator itself.
async fn control(state: &ServerState, id: &str, parts: &Parts, body: Incoming) -> Plan {
    let plain = |status, text: String| {
        ResponseContent::Other(status, "text/plain; charset=utf-8", text.into())
    };
    let content = match (parts.method.as_str(), parts.uri.path()) {
        ("GET", "/emulator/journal") => ResponseContent::Json(200, state.journal.json()),
        ("DELETE", "/emulator/journal") => {
            state.journal.clear();
            ResponseContent::Other(204, "", Bytes::new())
        }
        ("PUT", "/emulator/script") => match state.body(body).await {
            Err(error) => plain(error.status, error.message.into_owned()),
            Ok(body) => match Script::parse(&String::from_utf8_lossy(&body)) {
                Ok(script) => {
                    state.script.change(script);
                    ResponseContent::Other(204, "", Bytes::new())
                }
                Err(error) => plain(400, format!("{error}\n")),
            },
        },
        ("GET", path) if path.starts_with(SAMPLES) => match sample(path) {
            Some(bytes) => ResponseContent::Other(200, "audio/wav", bytes),
            None => plain(404, "unknown sample\n".to_owned()),
        },
        ("GET", path) => {
            let name = path.strip_prefix("/emulator/files/").unwrap_or_default();
            // Keys of uploads contain slashes; uploads are not served.
            let object = state
                .store
                .find(name)
                .filter(|object| object.mark.is_empty());
            match object.map(|object| (object.mime.clone(), object.bytes)) {
                Some((mime, bytes)) if mime == "audio/wav" => {
                    ResponseContent::Other(200, "audio/wav", bytes)
                }
                Some((_, bytes)) => ResponseContent::Other(200, "image/png", bytes),
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
    content.into_plan(&Reply::default(), id)
}
