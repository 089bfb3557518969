//! What DashScope reports, as the state of a session takes it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::chat::live_event::{
    LivePiece, ResponseStatus, UpstreamError, UpstreamEvent, UpstreamResponse,
};
use crate::upstream::{EventId, live_error};

use super::command::Command;
use super::event::{LiveEvent, ResponseCompleted, SessionWarning};
use super::responses::Outcome;
use super::session::{Effects, End, Session};

impl Session {
    /// What DashScope reports.
    pub(super) fn report(&mut self, event: UpstreamEvent, now: Instant) -> Effects {
        let mut effects = Effects::default();
        match event {
            UpstreamEvent::SessionUpdated(session) => {
                effects.events.push(LiveEvent::Updated(session.fields));
            }
            UpstreamEvent::SessionFinished => effects.end = Some(End::Done),
            UpstreamEvent::SpeechStarted(at) => {
                self.turn.started();
                self.idle.active(now);
                effects.events.push(LiveEvent::SpeechStarted(at));
            }
            UpstreamEvent::SpeechStopped(at) => {
                let is_answered = at.reason.is_empty() && self.answers_turns();
                self.turn.stopped(is_answered, now);
                self.responses.request(now);
                self.idle.active(now);
                effects.events.push(LiveEvent::SpeechStopped(at));
            }
            UpstreamEvent::Committed { item_id } => {
                self.turn.has_audio = false;
                effects.events.push(LiveEvent::Committed { item_id });
            }
            UpstreamEvent::Transcript { is_ambient, part } => {
                if let Some(transcript) = self.transcripts.add(part) {
                    if transcript.is_final && !is_ambient {
                        self.history.add(true, &transcript.text);
                    }
                    effects.events.push(LiveEvent::Transcript {
                        is_ambient,
                        transcript,
                    });
                }
            }
            UpstreamEvent::TranscriptFailed {
                item_id,
                code,
                message,
            } => {
                self.transcripts.forget(&item_id);
                effects.warn(SessionWarning {
                    code: "TRANSCRIPTION_FAILED".to_owned(),
                    message: format!("{code}: {message}"),
                    field: item_id,
                    ..SessionWarning::default()
                });
            }
            UpstreamEvent::Error(error) => self.refused(&error, &mut effects),
            UpstreamEvent::Unknown { kind, event } => effects.warn(SessionWarning {
                code: "UNKNOWN_EVENT".to_owned(),
                message: format!("DashScope sent an event of the unknown type `{kind}`"),
                extra: event,
                ..SessionWarning::default()
            }),
            UpstreamEvent::SessionCreated(_)
            | UpstreamEvent::ItemCreated { .. }
            | UpstreamEvent::Ignored => {}
            event @ (UpstreamEvent::ResponseCreated { .. }
            | UpstreamEvent::Delta(_)
            | UpstreamEvent::ItemDone { .. }
            | UpstreamEvent::ResponseDone(_)) => self.response(event, now, &mut effects),
        }
        if self.finish.is_asked() {
            self.finish.asked(now);
        }
        self.check_finish(now, &mut effects);
        effects
    }

    fn response(&mut self, event: UpstreamEvent, now: Instant, effects: &mut Effects) {
        self.idle.active(now);
        let outcome = match event {
            UpstreamEvent::ResponseCreated { response_id } => {
                self.turn.awaited = None;
                let outcome = self.responses.created(&response_id, now);
                if std::mem::take(&mut self.turn.cancel_awaited) {
                    self.responses.cancel(now);
                    effects.commands.push((0, Command::CancelResponse));
                }
                outcome
            }
            UpstreamEvent::Delta(delta) => {
                self.turn.awaited = None;
                self.responses.delta(delta, now)
            }
            UpstreamEvent::ItemDone { response_id, .. } => {
                self.responses.item_done(&response_id, now);
                Outcome::default()
            }
            UpstreamEvent::ResponseDone(response) => {
                self.turn.awaited = None;
                self.responses.done(response, now)
            }
            _ => Outcome::default(),
        };
        self.pass_on(outcome, effects);
    }

    /// Passes on the events of a response, and counts them.
    pub(super) fn pass_on(&mut self, outcome: Outcome, effects: &mut Effects) {
        for event in &outcome.events {
            match event {
                LiveEvent::Delta { piece, .. } => match piece {
                    LivePiece::Audio(bytes) => {
                        let length = u64::try_from(bytes.len()).unwrap_or_default();
                        self.totals.output_bytes += length;
                    }
                    LivePiece::Text(text) | LivePiece::Transcript(text) => {
                        self.history.answer(text);
                    }
                    LivePiece::ToolCall(_) => {}
                },
                LiveEvent::ResponseCompleted(end) => self.count(end, effects),
                _ => {}
            }
        }
        effects.events.extend(outcome.events);
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
        effects.usage.push(Box::new(end.clone()));
    }

    fn count_late(&mut self, late: UpstreamResponse, effects: &mut Effects) {
        if let Some(usage) = late.usage {
            self.totals.add(&usage);
            effects.usage.push(Box::new(ResponseCompleted {
                response_id: late.id.into(),
                usage: Some(usage),
                ..ResponseCompleted::default()
            }));
        }
    }

    /// DashScope refused something, or ends the session.
    fn refused(&mut self, refusal: &UpstreamError, effects: &mut Effects) {
        let error = live_error(refusal);
        if !refusal.is_survivable() {
            effects.end = Some(End::Failed(error));
            return;
        }
        if self.finish.is_asked() {
            // A model that does not know `session.finish`.
            effects.end = Some(End::Done);
            return;
        }
        if refusal.param == "response.create" || refusal.message.contains("response") {
            self.turn.awaited = None;
        }
        let refused = EventId::parse(&refusal.event_id);
        let sent = self.sent.iter();
        let mut sent = sent.filter(|(id, _)| Some(*id) == refused);
        effects.warn(SessionWarning {
            reason: Some(error.reason()),
            code: refusal.code.clone(),
            message: refusal.message.clone(),
            field: refusal.param.clone(),
            refused_message: sent.next().map_or(0, |(_, position)| *position),
            ..SessionWarning::default()
        });
    }
}
