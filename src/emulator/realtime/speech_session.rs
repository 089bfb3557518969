//! A session with a model that speaks text as it is written.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::audio_format::{RATES, SpeechEncoding, SpeechFormat, resample};
use super::conversation_session::SessionContext;
use super::dialects::Dialect;
use super::response::{Response, ResponseParts, TextForm, UsageCounts};
use super::response_steps::{StepInputs, steps};
use super::sentences::take_sentences;
use super::session_config::invalid;
use crate::emulator::speech_synthesis::{RATE, synthesize};
use crate::emulator::usage::characters;
use crate::emulator::websocket::frame_kind::frame_kind;
use crate::emulator::websocket::outbox::{NORMAL, Outbox, new_id};
use crate::emulator::websocket::session::{SocketError, SocketSession};
use crate::emulator::websocket::socket_rule::Finish;

/// The longest text that waits, in bytes: the documented 200,000 characters, in UTF-8.
const MAX_TEXT: usize = 600_000;
/// The most characters of one response; longer text is spoken by several.
const RESPONSE_CHARACTERS: usize = 200;
/// A session.
pub(in crate::emulator) struct SpeechSession {
    dialect: &'static Dialect,
    context: SessionContext,
    fields: Map<String, Value>,
    format: SpeechFormat,
    /// Text that was appended and not committed.
    text: String,
    /// Text that waits to be spoken.
    committed: String,
    response: Option<Response>,
    has_started: bool,
    is_finishing: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientEvent {
    #[serde(rename = "type")]
    kind: String,
    event_id: Option<String>,
    session: Map<String, Value>,
    text: String,
}

impl SpeechSession {
    /// A session with a model.
    pub(in crate::emulator) fn new(
        dialect: &'static Dialect,
        model: &str,
        context: SessionContext,
    ) -> Self {
        // A test parses all of them.
        let fields = serde_json::from_str(dialect.session);
        let mut fields: Map<String, Value> = fields.unwrap_or_default();
        fields.insert("model".into(), json!(model));
        fields.insert("id".into(), json!(new_id("sess")));
        Self {
            dialect,
            context,
            fields,
            format: SpeechFormat {
                encoding: SpeechEncoding::Pcm,
                rate: RATE,
            },
            text: String::new(),
            committed: String::new(),
            response: None,
            has_started: false,
            is_finishing: false,
        }
    }

    fn handle(&mut self, event: ClientEvent, out: &mut Outbox) -> Result<(), SocketError> {
        match event.kind.as_str() {
            "session.update" => self.update(&event.session, out),
            "session.finish" => self.finish(),
            "input_text_buffer.append" => self.append(&event.text),
            "input_text_buffer.commit" => self.commit(out),
            "input_text_buffer.clear" => {
                self.text.clear();
                out.event("input_text_buffer.cleared", json!({}));
                Ok(())
            }
            kind => Err(invalid(format!("Invalid event type: {kind}"), "type")),
        }
    }

    fn update(&mut self, patch: &Map<String, Value>, out: &mut Outbox) -> Result<(), SocketError> {
        if self.has_started || self.is_finishing {
            let message = "Session update error: session already started or finished or failed.";
            return Err(invalid(message, "session"));
        }
        let mut fields = self.fields.clone();
        let given = patch.iter().filter(|(_, value)| !value.is_null());
        fields.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("voice").is_empty() {
            return Err(invalid(
                "Invalid voice: it must not be empty.",
                "session.voice",
            ));
        }
        if !["server_commit", "commit"].contains(&text("mode")) {
            return Err(invalid(
                format!("Invalid mode: '{}'", text("mode")),
                "session.mode",
            ));
        }
        let name = text("response_format");
        let encoding = SpeechEncoding::of(name).map_err(|why| {
            let message = format!("Invalid response_format: '{name}': {why}.");
            invalid(message, "session.response_format")
        })?;
        let given = fields.get("sample_rate").and_then(Value::as_u64);
        let rate = given.and_then(|rate| u32::try_from(rate).ok());
        let rate = rate.filter(|rate| RATES.contains(rate)).ok_or_else(|| {
            invalid(
                "Invalid sample_rate: must be from 8000 to 48000.",
                "session.sample_rate",
            )
        })?;
        self.format = SpeechFormat { encoding, rate };
        self.fields = fields;
        out.event("session.updated", json!({"session": self.fields}));
        Ok(())
    }

    fn field(&self, name: &str) -> &str {
        let text = self.fields.get(name).and_then(Value::as_str);
        text.unwrap_or_default()
    }

    fn append(&mut self, text: &str) -> Result<(), SocketError> {
        if self.text.len() + self.committed.len() + text.len() > MAX_TEXT {
            return Err(invalid("The text is too long.", "text"));
        }
        self.has_started = true;
        self.text.push_str(text);
        if self.field("mode") == "server_commit" {
            self.committed.push_str(&take_sentences(&mut self.text));
        }
        Ok(())
    }

    fn commit(&mut self, out: &mut Outbox) -> Result<(), SocketError> {
        if self.text.is_empty() {
            let message = "Error committing input text buffer: buffer is empty.";
            return Err(invalid(message, "input_text_buffer.commit"));
        }
        self.committed.push_str(&std::mem::take(&mut self.text));
        let fields = json!({"item_id": new_id("item")});
        out.event("input_text_buffer.committed", fields);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SocketError> {
        match self.finish_form() {
            Finish::Refuse => Err(invalid("Invalid event type: session.finish", "type")),
            Finish::Ignore => Ok(()),
            Finish::Acknowledge | Finish::Close => {
                // What was not committed is spoken too.
                self.committed.push_str(&std::mem::take(&mut self.text));
                self.is_finishing = true;
                Ok(())
            }
        }
    }

    fn finish_form(&self) -> Finish {
        self.context.rule.finish.unwrap_or(self.dialect.finish)
    }

    /// Speaks what waits, and ends the session after all of it.
    fn settle(&mut self, out: &mut Outbox) {
        loop {
            match &self.response {
                Some(response) if !response.is_over() => return,
                Some(_) => self.response = None,
                None if self.committed.is_empty() => break,
                None => self.speak(out),
            }
        }
        if self.is_finishing {
            if self.finish_form() == Finish::Acknowledge {
                out.event("session.finished", json!({}));
            }
            out.close(NORMAL, "");
        }
    }

    fn speak(&mut self, out: &mut Outbox) {
        let end = self.committed.char_indices().nth(RESPONSE_CHARACTERS);
        let rest = end.map(|(end, _)| self.committed.split_off(end));
        let text = std::mem::replace(&mut self.committed, rest.unwrap_or_default());
        let id = new_id("resp");
        let samples = resample(synthesize(&text, self.field("voice")), self.format.rate);
        let (steps, _) = steps(&StepInputs {
            response_id: &id,
            text: std::slice::from_ref(&text),
            calls: &[],
            form: TextForm::Unsent,
            samples: Some(samples.len()),
            rate: self.format.rate,
            has_conversation: false,
        });
        let fields = json!({"id": id, "object": "realtime.response", "conversation_id": "",
            "status": "in_progress", "voice": self.field("voice"), "output": []});
        let parts = ResponseParts {
            id,
            fields: fields.as_object().cloned().unwrap_or_default(),
            usage: UsageCounts::Characters(characters(&text)),
            steps,
            samples,
            format: self.format,
            text_form: TextForm::Unsent,
            pace: self.context.pace,
        };
        self.response = Some(Response::start(parts, out));
    }
}

impl SocketSession for SpeechSession {
    fn open(&mut self, out: &mut Outbox) {
        out.event("session.created", json!({"session": self.fields}));
    }

    async fn text(&mut self, text: &str, out: &mut Outbox) {
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
        if let Err(mut error) = self.handle(event, out) {
            error.event_id = event_id;
            self.fail(&error, out);
        }
        self.settle(out);
    }

    async fn binary(&mut self, _: Bytes, out: &mut Outbox) {
        let message = "Invalid event: binary frames are not supported.";
        self.fail(&invalid(message, "event"), out);
    }

    fn due(&self) -> Option<Instant> {
        self.response.as_ref().map(Response::due)
    }

    fn advance(&mut self, out: &mut Outbox) {
        if let Some(response) = &mut self.response {
            response.advance(out);
        }
        self.settle(out);
    }
}
