//! Turns of a conversation: audio that arrives, speech that begins and ends in it, and commits.

use serde_json::json;

use super::conversation_session::{ConversationSession, OpenTurn};
use super::dialects::Task;
use super::hearing::{Heard, hear, undecoded};
use super::input_buffer::Turn;
use super::items::{spoken, spoken_value};
use super::response::Cancel;
use super::session_config::{TurnMode, invalid};
use super::transcription::Transcription;
use super::voice_activity::VadEvent;
use crate::emulator::templates::{Language, language};
use crate::emulator::websocket::outbox::{Outbox, new_id};
use crate::emulator::websocket::session::SocketError;

/// Shorter speech is no turn for `smart_turn`, and interrupts nothing, in milliseconds.
const SMART_TURN_MS: u64 = 400;
/// Time between tentative transcriptions of speech, in milliseconds.
const TENTATIVE_MS: u64 = 500;
/// Audio before the first detected step of speech that the detector may have taken already.
const DETECTION_MS: u64 = 100;

impl ConversationSession {
    /// Takes appended audio, and finds turns in it.
    pub(super) async fn append(
        &mut self,
        audio: &str,
        out: &mut Outbox,
    ) -> Result<(), SocketError> {
        let samples = self.buffer.decode(audio, self.config.settings.input)?;
        self.progress.has_input = true;
        if self.config.settings.turns == TurnMode::Manual {
            self.buffer.push(&samples);
            return Ok(());
        }
        let mut rest = samples.as_slice();
        while !rest.is_empty() {
            let (taken, event) = self.vad.take(rest, self.config.settings.vad);
            let (now, later) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            self.buffer.push(now);
            rest = later;
            match event {
                Some(VadEvent::Started(ms)) => self.speech_started(ms, out),
                Some(VadEvent::Stopped(ms)) => {
                    let silence_ms = self.config.settings.vad.silence_ms;
                    self.speech_stopped(ms, silence_ms, out).await;
                }
                None if self.turn.is_some() => self.speech_continues(out),
                None => {
                    let kept = self.config.settings.prefix_ms + DETECTION_MS;
                    self.buffer.keep_last(self.samples(kept));
                }
            }
        }
        Ok(())
    }

    /// The number of samples of a time.
    fn samples(&self, ms: u64) -> usize {
        let rate = u64::from(self.config.settings.input.rate);
        usize::try_from(ms * rate / 1000).unwrap_or(usize::MAX)
    }

    fn speech_started(&mut self, speech_ms: u64, out: &mut Outbox) {
        let start_ms = speech_ms.saturating_sub(self.config.settings.prefix_ms);
        let item_id = new_id("item");
        if self.config.settings.turns != TurnMode::Quiet {
            let fields = json!({"audio_start_ms": start_ms, "item_id": item_id});
            out.event("input_audio_buffer.speech_started", fields);
        }
        self.turn = Some(OpenTurn {
            item_id,
            start_ms,
            speech_ms,
            tentative_ms: speech_ms + TENTATIVE_MS,
        });
        if self.config.settings.turns != TurnMode::Smart {
            self.interrupt(out);
        }
    }

    fn interrupt(&mut self, out: &mut Outbox) {
        if !self.config.settings.interrupts || self.dialect.task != Task::Converse {
            return;
        }
        if let Some(response) = self.response.take() {
            self.progress.has_output |= response.has_sent_audio();
            response.cancel(Cancel::Speech, out);
        }
    }

    fn speech_continues(&mut self, out: &mut Outbox) {
        let position = self.vad.position_ms();
        let Some(turn) = &mut self.turn else {
            return;
        };
        let ms = position.saturating_sub(turn.speech_ms);
        let is_due = position >= turn.tentative_ms && self.config.settings.transcribes;
        let turn_id = turn.item_id.clone();
        if is_due {
            turn.tentative_ms += TENTATIVE_MS;
            let tenths = ms / 100;
            let (whole, tenth) = (tenths / 10, tenths % 10);
            let text = match self.language() {
                Language::Chinese => format!("{whole}.{tenth} 秒"),
                Language::English => format!("{whole}.{tenth} seconds"),
            };
            self.transcription(&turn_id).tentative(&text, out);
        }
        if self.config.settings.turns == TurnMode::Smart && ms >= SMART_TURN_MS {
            self.interrupt(out);
        }
    }

    /// Ends the open turn, after this much silence.
    pub(super) async fn speech_stopped(&mut self, end_ms: u64, silence_ms: u64, out: &mut Outbox) {
        let Some(turn) = self.turn.take() else {
            return;
        };
        let mode = self.config.settings.turns;
        let taken = self.samples(self.vad.position_ms().saturating_sub(turn.start_ms));
        let mut audio = self.buffer.take_last(taken);
        // The turn before may have taken a part of the padding.
        let missing = taken.saturating_sub(audio.samples.len());
        let before = self.samples(turn.speech_ms.saturating_sub(turn.start_ms));
        let before = before.saturating_sub(missing);
        audio.padding = (before, self.samples(silence_ms));
        let speech_ms = end_ms.saturating_sub(silence_ms + turn.speech_ms);
        let mut fields = json!({"audio_end_ms": end_ms, "item_id": turn.item_id});
        if mode == TurnMode::Smart && speech_ms < SMART_TURN_MS {
            let heard = self.hear(&audio).await;
            let transcription = self.transcription(&turn.item_id);
            transcription.ambient(&heard.transcript, out);
            if let Some(fields) = fields.as_object_mut() {
                fields.insert("reason".into(), json!("turn_invalid"));
            }
            out.event("input_audio_buffer.speech_stopped", fields);
            transcription.ambient_complete(&heard.transcript, out);
            return;
        }
        if mode != TurnMode::Quiet {
            out.event("input_audio_buffer.speech_stopped", fields);
        }
        self.commit_turn(turn.item_id, audio, out).await;
        let answers = self.config.settings.creates_responses;
        self.is_response_pending |= answers && self.dialect.task != Task::Transcribe;
        self.settle(out);
    }

    /// The client ends a turn.
    pub(super) async fn commit(&mut self, out: &mut Outbox) -> Result<(), SocketError> {
        let audio = self.buffer.take();
        if audio.is_empty() {
            return Err(SocketError {
                code: "input_audio_buffer_commit_empty".to_owned(),
                ..invalid(
                    "Error committing input audio buffer: buffer is empty.",
                    "input_audio_buffer.commit",
                )
            });
        }
        self.vad.stop();
        let turn = self.turn.take();
        let item_id = turn.map_or_else(|| new_id("item"), |turn| turn.item_id);
        self.commit_turn(item_id, audio, out).await;
        self.is_response_pending |= self.dialect.task == Task::Translate;
        self.settle(out);
        Ok(())
    }

    /// The client discards what it has appended.
    pub(super) fn clear(&mut self, out: &mut Outbox) {
        self.buffer.clear();
        self.vad.stop();
        self.turn = None;
        out.event("input_audio_buffer.cleared", json!({}));
    }

    async fn commit_turn(&mut self, item_id: String, audio: Turn, out: &mut Outbox) {
        let settings = &self.config.settings;
        let is_manual = settings.turns == TurnMode::Manual;
        let transcribes = settings.transcribes && (!is_manual || self.dialect.transcribes_commits);
        if settings.turns != TurnMode::Quiet {
            out.event("input_audio_buffer.committed", json!({"item_id": item_id}));
            let item = spoken_value(&item_id);
            out.event("conversation.item.created", json!({"item": item}));
        }
        let heard = self.hear(&audio).await;
        if transcribes {
            let transcription = self.transcription(&item_id);
            match &self.context.rule.transcription_error {
                Some(error) => transcription.fail(&error.code, &error.message, out),
                None => transcription.complete(&heard.transcript, heard.seconds, out),
            }
        }
        self.items.add(spoken(item_id, heard, audio.images), None);
    }

    /// What is heard in a turn, unless a script says it.
    async fn hear(&mut self, turn: &Turn) -> Heard {
        let rate = self.config.settings.input.rate;
        let scripted = &self.context.rule.transcripts;
        let scripted = scripted.get(self.turns).or(scripted.last()).cloned();
        self.turns += 1;
        // All of the turn counts as input, also what is no speech.
        let samples = u32::try_from(turn.samples.len()).map_or(0.0, f64::from);
        let seconds = samples / f64::from(rate.max(1));
        if let Some(transcript) = scripted {
            return Heard {
                seconds,
                transcript,
            };
        }
        if turn.samples.is_empty() {
            return undecoded(turn.compressed, self.language());
        }
        let permits = &self.context.permits;
        let heard = hear(permits, turn.speech().to_vec(), rate, self.language()).await;
        Heard { seconds, ..heard }
    }

    fn transcription<'a>(&'a self, item_id: &'a str) -> Transcription<'a> {
        Transcription {
            dialect: self.dialect,
            item_id,
            language: self.config.settings.language.as_deref(),
        }
    }

    /// The language of transcripts: as it is set, or that of the instructions.
    fn language(&self) -> Language {
        let settings = &self.config.settings;
        match (settings.language.as_deref(), self.dialect.task) {
            (Some("zh"), _) | (None, Task::Transcribe | Task::Translate) => Language::Chinese,
            (Some(_), _) => Language::English,
            (None, Task::Converse | Task::Speak) => language(&settings.instructions),
        }
    }
}
