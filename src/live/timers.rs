//! The timers of a session: its end, idle time, stalls and DashScope's time limit.

use std::time::Duration;

use tokio::time::Instant;

use crate::chat::live_session::TurnDetection;
use crate::error::{Error, Reason, Sent};

use super::command::Command;
use super::config::ENDING_NOTICE;
use super::event::LiveEvent;
use super::idle::IdleStep;
use super::inputs::silence;
use super::reconnection::response_lost;
use super::session::{Effects, End, Session};
use super::totals;

/// How long speech that DashScope has not noticed is awaited, once the caller has finished.
const SPEECH_GRACE: Duration = Duration::from_secs(2);

/// How long the end of speech, or the response to it, is awaited, once the caller has finished.
const TURN_TIMEOUT: Duration = Duration::from_secs(15);

/// The maximum time for audio that DashScope may not have heard yet when the caller finishes.
const MAX_AHEAD: Duration = Duration::from_secs(60);

/// How long DashScope may take to confirm the end of a session.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// The silence after the last words of a caller that has finished, beyond the silence that ends a
/// turn.
const EXTRA_SILENCE: Duration = Duration::from_millis(1200);

/// The silence that ends a turn, unless the caller has configured another.
const TURN_SILENCE: Duration = Duration::from_millis(800);

/// The silence that keeps a session alive.
const KEEP_ALIVE_SILENCE: Duration = Duration::from_millis(100);

/// How often it is checked whether a turn has ended, once a new connection is due.
const OVERDUE_CHECK: Duration = Duration::from_secs(1);

/// A new connection is opened this long before DashScope ends the old one.
const RECONNECT_BEFORE: Duration = Duration::from_secs(30);

impl Session {
    /// The caller has no more input.
    pub(super) fn begin_finish(&mut self, now: Instant, effects: &mut Effects) {
        if self.finish.is_begun() {
            return;
        }
        self.finish.begun = Some(now);
        self.flush_input(effects);
        let mut appended = self.appended;
        for (_, command) in &effects.commands {
            if let Command::Audio(rest) = command {
                appended += u64::try_from(rest.len()).unwrap_or(0);
            }
        }
        self.finish.audio_end = totals::duration(appended, self.profile.input_rate);
        let mut until = now;
        if !self.profile.has_responses {
            // `session.finish` makes DashScope process what it has.
            let has_text = std::mem::take(&mut self.turn.has_audio) && self.changes().is_none();
            if has_text && self.profile.is_committed {
                effects.commands.push((0, Command::SynthesisCommit));
            }
        } else if self.detects_turns() && (self.turn.has_audio || self.turn.is_speaking) {
            let length = self.turn_silence() + EXTRA_SILENCE;
            self.append_silence(length, effects);
            until += SPEECH_GRACE;
        }
        self.finish.speech_until = Some(until);
        self.check_finish(now, effects);
    }

    /// The end of speech was reported at this position, after the caller had finished. The silence
    /// that ended it may be part of the position, or follow it. A response to it comes after all
    /// audio was heard; without one only the position is certain.
    pub(super) fn heard_speech(&mut self, at: Duration, is_answered: bool, now: Instant) {
        let silence = match is_answered {
            true => self.turn_silence(),
            false => Duration::ZERO,
        };
        self.finish.heard(at + silence, now);
    }

    fn turn_silence(&self) -> Duration {
        let detection = self
            .changes()
            .and_then(|changes| changes.turn_detection.as_ref());
        let configured = match detection {
            Some(TurnDetection::ServerVad(vad) | TurnDetection::SemanticVad(vad)) => {
                vad.silence_duration
            }
            Some(TurnDetection::Manual | TurnDetection::SmartTurn(_)) | None => None,
        };
        configured.unwrap_or(TURN_SILENCE)
    }

    fn append_silence(&mut self, length: Duration, effects: &mut Effects) {
        if !self.profile.input_is_pcm {
            return;
        }
        let mut left = totals::bytes(length, self.profile.input_rate);
        while left > 0 {
            let piece = silence(left);
            left = left.saturating_sub(piece.len().max(1));
            effects.commands.push((0, Command::Audio(piece)));
        }
    }

    /// Asks DashScope to end the session, once everything is answered.
    pub(super) fn check_finish(&mut self, now: Instant, effects: &mut Effects) {
        let Some(until) = self.finish.speech_until else {
            return;
        };
        if self.finish.is_asked() || effects.end.is_some() {
            return;
        }
        // Without responses, DashScope completes the last words when it is asked to finish.
        let is_answered = !self.profile.has_responses || self.turn.is_answered();
        if self.responses.is_running() || !is_answered {
            return;
        }
        // Speech that ended after the caller had finished is not awaited again.
        if now < until {
            return;
        }
        effects.finish = true;
        self.asked(now);
    }

    /// DashScope was asked to end the session, or has sent something since.
    pub(super) fn asked(&mut self, now: Instant) {
        let limit = match self.profile.has_responses {
            true => ACK_TIMEOUT,
            // The last words are still being processed.
            false => self.config.idle_timeout,
        };
        self.finish.asked(now, limit);
    }

    /// When something is due.
    pub(super) fn due(&self) -> Instant {
        let age = self.connected + self.config.max_age;
        let expiry = match (self.options.continue_after_limit, self.is_announced) {
            // Once it is overdue, the end of the turn is awaited.
            (true, _) => (age - RECONNECT_BEFORE.min(self.config.max_age / 2))
                .max(Instant::now() + OVERDUE_CHECK),
            (false, false) => age - ENDING_NOTICE.min(self.config.max_age / 2),
            // DashScope ends it; a little later the gateway does.
            (false, true) => age + ENDING_NOTICE,
        };
        let stalled = self
            .awaited_since()
            .map(|last| last + self.config.idle_timeout);
        let finish = &self.finish;
        [
            stalled,
            self.turn_expires(),
            self.responses.expires(),
            self.stored.as_ref().and_then(|stored| stored.due()),
            self.idle.due().filter(|_| self.is_quiet()),
            finish
                .speech_until
                .filter(|_| !finish.is_asked() && self.is_quiet()),
            finish.asked_until.filter(|_| self.is_quiet()),
        ]
        .into_iter()
        .flatten()
        .fold(expiry, Instant::min)
    }

    /// Whether nothing of the caller is unanswered, and no response is running.
    pub(super) fn is_quiet(&self) -> bool {
        !self.responses.is_running() && self.turn.is_answered()
    }

    /// When the end of speech, or the response to it, is no longer awaited, once the caller has
    /// finished. A response that it requested is awaited longer.
    fn turn_expires(&self) -> Option<Instant> {
        let begun = self.finish.begun?;
        let is_requested = self.turn.awaited.is_some() && self.turn.is_requested;
        // DashScope may still be hearing audio that was sent faster than it is spoken.
        let (spoken, _) = self.audio_times();
        let ahead = spoken.saturating_sub(begun.saturating_duration_since(self.connected));
        let heard = begun + ahead.min(MAX_AHEAD);
        let since = self
            .turn
            .awaited
            .map_or(heard, |awaited| begun.max(awaited));
        (!self.turn.is_answered() && !is_requested).then(|| since + TURN_TIMEOUT)
    }

    /// What is due now.
    pub(super) fn tick(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let expired = self.responses.expire(now);
        self.pass_on(expired.into(), now, &mut effects);
        if self
            .awaited_since()
            .is_some_and(|last| now >= last + self.config.idle_timeout)
        {
            self.stalled(&mut effects);
            if effects.end.is_some() {
                return effects;
            }
        }
        if self.turn_expires().is_some_and(|until| now >= until) {
            // Speech that DashScope does not answer ends with the session.
            let was_speaking = std::mem::take(&mut self.turn.is_speaking);
            if was_speaking && self.answers_turns() && self.turn.awaited.is_none() {
                let why = format!("DashScope did not report the end of speech in {TURN_TIMEOUT:?}");
                effects.warn(response_lost(&why));
            }
            self.unanswered(TURN_TIMEOUT, &mut effects);
        }
        self.age(now, &mut effects);
        let idle = match self.is_quiet() {
            true => self.idle.step(now),
            false => None,
        };
        match idle {
            Some(IdleStep::End(error)) => effects.end = Some(End::Failed(error)),
            Some(IdleStep::Silence) if self.changes().is_some() => {
                self.keep_alive(&mut effects);
            }
            Some(IdleStep::Silence) | None => {}
        }
        self.check_finish(now, &mut effects);
        if self.finish.asked_until.is_some_and(|until| now >= until) && self.is_quiet() {
            effects.end.get_or_insert_with(|| self.unconfirmed());
        }
        effects
    }

    /// The end of a session that DashScope does not confirm. Where responses come by themselves,
    /// only the confirmation says that the last one has come.
    fn unconfirmed(&self) -> End {
        if self.profile.has_responses {
            return End::Done;
        }
        let message = "DashScope did not confirm the end of the live session";
        End::Failed(Error::new(Reason::StreamStalled, message).with_sent(Sent::Begun))
    }

    /// Since when something is awaited from DashScope: the next event of a response, or a response.
    fn awaited_since(&self) -> Option<Instant> {
        self.responses.last_event().or(self.turn.awaited)
    }

    fn stalled(&mut self, effects: &mut Effects) {
        let limit = self.config.idle_timeout;
        let message = if self.responses.is_running() {
            format!("DashScope sent nothing for {limit:?} in the middle of a response")
        } else if self.turn.is_requested {
            format!("DashScope did not start the requested response within {limit:?}")
        } else {
            self.unanswered(limit, effects);
            return;
        };
        let error = Error::new(Reason::StreamStalled, message).with_sent(Sent::Begun);
        effects.end = Some(End::Failed(error));
    }

    /// A turn that DashScope detected is not answered.
    fn unanswered(&mut self, limit: Duration, effects: &mut Effects) {
        if self.turn.awaited.is_some() {
            let why = format!("DashScope did not start it within {limit:?}");
            effects.warn(response_lost(&why));
        }
        self.turn.unanswered();
        self.responses.unrequest();
    }

    fn keep_alive(&mut self, effects: &mut Effects) {
        self.append_silence(KEEP_ALIVE_SILENCE, effects);
        if self.profile.input_is_pcm && !self.detects_turns() && !self.turn.has_audio {
            // It is no part of the next turn.
            effects.commands.push((0, Command::Clear));
        }
    }

    /// The time limit of DashScope.
    fn age(&mut self, now: Instant, effects: &mut Effects) {
        let limit = self.connected + self.config.max_age;
        if self.options.continue_after_limit {
            let due = now >= limit - RECONNECT_BEFORE.min(self.config.max_age / 2);
            if due && self.is_quiet() && !self.finish.is_begun() {
                effects.end = Some(End::Reconnect);
            }
        } else if !self.is_announced && now >= limit - ENDING_NOTICE.min(self.config.max_age / 2) {
            self.is_announced = true;
            effects.events.push(LiveEvent::Ending {
                time_left: limit.saturating_duration_since(now),
                reason: Reason::SessionExpired,
            });
        } else if now >= limit + ENDING_NOTICE {
            let message = "the live session reached DashScope's time limit";
            let error = Error::new(Reason::SessionExpired, message);
            effects.end = Some(End::Failed(error.with_sent(Sent::Begun)));
        }
    }
}
