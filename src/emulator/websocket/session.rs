//! What a connection needs of the protocol that is spoken on it.

use std::future::Future;

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::outbox::Outbox;

/// A session on a WebSocket: it receives frames and time, and queues frames.
pub(in crate::emulator) trait SocketSession: Send {
    /// The connection is open.
    fn open(&mut self, out: &mut Outbox);

    /// A text frame arrived.
    fn text(&mut self, text: &str, out: &mut Outbox) -> impl Future<Output = ()> + Send;

    /// A binary frame arrived.
    fn binary(&mut self, bytes: Bytes, out: &mut Outbox) -> impl Future<Output = ()> + Send;

    /// When [`SocketSession::advance`] is to be called, if at all.
    fn due(&self) -> Option<Instant>;

    /// The time of [`SocketSession::due`] has come, and all earlier frames were written.
    fn advance(&mut self, out: &mut Outbox);

    /// Queues an error.
    fn fail(&mut self, error: &SocketError, out: &mut Outbox) {
        let mut fields = json!({
            "type": error.kind,
            "code": error.code,
            "message": error.message,
        });
        let optional = [("param", &error.param), ("event_id", &error.event_id)];
        for (name, value) in optional {
            if let (Some(value), Some(fields)) = (value, fields.as_object_mut()) {
                fields.insert(name.into(), json!(value));
            }
        }
        out.event("error", json!({ "error": fields }));
    }
}

/// An error as both sockets report it, each in its own form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::emulator) struct SocketError {
    /// For example `server_error`.
    pub(in crate::emulator) kind: String,
    /// For example `internal_error`.
    pub(in crate::emulator) code: String,
    /// Human-readable message.
    pub(in crate::emulator) message: String,
    /// The field that it is about.
    pub(in crate::emulator) param: Option<String>,
    /// The id of the client's event that is refused.
    pub(in crate::emulator) event_id: Option<String>,
}
