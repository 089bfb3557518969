//! The endpoints of WebSockets: which request is upgraded, and what runs on its connection.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;

use super::error::ApiError;
use super::inference::task_session::TaskSession;
use super::realtime::conversation_session::{ConversationSession, SessionContext};
use super::realtime::dialects::{Task, default_dialect, dialect};
use super::realtime::response::Pace;
use super::realtime::speech_session::SpeechSession;
use super::response_plan::Plan;
use super::response_steps::ResponseContent;
use super::script::{Call, INFERENCE, REALTIME};
use super::script_rule::{At, Reply};
use super::socket::ResetSwitch;
use super::state::{RequestContext, ServerState};
use super::uploads::{query, scripted};
use super::websocket::connection::{SocketContext, run};
use super::websocket::handshake::{PendingSession, UpgradeSlot, accept};

/// The time between pieces of audio of 100 ms: ten times as fast as speech.
const PACE: Duration = Duration::from_millis(10);

/// A connection that was upgraded, and has still to run.
pub(super) struct UpgradedSocket {
    session: Session,
    context: SocketContext,
}

/// The slot for the connection of a request that is upgraded.
pub(super) type SocketSlot = UpgradeSlot<UpgradedSocket>;

/// The session of a socket.
enum Session {
    Conversation(Box<ConversationSession>),
    Speech(Box<SpeechSession>),
    Tasks(Box<TaskSession>),
}

/// Whether a path is one of a WebSocket.
pub(super) fn is_socket(path: &str) -> bool {
    [REALTIME, INFERENCE].contains(&path)
}

/// Answers a request for a WebSocket. If it is upgraded, its session is put into the slot, with the
/// entry of the journal.
pub(super) fn open(
    state: &ServerState,
    context: &mut RequestContext,
    parts: &Parts,
    upgrade: OnUpgrade,
    reset_switch: &ResetSwitch,
    slot: &SocketSlot,
) -> Plan {
    let refused = |error: &ApiError, id: &str| {
        ResponseContent::error(error, false, id).into_plan(&Reply::default(), id)
    };
    if !state.is_authorized(parts) {
        return refused(&ApiError::key(), &context.id);
    }
    let model = query(parts, "model");
    let call = Call {
        path: parts.uri.path(),
        model: &model,
        text: "",
        stream: true,
    };
    let reply = state.scripted_reply(call, context);
    let is_cut = matches!(reply.wire.cut, Some((_, At::Head)));
    if reply.refusal.is_some() || reply.raw.is_some() || reply.status.is_some() || is_cut {
        let content = ResponseContent::Json(400, serde_json::json!({}));
        return scripted(content, &reply, &context.id);
    }
    let opened = accept(parts).and_then(|plan| Ok((plan, session(state, call, &reply)?)));
    let (mut plan, session) = match opened {
        Ok(opened) => opened,
        Err(error) => return refused(&error, &context.id),
    };
    plan.set("x-request-id", Some(&context.id));
    plan.head_delay = reply.delays.head;
    context.entry.head(plan.status);
    let rule = reply.socket.unwrap_or_default();
    let context = SocketContext {
        entry: std::mem::replace(&mut context.entry, state.journal.unrecorded()),
        reset_switch: reset_switch.clone(),
        actions: rule.actions.unwrap_or_default(),
        idle: rule.idle.unwrap_or(state.socket_idle),
        lifetime: rule.lifetime.unwrap_or(state.socket_lifetime),
    };
    slot.set(PendingSession {
        upgrade,
        start: UpgradedSocket { session, context },
    });
    plan
}

fn session(state: &ServerState, call: Call<'_>, reply: &Reply) -> Result<Session, ApiError> {
    let context = session_context(state, reply);
    if call.path == INFERENCE {
        return Ok(Session::Tasks(Box::new(TaskSession::new(context))));
    }
    let model = call.model;
    if model.is_empty() {
        let words = "Required parameter \"model\" missing from request.";
        return Err(ApiError::new(400, "BadRequest.EmptyModel", words));
    }
    let is_scripted = reply.socket.is_some() || reply.answer.is_some();
    let dialect = match dialect(model) {
        Some(dialect) => dialect,
        None if is_scripted => default_dialect(),
        None => {
            let words = "Model can not be found.";
            return Err(ApiError::new(404, "ModelNotFound", words));
        }
    };
    Ok(match dialect.task {
        Task::Speak => Session::Speech(Box::new(SpeechSession::new(dialect, model, context))),
        Task::Converse | Task::Transcribe | Task::Translate => {
            let session = ConversationSession::new(dialect, model, context);
            Session::Conversation(Box::new(session))
        }
    })
}

fn session_context(state: &ServerState, reply: &Reply) -> SessionContext {
    let between = Some(reply.delays.between).filter(|between| !between.is_zero());
    SessionContext {
        permits: Arc::clone(&state.decode_permits),
        rule: reply.socket.clone().unwrap_or_default(),
        answer: reply.answer.clone(),
        pace: Pace {
            first: reply.delays.first,
            between: between.unwrap_or(PACE),
        },
    }
}

/// Runs the session of an upgraded connection until it ends.
pub(super) async fn serve_socket(
    pending: PendingSession<UpgradedSocket>,
    stopped: watch::Receiver<bool>,
) {
    let UpgradedSocket { session, context } = pending.start;
    match session {
        Session::Conversation(session) => run(pending.upgrade, context, *session, stopped).await,
        Session::Speech(session) => run(pending.upgrade, context, *session, stopped).await,
        Session::Tasks(session) => run(pending.upgrade, context, *session, stopped).await,
    }
}
