//! The events of a task.

use serde_json::{Value, json};

use crate::emulator::websocket::outbox::Outbox;
use crate::emulator::websocket::session::SocketError;

/// The code of an error in a command.
const INVALID: &str = "InvalidParameter";

/// Sends an event of a task.
pub(super) fn event(task_id: &str, event: &str, payload: &Value, out: &mut Outbox) {
    let header = json!({"task_id": task_id, "event": event, "attributes": {}});
    let text = json!({"header": header, "payload": payload}).to_string();
    out.text(event, text);
}

/// Sends a result of a task.
pub(super) fn result(task_id: &str, output: &Value, usage: &Value, out: &mut Outbox) {
    let payload = json!({"output": output, "usage": usage});
    event(task_id, "result-generated", &payload, out);
}

/// Sends the end of a task.
pub(super) fn finished(task_id: &str, output: &Value, usage: &Value, out: &mut Outbox) {
    let payload = json!({"output": output, "usage": usage});
    event(task_id, "task-finished", &payload, out);
}

/// Sends the failure of a task.
pub(super) fn failed(task_id: &str, error: &SocketError, out: &mut Outbox) {
    let header = json!({"task_id": task_id, "event": "task-failed", "error_code": error.code,
        "error_message": error.message, "attributes": {}});
    let text = json!({"header": header, "payload": {}}).to_string();
    out.text("task-failed", text);
}

/// An error in a command.
pub(super) fn invalid(message: impl Into<String>) -> SocketError {
    SocketError {
        code: INVALID.to_owned(),
        message: message.into(),
        ..SocketError::default()
    }
}
