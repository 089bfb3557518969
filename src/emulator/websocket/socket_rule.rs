//! The part of a rule that is about WebSockets: what a session hears and answers, its limits, and
//! the errors on its connection. The format is documented in `docs/emulator.md`.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::session::SocketError;
use crate::emulator::script_values::{
    Base64, interval, object, objects, or_default, texts, wait, whole,
};

/// The most frames that a trigger counts.
const MAX_COUNT: u64 = 1_000_000_000;

/// What a rule changes on a socket.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::emulator) struct SocketRule {
    /// What the audio of each turn is heard as; the last one applies to all further turns.
    #[serde(rename = "transcript", deserialize_with = "texts")]
    pub(in crate::emulator) transcripts: Vec<String>,
    /// The error in place of each transcript.
    #[serde(deserialize_with = "object")]
    pub(in crate::emulator) transcription_error: Option<TranscriptionError>,
    /// Whether a cancelled response ends with `response.done`. Default: as the model does.
    pub(in crate::emulator) done_after_cancel: Option<bool>,
    /// How `session.finish` is answered. Default: as the model does.
    pub(in crate::emulator) finish: Option<Finish>,
    /// The time without activity after which the session ends.
    #[serde(rename = "idle_ms", deserialize_with = "interval")]
    pub(in crate::emulator) idle: Option<Duration>,
    /// The longest session.
    #[serde(rename = "lifetime_ms", deserialize_with = "interval")]
    pub(in crate::emulator) lifetime: Option<Duration>,
    /// What happens on the connection.
    #[serde(deserialize_with = "objects")]
    pub(in crate::emulator) actions: Option<Vec<SocketAction>>,
}

/// Why audio is not transcribed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::emulator) struct TranscriptionError {
    /// The code.
    #[serde(deserialize_with = "or_default")]
    pub(in crate::emulator) code: String,
    /// Human-readable message.
    #[serde(deserialize_with = "or_default")]
    pub(in crate::emulator) message: String,
}

/// How `session.finish` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::emulator) enum Finish {
    /// With `session.finished`. The connection is closed at once by models that speak; by others
    /// after a time in which the client may do it.
    Acknowledge,
    /// The connection is closed, without an event.
    Close,
    /// With an error: the event is not defined.
    Refuse,
    /// Not at all.
    Ignore,
}

/// One thing that happens on the connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "ActionFields")]
pub(in crate::emulator) struct SocketAction {
    /// When.
    pub(super) after: Trigger,
    /// What.
    pub(super) action: Action,
}

/// A frame that causes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The connection is open, and nothing was sent.
    Opened,
    /// The n-th frame whose type matches the pattern was sent.
    Sent(String, u64),
    /// The n-th frame whose type matches the pattern arrived.
    Received(String, u64),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The close frame is sent in place of what waits.
    Close(u16, String),
    /// The connection is reset.
    Reset,
    /// An error is sent; of any type but `invalid_request_error`, it ends the session.
    Error(SocketError),
    /// Nothing is sent any more.
    Silence,
    /// Nothing is sent for this long.
    Delay(Duration),
    /// A text frame is sent before what waits.
    Text(String),
    /// A binary frame is sent before what waits.
    Binary(Bytes),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerFields {
    sent: Option<String>,
    received: Option<String>,
    #[serde(default, deserialize_with = "whole::<_, _, 1, MAX_COUNT>")]
    count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseFields {
    #[serde(default, deserialize_with = "whole::<_, _, 1000, 4999>")]
    code: Option<u16>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorFields {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    param: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionFields {
    #[serde(default, deserialize_with = "object")]
    after: Option<TriggerFields>,
    #[serde(default, deserialize_with = "object")]
    close: Option<CloseFields>,
    #[serde(default, deserialize_with = "or_default")]
    reset: bool,
    #[serde(default, deserialize_with = "object")]
    error: Option<ErrorFields>,
    #[serde(default, deserialize_with = "or_default")]
    silence: bool,
    #[serde(default, deserialize_with = "wait")]
    delay_ms: Duration,
    send: Option<String>,
    send_base64: Option<Base64>,
}

impl TryFrom<ActionFields> for SocketAction {
    type Error = &'static str;

    fn try_from(fields: ActionFields) -> Result<Self, Self::Error> {
        let after = match fields.after {
            None => Trigger::Opened,
            Some(after) => {
                let count = after.count.unwrap_or(1);
                match (after.sent, after.received) {
                    (Some(pattern), None) => Trigger::Sent(pattern, count),
                    (None, Some(pattern)) => Trigger::Received(pattern, count),
                    _ => return Err("after must have one of sent and received"),
                }
            }
        };
        let close = fields.close.map(|close| {
            let code = close.code.unwrap_or(super::outbox::NORMAL);
            Action::Close(code, close.reason)
        });
        let error = fields.error.map(|error| {
            Action::Error(SocketError {
                kind: error.kind.unwrap_or_else(|| "server_error".to_owned()),
                code: error.code,
                message: error.message,
                param: error.param,
                event_id: None,
            })
        });
        let delay = Some(fields.delay_ms).filter(|delay| !delay.is_zero());
        let actions = [
            close,
            fields.reset.then_some(Action::Reset),
            error,
            fields.silence.then_some(Action::Silence),
            delay.map(Action::Delay),
            fields.send.map(Action::Text),
            fields
                .send_base64
                .map(|Base64(bytes)| Action::Binary(bytes)),
        ];
        let mut actions = actions.into_iter().flatten();
        match (actions.next(), actions.next()) {
            (Some(action), None) => Ok(Self { after, action }),
            _ => Err("must have one of close, reset, error, silence, delay_ms, send, send_base64"),
        }
    }
}
