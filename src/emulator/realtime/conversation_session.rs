//! A session with a model that converses, transcribes or translates: its state, and the events of
//! its client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::dialects::{Dialect, Task};
use super::input_buffer::InputBuffer;
use super::items::Items;
use super::response::{Pace, Response};
use super::session_config::{Progress, SessionConfig, invalid};
use super::voice_activity::VoiceActivity;
use crate::emulator::answer::Answer;
use crate::emulator::websocket::frame_kind::frame_kind;
use crate::emulator::websocket::outbox::{NORMAL, Outbox, new_id};
use crate::emulator::websocket::session::{SocketError, SocketSession};
use crate::emulator::websocket::socket_rule::{Finish, SocketRule};

/// How long a client may take to close the connection after `session.finished`. DashScope leaves
/// that to the client, and a client that does it must not find the connection closed.
const FINISHED_WAIT: Duration = Duration::from_secs(2);

/// What a session depends on besides its model.
#[derive(Clone, Debug)]
pub(in crate::emulator) struct SessionContext {
    /// Permits for the analysis of audio.
    pub(in crate::emulator) permits: Arc<Semaphore>,
    /// What a script changes.
    pub(in crate::emulator) rule: SocketRule,
    /// The answer of a script.
    pub(in crate::emulator) answer: Option<Answer>,
    /// When responses are sent.
    pub(in crate::emulator) pace: Pace,
}

/// Speech that has begun and not ended.
#[derive(Debug)]
pub(super) struct OpenTurn {
    /// The id of the item that it will be.
    pub(super) item_id: String,
    /// Where it begins, in milliseconds.
    pub(super) start_ms: u64,
    /// Where speech was detected first.
    pub(super) speech_ms: u64,
    /// When the next tentative transcription is due.
    pub(super) tentative_ms: u64,
}

/// A session.
pub(in crate::emulator) struct ConversationSession {
    pub(super) dialect: &'static Dialect,
    pub(super) context: SessionContext,
    pub(super) config: SessionConfig,
    pub(super) progress: Progress,
    pub(super) buffer: InputBuffer,
    pub(super) vad: VoiceActivity,
    pub(super) turn: Option<OpenTurn>,
    pub(super) turns: usize,
    pub(super) items: Items,
    pub(super) conversation_id: String,
    pub(super) response: Option<Response>,
    /// A turn that is answered after the running response.
    pub(super) is_response_pending: bool,
    pub(super) is_finishing: bool,
    /// When the connection is closed unless the client does it, once `session.finished` is sent.
    closes_at: Option<Instant>,
}

/// An event of the client.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClientEvent {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) session: Map<String, Value>,
    pub(super) audio: String,
    pub(super) image: String,
    pub(super) response: Option<Map<String, Value>>,
    pub(super) item: Value,
    pub(super) item_id: String,
    pub(super) previous_item_id: Option<String>,
}

impl ConversationSession {
    /// A session with a model.
    pub(in crate::emulator) fn new(
        dialect: &'static Dialect,
        model: &str,
        context: SessionContext,
    ) -> Self {
        let config = SessionConfig::new(dialect, model);
        Self {
            dialect,
            context,
            progress: Progress::default(),
            buffer: InputBuffer::default(),
            vad: VoiceActivity::new(config.settings.input.rate),
            config,
            turn: None,
            turns: 0,
            items: Items::default(),
            conversation_id: new_id("conv"),
            response: None,
            is_response_pending: false,
            is_finishing: false,
            closes_at: None,
        }
    }

    async fn handle(&mut self, event: ClientEvent, out: &mut Outbox) -> Result<(), SocketError> {
        let kind = event.kind.clone().unwrap_or_default();
        let converses = self.dialect.task == Task::Converse;
        match kind.as_str() {
            "session.update" => self.update(&event.session, out),
            "session.finish" => self.finish(out).await,
            "input_audio_buffer.append" => self.append(&event.audio, out).await,
            "input_audio_buffer.commit" => self.commit(out).await,
            "input_audio_buffer.clear" => {
                self.clear(out);
                Ok(())
            }
            "input_image_buffer.append" if self.dialect.has_images => {
                self.buffer.push_image(&event.image)
            }
            "response.create" if converses => self.create_response(event.response, out),
            "response.cancel" if converses => self.cancel_response(out),
            "conversation.item.create" if converses => self.create_item(&event, out),
            "conversation.item.retrieve" if converses => {
                let item = self.items.find(&event.item_id, "item_id")?;
                out.event("conversation.item.retrieved", json!({"item": item.value}));
                Ok(())
            }
            "conversation.item.delete" if converses => {
                self.items.find(&event.item_id, "item_id")?;
                self.items.remove(&event.item_id);
                out.event(
                    "conversation.item.deleted",
                    json!({"item_id": event.item_id}),
                );
                Ok(())
            }
            kind => Err(invalid(format!("Invalid event type: {kind}"), "type")),
        }
    }

    /// How `session.finish` is answered.
    fn finish_form(&self) -> Finish {
        self.context.rule.finish.unwrap_or(self.dialect.finish)
    }

    async fn finish(&mut self, out: &mut Outbox) -> Result<(), SocketError> {
        match self.finish_form() {
            Finish::Refuse => {
                return Err(invalid("Invalid event type: session.finish", "type"));
            }
            Finish::Ignore => return Ok(()),
            Finish::Acknowledge | Finish::Close => {}
        }
        self.is_finishing = true;
        // Speech that goes on is the last turn, and so is audio in which no turns are found.
        if self.dialect.task == Task::Transcribe && self.buffer.has_compressed() {
            self.commit(out).await?;
        } else if self.turn.is_some() {
            self.vad.stop();
            self.speech_stopped(self.vad.position_ms(), 0, out).await;
        }
        self.settle(out);
        Ok(())
    }

    /// Starts what waits for the end of a response, if there is no running response.
    pub(super) fn settle(&mut self, out: &mut Outbox) {
        loop {
            match &self.response {
                Some(response) if !response.is_over() => return,
                Some(response) => {
                    self.progress.has_output |= response.has_sent_audio();
                    self.response = None;
                }
                None if std::mem::take(&mut self.is_response_pending) => {
                    self.respond(&Map::new(), self.config.settings.speaks, out);
                }
                None => break,
            }
        }
        if !self.is_finishing {
            return;
        }
        if self.finish_form() == Finish::Acknowledge {
            out.event("session.finished", json!({}));
            self.closes_at = Some(Instant::now() + FINISHED_WAIT);
        } else {
            out.close(NORMAL, "");
        }
    }
}

impl SocketSession for ConversationSession {
    fn open(&mut self, out: &mut Outbox) {
        out.event("session.created", json!({"session": self.config.fields}));
    }

    async fn text(&mut self, text: &str, out: &mut Outbox) {
        if self.closes_at.is_some() {
            return;
        }
        let event: ClientEvent = match serde_json::from_str(text) {
            Ok(event) => event,
            Err(error) => {
                let error = SocketError {
                    event_id: frame_kind(text).1,
                    ..invalid(format!("Invalid event: {error}"), "event")
                };
                return self.fail(&error, out);
            }
        };
        let event_id = event.event_id.clone();
        if let Err(mut error) = self.handle(event, out).await {
            error.event_id = event_id;
            self.fail(&error, out);
        }
    }

    async fn binary(&mut self, _: Bytes, out: &mut Outbox) {
        if self.closes_at.is_some() {
            return;
        }
        let message = "Invalid event: binary frames are not supported.";
        self.fail(&invalid(message, "event"), out);
    }

    fn due(&self) -> Option<Instant> {
        let response = self.response.as_ref().map(Response::due);
        response.or(self.closes_at)
    }

    fn advance(&mut self, out: &mut Outbox) {
        if let Some(closes_at) = self.closes_at {
            if closes_at <= Instant::now() {
                out.close(NORMAL, "");
            }
            return;
        }
        if let Some(response) = &mut self.response {
            response.advance(out);
        }
        self.settle(out);
    }
}
