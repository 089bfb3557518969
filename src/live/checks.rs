//! What a session checks after each event, because it depends on others: the deadline, the caller's
//! reading, DashScope's, the shutdown, and the memory that it takes.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Reason, Sent};
use crate::relay::live_call::{LiveProgress, LiveState};

use super::event::LiveEvent;
use super::stop::{Failure, Stop, shutting_down, too_late};
use super::storing::Storing;
use super::task::Task;

/// How long DashScope may take nothing of what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

impl Task {
    /// Checks what depends on others.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Failure> {
        if now >= self.deadline {
            return Err(too_late().into());
        }
        let is_answered = self.session.turn.awaited.is_none();
        if self.draining && is_answered && !self.session.responses.is_running() {
            return Err(shutting_down().into());
        }
        let stalled = self.socket.stalled();
        if stalled.is_some_and(|span| span >= WRITE_TIMEOUT) {
            let message = "DashScope stopped reading the live session";
            let error = Error::new(Reason::StreamStalled, message);
            return Err(error.with_sent(Sent::Begun).into());
        }
        let reading = self.journal.reading();
        let away_since = reading.away_since;
        if away_since.is_some_and(|since| now >= since + self.config.resume_window) {
            return Err(Failure::Left);
        }
        let limit = self.config.slow_consumer_timeout;
        if reading.is_full
            && reading
                .unread_since
                .is_some_and(|since| now >= since + limit)
        {
            let message = format!("the caller read nothing of the live session for {limit:?}");
            let error = Error::new(Reason::SlowConsumer, message);
            return Err(error.with_sent(Sent::Begun).into());
        }
        let audio = self.report_progress(away_since.is_some());
        self.call.heard(audio)?;
        self.charge()
    }

    fn report_progress(&self, is_away: bool) -> (Duration, Duration) {
        let (input_audio, output_audio) = self.session.audio_times();
        self.call.progress(&LiveProgress {
            state: match is_away {
                true => LiveState::Away,
                false => LiveState::Connected,
            },
            input_audio,
            output_audio,
        });
        (input_audio, output_audio)
    }

    /// Charges the queues in both directions, the configuration, and the turns that are to be
    /// stored.
    fn charge(&mut self) -> Result<(), Failure> {
        let queued = self.inputs.queued_bytes() + self.socket.outgoing_bytes();
        let stored = self
            .session
            .stored
            .as_ref()
            .map_or(0, |stored| stored.bytes());
        let storing = self.storing.as_ref().map_or(0, Storing::bytes);
        let queued = queued + stored + storing;
        let setup = self.setup_bytes.saturating_add(self.update_bytes);
        let bytes = setup.saturating_mul(2).saturating_add(queued);
        if bytes != self.charged {
            self.charged = bytes;
            self.memory.buffer(bytes)?;
        }
        Ok(())
    }

    /// The end from outside has changed. Returns the error, if the session ends now.
    pub(super) fn stopped(&mut self) -> Result<Option<Error>, Error> {
        let stop = self.stop.borrow_and_update().clone();
        match stop {
            Stop::No => Ok(None),
            // A session can be opened again at another replica, whatever was answered before.
            Stop::Now(error) if error.reason() == Reason::ShuttingDown => Ok(Some(error)),
            Stop::Now(error) => Ok(Some(error.with_sent(Sent::Begun))),
            Stop::Drain(until) => {
                self.draining = true;
                self.journal.push(LiveEvent::Ending {
                    time_left: until.saturating_duration_since(Instant::now()),
                    reason: Reason::ShuttingDown,
                })?;
                Ok(None)
            }
        }
    }
}
