//! The events of a client that are not about audio: updates of the session, items and responses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::audio_format::{PcmReader, resample};
use super::conversation_session::{ClientEvent, ConversationSession};
use super::dialects::Task;
use super::items::{Content, created, generated};
use super::reply::{ReplyInputs, SpokenReply, reply, scripted};
use super::response::{Cancel, Response, ResponseParts, TextForm, TokenCounts, UsageCounts};
use super::response_steps::{StepInputs, steps};
use super::session_config::{TurnMode, invalid, speaks};
use super::voice_activity::VoiceActivity;
use crate::emulator::speech_synthesis::synthesize;
use crate::emulator::usage::{count, whole};
use crate::emulator::websocket::outbox::{Outbox, new_id};
use crate::emulator::websocket::session::SocketError;

/// The most characters that are spoken: longer audio adds nothing to tests.
const SPOKEN_CHARACTERS: usize = 120;
/// The most voiceprints, as documented.
const MAX_VOICEPRINTS: usize = 5;
/// Pixels of an image for each token.
const TOKEN_PIXELS: usize = 32 * 32;

impl ConversationSession {
    /// Changes the session.
    pub(super) fn update(
        &mut self,
        patch: &Map<String, Value>,
        out: &mut Outbox,
    ) -> Result<(), SocketError> {
        let voiceprints = patch.get("turn_detection");
        let voiceprints = voiceprints.and_then(|detection| {
            let urls = detection.get("voiceprint_audio_urls")?.as_array()?;
            Some(urls.clone()).filter(|urls| !urls.is_empty())
        });
        let voiceprint_id = new_id("item");
        if let Some(urls) = &voiceprints {
            let is_url = |url: &Value| url.as_str().is_some_and(|url| url.starts_with("http"));
            let reason = if self.config.is_updated() {
                "voiceprint_audio_urls can only be set in the first session.update"
            } else if urls.len() > MAX_VOICEPRINTS {
                "voiceprint_audio_urls must be at most 5 URLs"
            } else if !urls.iter().all(is_url) {
                "voiceprint_audio_urls must be public URLs"
            } else {
                ""
            };
            if !reason.is_empty() {
                let fields = json!({"item_id": voiceprint_id, "reason": reason});
                out.event("voiceprint_audio_list.failed", fields);
                return Ok(());
            }
        }
        let (turns, rate) = (self.config.settings.turns, self.config.settings.input.rate);
        self.config.update(patch, self.progress)?;
        let settings = &self.config.settings;
        if settings.input.rate != rate {
            self.vad = VoiceActivity::new(settings.input.rate);
            self.turn = None;
        }
        if settings.turns != turns && settings.turns == TurnMode::Manual {
            self.vad.stop();
            self.turn = None;
        }
        let progress = json!({"item_id": voiceprint_id});
        if voiceprints.is_some() {
            out.event("voiceprint_audio_list.in_progress", progress.clone());
        }
        out.event("session.updated", json!({"session": self.config.fields}));
        if voiceprints.is_some() {
            out.event("voiceprint_audio_list.completed", progress);
        }
        Ok(())
    }

    /// Adds an item of the client.
    pub(super) fn create_item(
        &mut self,
        event: &ClientEvent,
        out: &mut Outbox,
    ) -> Result<(), SocketError> {
        let item = created(&event.item, self.dialect.keeps_item_ids)?;
        let previous = event.previous_item_id.as_deref();
        let mut fields = json!({"item": item.value});
        if let (Some(previous), Some(fields)) = (previous, fields.as_object_mut()) {
            fields.insert("previous_item_id".into(), json!(previous));
        }
        out.event("conversation.item.created", fields);
        self.items.add(item, previous);
        Ok(())
    }

    /// The client requests a response.
    pub(super) fn create_response(
        &mut self,
        options: Option<Map<String, Value>>,
        out: &mut Outbox,
    ) -> Result<(), SocketError> {
        let refused = |message: &str| Err(invalid(message, "response.create"));
        if self.response.is_some() {
            return refused("Cannot create response while another response is in progress.");
        }
        if self.turn.is_some() {
            return refused("Cannot create response while user is speaking.");
        }
        let options = options.unwrap_or_default();
        let modalities = options.get("modalities").filter(|given| !given.is_null());
        let speaks = match modalities {
            Some(modalities) => speaks(modalities, "response.modalities")?,
            None => self.config.settings.speaks,
        };
        self.respond(&options, speaks, out);
        self.settle(out);
        Ok(())
    }

    /// The client cancels the running response.
    pub(super) fn cancel_response(&mut self, out: &mut Outbox) -> Result<(), SocketError> {
        let Some(response) = self.response.take() else {
            return Err(SocketError {
                code: "response_cancel_not_active".to_owned(),
                ..invalid("no active response", "response.cancel")
            });
        };
        let is_done = self.context.rule.done_after_cancel;
        let is_done = is_done.unwrap_or(self.dialect.done_after_cancel);
        self.progress.has_output |= response.has_sent_audio();
        response.cancel(Cancel::Client { is_done }, out);
        self.settle(out);
        Ok(())
    }

    /// Starts a response to what was not answered yet.
    pub(super) fn respond(&mut self, options: &Map<String, Value>, speaks: bool, out: &mut Outbox) {
        let id = new_id("resp");
        let reply = self.reply(options);
        let settings = &self.config.settings;
        let samples = speaks.then(|| self.samples_of(&reply));
        let form = match (self.dialect.task == Task::Translate, speaks) {
            (false, false) => TextForm::Text,
            (false, true) => TextForm::Transcript,
            (true, false) => TextForm::TextSnapshots,
            (true, true) => TextForm::TranscriptSnapshots,
        };
        let (steps, items) = steps(&StepInputs {
            response_id: &id,
            text: &reply.text,
            calls: &reply.calls,
            form,
            samples: samples.as_ref().map(Vec::len),
            rate: settings.output.rate,
            has_conversation: true,
        });
        let mut counts = self.counts();
        let calls = reply.calls.iter();
        counts.calls = calls
            .map(|call| count(&call.name) + count(&call.arguments.concat()))
            .sum();
        let parts = ResponseParts {
            fields: self.response_fields(&id, speaks),
            id,
            usage: UsageCounts::Tokens(counts),
            steps,
            samples: samples.unwrap_or_default(),
            format: settings.output,
            text_form: form,
            pace: self.context.pace,
        };
        let text = reply.text.concat();
        for item in items {
            self.items.add(generated(item, &text), None);
        }
        self.response = Some(Response::start(parts, out));
    }

    fn reply(&self, options: &Map<String, Value>) -> SpokenReply {
        if let Some(answer) = &self.context.answer {
            return scripted(answer);
        }
        let instructions = options.get("instructions").and_then(Value::as_str);
        let translation = self.config.fields.get("translation");
        let language = translation.and_then(|translation| translation.get("language"));
        let language = language.and_then(Value::as_str).unwrap_or("en");
        reply(&ReplyInputs {
            session: &self.config.fields,
            items: &self.items.unanswered(),
            instructions: instructions.unwrap_or(&self.config.settings.instructions),
            id: &uuid::Uuid::new_v4().to_string(),
            translates_to: (self.dialect.task == Task::Translate).then_some(language),
        })
    }

    fn samples_of(&self, reply: &SpokenReply) -> Vec<i16> {
        let settings = &self.config.settings;
        let samples = if reply.audio.is_empty() {
            let text: String = reply
                .text
                .concat()
                .chars()
                .take(SPOKEN_CHARACTERS)
                .collect();
            synthesize(&text, &settings.voice)
        } else {
            let mut reader = PcmReader::default();
            // Chunks of a script were decoded when it was parsed.
            let chunks = reply
                .audio
                .iter()
                .filter_map(|chunk| STANDARD.decode(chunk).ok());
            chunks.flat_map(|chunk| reader.samples(&chunk)).collect()
        };
        resample(samples, settings.output.rate)
    }

    fn response_fields(&self, id: &str, speaks: bool) -> Map<String, Value> {
        let modalities = match speaks {
            true => json!(["text", "audio"]),
            false => json!(["text"]),
        };
        let fields = json!({
            "id": id,
            "object": "realtime.response",
            "conversation_id": self.conversation_id,
            "status": "in_progress",
            "modalities": modalities,
            "voice": self.config.settings.voice,
            "output_audio_format": self.config.fields.get("output_audio_format"),
            "output": [],
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    /// The tokens of the conversation so far.
    fn counts(&self) -> TokenCounts {
        let mut counts = TokenCounts {
            text: count(&self.config.settings.instructions),
            audio_rate: self.dialect.audio_rate,
            ..TokenCounts::default()
        };
        for item in self.items.all() {
            match &item.content {
                Content::Text(text) | Content::ToolOutput(text) | Content::Answer(text) => {
                    counts.text += count(text);
                }
                Content::Spoken(heard, images) => {
                    counts.audio += whole(heard.seconds * f64::from(counts.audio_rate) / 10.0);
                    let tokens = |pixels: usize| pixels.div_ceil(TOKEN_PIXELS);
                    let images = images
                        .iter()
                        .map(|image| tokens(image.width.saturating_mul(image.height)));
                    counts.image += u64::try_from(images.sum::<usize>()).unwrap_or(0);
                }
            }
        }
        counts
    }
}
