//! Routes OpenAI-style requests: chat completions, the list of models, the health check.

use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::dialect::Dialect;
use super::openai_chat::chat;
use super::openai_error::OpenAiError;
use super::openai_request::OPEN_MODELS;
use super::openai_wire::OpenAiContent;
use super::response_plan::Plan;
use super::response_steps::raw;
use super::script::Call;
use super::script_rule::Reply;
use super::state::{RequestContext, ServerState};

/// Prefix of DashScope's compatible mode.
const COMPATIBLE: &str = "/compatible-mode";
/// Prefix of all OpenAI-style paths.
const VERSION: &str = "/v1/";

/// Models of the compatible mode in the list; all others of the emulator are served, too.
const COMPATIBLE_MODELS: [&str; 5] = [
    "qwen3-omni-flash",
    "qwen3.8-omni-flash",
    "qwen3-vl-plus",
    "qwen3-asr-flash",
    "qwen-plus",
];
/// The context length that vLLM and SGLang report, in tokens.
const MAX_MODEL_LENGTH: u32 = 32_768;

/// An OpenAI-style endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint<'a> {
    dialect: Dialect,
    /// The path below `/v1/`, or `None` for the health check.
    path: Option<&'a str>,
}

/// The endpoint of a path, if it is an OpenAI-style one.
pub(super) fn openai_endpoint(path: &str, dialect: Dialect) -> Option<Endpoint<'_>> {
    if path == "/health" {
        let path = None;
        return Some(Endpoint { dialect, path });
    }
    if let Some(rest) = path.strip_prefix(COMPATIBLE) {
        return Some(Endpoint {
            dialect: Dialect::DashScope,
            path: Some(rest.strip_prefix(VERSION).unwrap_or_default()),
        });
    }
    let path = Some(path.strip_prefix(VERSION)?);
    Some(Endpoint { dialect, path })
}

/// Answers an OpenAI-style request.
pub(super) async fn openai(
    state: &ServerState,
    context: &mut RequestContext,
    parts: &Parts,
    endpoint: Endpoint<'_>,
    body: Incoming,
) -> Plan {
    let Endpoint { dialect, path } = endpoint;
    let id = context.id.clone();
    let refuse = |error: &OpenAiError| {
        OpenAiContent::error(error, dialect, &id).into_plan(dialect, &Reply::default(), &id)
    };
    if path.is_some() && !state.has_key_of(dialect, parts) {
        return refuse(&OpenAiError::key());
    }
    let body = match state.body(body).await {
        Ok(body) => body,
        Err(error) => return refuse(&error.into()),
    };
    let method_and_path = (parts.method.as_str(), path);
    if method_and_path == ("POST", Some("chat/completions")) {
        return chat(state, context, parts, dialect, &body).await;
    }
    let call = Call {
        path: parts.uri.path(),
        model: "",
        text: "",
        stream: false,
    };
    let reply = state.scripted_reply(call, context);
    let id = context.id.as_str();
    if let Some(bytes) = &reply.raw {
        return raw(&reply, &bytes.pieces);
    }
    let content = match (&reply.refusal, method_and_path) {
        (Some(refusal), _) => OpenAiContent::refusal(refusal, dialect, false, id, Vec::new()),
        (None, ("GET", None)) => health(dialect),
        (None, ("GET", Some("models"))) => models(state, dialect),
        (None, ("GET", Some(path))) if path.starts_with("models/") => {
            model(path.trim_start_matches("models/"), state, dialect, id)
        }
        (None, _) => OpenAiContent::error(&OpenAiError::path(), dialect, id),
    };
    content.into_plan(dialect, &reply, id)
}

fn health(dialect: Dialect) -> OpenAiContent {
    if dialect == Dialect::SglangOmni {
        return OpenAiContent::Json(200, json!({"status": "healthy", "running": true}));
    }
    OpenAiContent::Empty(200)
}

fn names(state: &ServerState, dialect: Dialect) -> Vec<String> {
    let listed = if dialect == Dialect::DashScope {
        COMPATIBLE_MODELS
    } else if state.models.is_empty() {
        OPEN_MODELS
    } else {
        return state.models.clone();
    };
    listed.iter().map(|name| (*name).to_owned()).collect()
}

fn models(state: &ServerState, dialect: Dialect) -> OpenAiContent {
    let names = names(state, dialect);
    let cards = names.iter().map(|name| card(name, state, dialect));
    let cards: Vec<Value> = cards.collect();
    OpenAiContent::Json(200, json!({"object": "list", "data": cards}))
}

/// One model of the list.
fn model(name: &str, state: &ServerState, dialect: Dialect, id: &str) -> OpenAiContent {
    // Clients escape the slash in the name of a repository.
    let name = name.replace("%2F", "/").replace("%2f", "/");
    if names(state, dialect).contains(&name) {
        return OpenAiContent::Json(200, card(&name, state, dialect));
    }
    OpenAiContent::error(&OpenAiError::model(&name, dialect), dialect, id)
}

fn card(name: &str, state: &ServerState, dialect: Dialect) -> Value {
    let created = state.now();
    match dialect {
        Dialect::DashScope | Dialect::OpenAi => {
            json!({"id": name, "object": "model", "created": created, "owned_by": "system"})
        }
        Dialect::Vllm | Dialect::VllmOmni => json!({"id": name, "object": "model",
            "created": created, "owned_by": "vllm", "root": name, "parent": null,
            "max_model_len": MAX_MODEL_LENGTH, "permission": []}),
        Dialect::Sglang => json!({"id": name, "object": "model", "created": created,
            "owned_by": "sglang", "root": name, "parent": null,
            "max_model_len": MAX_MODEL_LENGTH}),
        Dialect::SglangOmni => json!({"id": name, "object": "model", "created": 0,
            "owned_by": "sglang-omni", "permission": [], "root": name}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_select_the_dialect() {
        for (path, expected) in [
            ("/health", Some((Dialect::Sglang, None))),
            ("/v1/models", Some((Dialect::Sglang, Some("models")))),
            (
                "/compatible-mode/v1/chat/completions",
                Some((Dialect::DashScope, Some("chat/completions"))),
            ),
            ("/compatible-mode/v2", Some((Dialect::DashScope, Some("")))),
            ("/api/v1/uploads", None),
            ("/oss", None),
        ] {
            let found = openai_endpoint(path, Dialect::Sglang);
            let found = found.map(|endpoint| (endpoint.dialect, endpoint.path));
            assert_eq!(found, expected, "{path}");
        }
    }
}
