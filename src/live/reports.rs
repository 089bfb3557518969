//! What DashScope reports, as the state of a session takes it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::chat::live_event::{
    LivePiece, ResponseStatus, SpeechBoundary, TranscriptPart, UpstreamDelta, UpstreamError,
    UpstreamEvent, UpstreamResponse,
};
use crate::chat::live_session::LiveTask;
use crate::chat::usage::Usage;
use crate::error::{Error, Reason, Sent};
use crate::upstream::{EventId, live_error};

use super::command::Command;
use super::config::{CANCEL_GRACE, SHORT_CANCEL_GRACE};
use super::division::{bounded, divided};
use super::event::{LiveEvent, ResponseCompleted, SessionWarning};
use super::responses::Outcome;
use super::session::{Effects, End, SentKind, Session};

/// The event that asks DashScope to end a session.
const FINISH: &str = "session.finish";

/// The position of the setup in the caller's stream.
const SETUP: u32 = 1;

impl Session {
    /// What DashScope reports.
    pub(super) fn report(&mut self, event: UpstreamEvent, now: Instant) -> Effects {
        let mut effects = Effects::default();
        match event {
            // SynthesizeLive has no such event.
            UpstreamEvent::SessionUpdated(_) if self.changes().is_none() => {}
            UpstreamEvent::SessionUpdated(session) => {
                let session = bounded(session.fields);
                effects.events.push(LiveEvent::Updated(session));
            }
            UpstreamEvent::SessionFinished => effects.end = Some(self.finished(now)),
            UpstreamEvent::SpeechStarted(at) => self.speech_started(at, now, &mut effects),
            UpstreamEvent::SpeechStopped(at) => self.speech_stopped(at, now, &mut effects),
            UpstreamEvent::Committed { item_id } => {
                self.turn.has_audio = false;
                self.history.reserve(&item_id);
                self.store_speech(&item_id);
                effects.events.push(LiveEvent::Committed { item_id });
            }
            UpstreamEvent::Transcript {
                is_ambient,
                part,
                usage,
            } => {
                self.idle.active(now);
                if let Some(usage) = usage {
                    self.count_usage(*usage, &mut effects);
                }
                self.transcribed(is_ambient, part, &mut effects);
            }
            UpstreamEvent::TranscriptFailed {
                item_id,
                code,
                message,
            } => {
                self.untranscribed(&item_id);
                effects.warn(no_transcript(item_id, &code, &message));
            }
            UpstreamEvent::Error(error) => self.refused(&error, now, &mut effects),
            UpstreamEvent::Unknown { kind, event } => effects.warn(SessionWarning {
                code: "UNKNOWN_EVENT".to_owned(),
                message: format!("DashScope sent an event of the unknown type `{kind}`"),
                extra: bounded(event),
                ..SessionWarning::default()
            }),
            UpstreamEvent::SessionCreated(_)
            | UpstreamEvent::ItemCreated { .. }
            | UpstreamEvent::Ignored => {}
            UpstreamEvent::ResponseCreated { response_id } => {
                self.response_created(&response_id, now, &mut effects);
            }
            UpstreamEvent::Delta(delta) => self.delta(delta, now, &mut effects),
            UpstreamEvent::ItemDone {
                response_id, call, ..
            } => {
                if let Some(call) = call {
                    self.delta(*call, now, &mut effects);
                }
                self.item_done(&response_id, now);
            }
            UpstreamEvent::ResponseDone(mut response) => {
                for call in std::mem::take(&mut response.calls) {
                    self.delta(call, now, &mut effects);
                }
                let outcome = self.responses.done(response, now);
                self.responded(outcome, now, &mut effects);
            }
        }
        if self.finish.is_asked() {
            self.asked(now);
        }
        self.check_finish(now, &mut effects);
        effects
    }

    /// A part of a transcript.
    fn transcribed(&mut self, is_ambient: bool, part: TranscriptPart, effects: &mut Effects) {
        if let Some(transcript) = self.transcripts.add(part) {
            if transcript.is_final && !is_ambient {
                let (item_id, text) = (&transcript.item_id, &transcript.text);
                self.history.transcribed(item_id, text);
                if let Some(stored) = &mut self.stored {
                    stored.transcribed(item_id, Some(text));
                }
            }
            effects.events.push(LiveEvent::Transcript {
                is_ambient,
                transcript,
            });
        }
    }

    /// There is no transcript.
    fn untranscribed(&mut self, item_id: &str) {
        self.transcripts.forget(item_id);
        if let Some(stored) = &mut self.stored {
            stored.transcribed(item_id, None);
        }
    }

    /// A delta of a response.
    fn delta(&mut self, delta: UpstreamDelta, now: Instant, effects: &mut Effects) {
        let outcome = self.responses.delta(delta, now);
        self.responded(outcome, now, effects);
    }

    fn speech_started(&mut self, at: SpeechBoundary, now: Instant, effects: &mut Effects) {
        self.turn.started();
        self.idle.active(now);
        if self.interrupts(false) {
            effects.withdraw = self.responses.interrupt(now);
        }
        effects.events.push(LiveEvent::SpeechStarted(at));
    }

    fn speech_stopped(&mut self, at: SpeechBoundary, now: Instant, effects: &mut Effects) {
        let is_turn = at.reason.is_empty();
        let is_answered = is_turn && self.answers_turns();
        self.turn.stopped(is_answered, now);
        self.heard_speech(at.at, is_answered, now);
        if is_answered {
            self.responses.request(now);
        }
        if is_turn && self.interrupts(true) {
            effects.withdraw = self.responses.interrupt(now);
        }
        self.idle.active(now);
        effects.events.push(LiveEvent::SpeechStopped(at));
    }

    /// A response has started.
    fn response_created(&mut self, id: &str, now: Instant, effects: &mut Effects) {
        self.turn.answered();
        let outcome = self.responses.created(id, now);
        if std::mem::take(&mut self.turn.cancel_awaited)
            && let Some((_, true)) = self.responses.cancel(now)
        {
            effects.commands.push((0, Command::CancelResponse));
        }
        self.responded(outcome, now, effects);
    }

    /// An item of a response is complete.
    fn item_done(&mut self, response_id: &str, now: Instant) {
        let grace = match self.profile.completes_cancelled {
            true => CANCEL_GRACE,
            false => SHORT_CANCEL_GRACE,
        };
        self.idle.active(now);
        self.responses.item_done(response_id, grace, now);
    }

    fn responded(&mut self, outcome: Outcome, now: Instant, effects: &mut Effects) {
        self.idle.active(now);
        let has_started = |event: &LiveEvent| matches!(event, LiveEvent::ResponseStarted { .. });
        if outcome.events.iter().any(has_started) {
            // Its start may not have been reported.
            self.turn.answered();
        }
        self.pass_on(outcome, now, effects);
    }

    /// Passes on the events of a response, and counts them.
    pub(super) fn pass_on(&mut self, outcome: Outcome, now: Instant, effects: &mut Effects) {
        let events = self.resampling.output(outcome.events);
        let mut events = events.unwrap_or_else(|error| {
            effects.end = Some(End::Failed(error));
            Vec::new()
        });
        for event in &mut events {
            self.store_response(event, now);
            if let LiveEvent::Delta { piece, item_id, .. } = event {
                match piece {
                    LivePiece::Audio(bytes) => {
                        let length = u64::try_from(bytes.len()).unwrap_or_default();
                        self.totals.output_bytes += length;
                    }
                    LivePiece::Text(text) | LivePiece::Transcript(text) => {
                        self.history.answer(item_id, text);
                    }
                    LivePiece::ToolCall(_) => {}
                }
            } else if let LiveEvent::ResponseCompleted(end) = event {
                self.count(end, effects);
            }
        }
        effects.events.extend(divided(events));
        if let Some(late) = outcome.late {
            self.count_late(*late, effects);
        }
    }

    fn count(&mut self, end: &ResponseCompleted, effects: &mut Effects) {
        self.history.answered();
        self.totals.responses = self.totals.responses.saturating_add(1);
        if end.status == ResponseStatus::Cancelled {
            self.totals.cancelled = self.totals.cancelled.saturating_add(1);
            effects.withdraw = Some(Arc::clone(&end.response_id));
        }
        if let Some(usage) = &end.usage {
            self.totals.add(usage);
        }
        effects.usage.push(end.clone());
    }

    fn count_late(&mut self, late: UpstreamResponse, effects: &mut Effects) {
        if let Some(usage) = late.usage {
            self.count_usage(usage, effects);
        }
    }

    /// Counts usage that is not reported at the end of a response that the caller sees.
    fn count_usage(&mut self, usage: Usage, effects: &mut Effects) {
        self.totals.add(&usage);
        effects.usage.push(ResponseCompleted {
            usage: Some(usage),
            ..ResponseCompleted::default()
        });
    }

    /// DashScope has finished the session, which is right only if it was asked to.
    fn finished(&mut self, now: Instant) -> End {
        if self.finish.is_asked() {
            return End::Done;
        }
        let message = "DashScope finished the live session before its caller did";
        let error = Error::new(Reason::StreamTruncated, message).with_sent(Sent::Begun);
        self.disconnected(error, now)
    }

    /// DashScope refused this client event. A configuration that it did not apply is not sent to
    /// the next connection, and turns go on as before.
    fn revert_update(&mut self, refused: EventId) {
        let before = self.before_update.take_if(|(id, _)| *id == refused);
        if let (Some((_, before)), LiveTask::Converse(setup)) = (before, &mut self.setup.task) {
            if let Some(stored) = &mut self.stored {
                stored.revert(before.instructions.as_ref());
            }
            setup.changes = *before;
        }
    }

    /// DashScope refused something, or ends the session.
    fn refused(&mut self, refusal: &UpstreamError, now: Instant, effects: &mut Effects) {
        let error = live_error(refusal);
        if !refusal.is_survivable() {
            effects.end = Some(self.disconnected(error, now));
            return;
        }
        let id = EventId::parse(&refusal.event_id);
        let sent = self.sent.iter().find(|sent| Some(sent.id) == id).copied();
        let is_of_setup = match sent {
            Some(sent) => sent.position == SETUP,
            None => refusal.param.starts_with("session.") && refusal.param != FINISH,
        };
        if is_of_setup && self.changes().is_none() {
            // All of it was refused: the audio would have another format or voice.
            effects.end = Some(End::Failed(error));
            return;
        }
        if self.finish.is_asked() && sent.is_none() {
            // A model that does not know `session.finish`.
            effects.end = Some(End::Done);
            return;
        }
        if let Some(id) = id {
            self.revert_update(id);
        }
        let kind = sent.map_or_else(|| kind_of(refusal), |sent| sent.kind);
        match kind {
            SentKind::Create => {
                self.turn.unanswered();
                self.responses.unrequest();
                if let Some(stored) = &mut self.stored {
                    stored.unrequested();
                }
            }
            SentKind::Cancel if self.responses.is_cancelled() => {
                // It had ended by itself, which is what the caller wants.
                let end = self.responses.end(ResponseStatus::Cancelled);
                self.pass_on(end.into(), now, effects);
                return;
            }
            SentKind::Cancel => return,
            SentKind::Other => {}
        }
        effects.warn(SessionWarning {
            reason: Some(error.reason()),
            code: refusal.code.clone(),
            message: error.message().to_owned(),
            upstream_message: refusal.message.clone(),
            field: refusal.param.clone(),
            refused_message: sent.map_or(0, |sent| sent.position),
            ..SessionWarning::default()
        });
    }
}

fn no_transcript(item_id: String, code: &str, message: &str) -> SessionWarning {
    SessionWarning {
        code: "TRANSCRIPTION_FAILED".to_owned(),
        message: format!("DashScope could not transcribe the speech: {code}"),
        upstream_message: format!("{code}: {message}"),
        field: item_id,
        ..SessionWarning::default()
    }
}

/// What was refused, if DashScope does not report the event.
fn kind_of(refusal: &UpstreamError) -> SentKind {
    let message = refusal.message.to_ascii_lowercase();
    match refusal.param.as_str() {
        "response.create" => SentKind::Create,
        "response.cancel" => SentKind::Cancel,
        _ if message.starts_with("cannot create response") => SentKind::Create,
        _ if message.contains("no active response") => SentKind::Cancel,
        _ => SentKind::Other,
    }
}
