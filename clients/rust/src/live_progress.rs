//! The position in a live session, and when a session whose stream broke is resumed.

use std::time::Duration;

use tonic::Code;

use crate::error::Error;
use crate::resume_backoff::{RESUME_ATTEMPTS, resume_delay};
use crate::v1::{ResumeSession, SessionEnded, SessionStarted};

/// What the client itself uses of an event.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A stream has started.
    Started(&'a SessionStarted),
    /// A part of a response.
    Delta,
    /// The last event.
    Ended(&'a SessionEnded),
    /// Any other event.
    Other,
}

/// A position in a session.
#[derive(Clone, Default)]
pub(crate) struct Position {
    pub(crate) session_id: String,
    pub(crate) ended: Option<SessionEnded>,
    token: String,
    sequence: i32,
}

impl Position {
    /// The position of a session that another process had opened.
    pub(crate) fn of(resumed: Option<&ResumeSession>) -> Self {
        let resumed = resumed.cloned().unwrap_or_default();
        Self {
            session_id: resumed.session_id,
            token: resumed.token,
            sequence: resumed.last_sequence,
            ended: None,
        }
    }

    /// Moves behind an event. Returns false if it was received before.
    pub(crate) fn pass(&mut self, sequence: i32, notice: &Notice<'_>) -> bool {
        if let Notice::Started(started) = notice {
            if !started.session_id.is_empty() {
                self.session_id.clone_from(&started.session_id);
            }
            if !started.resume_token.is_empty() {
                self.token.clone_from(&started.resume_token);
            }
            // A resumed stream starts with the number of the last event that was received.
            self.sequence = self.sequence.max(sequence);
            return true;
        }
        if sequence != 0 && sequence <= self.sequence {
            return false;
        }
        self.sequence = sequence;
        if let Notice::Ended(ended) = notice {
            self.ended = Some((*ended).clone());
        }
        true
    }

    /// Returns the number of the last event.
    pub(crate) fn sequence(&self) -> i32 {
        self.sequence
    }

    /// Returns what another stream needs to continue here; `None` before the session has started.
    pub(crate) fn resumption(&self) -> Option<ResumeSession> {
        (!self.token.is_empty()).then(|| ResumeSession {
            session_id: self.session_id.clone(),
            token: self.token.clone(),
            last_sequence: self.sequence,
        })
    }
}

/// The state of a session across its streams.
pub(crate) struct Progress {
    pub(crate) position: Position,
    has_output: bool,
    attempts: u32,
    /// The error of the stream that broke, until its session has continued.
    fault: Option<Error>,
}

impl Progress {
    pub(crate) fn at(position: Position) -> Self {
        Self {
            position,
            has_output: false,
            attempts: 0,
            fault: None,
        }
    }

    /// Records an event. Returns false if it was received on an earlier stream.
    pub(crate) fn received(&mut self, sequence: i32, notice: &Notice<'_>) -> bool {
        if !matches!(notice, Notice::Started(_)) {
            self.attempts = 0;
            self.fault = None;
        }
        self.saw_output(notice);
        self.position.pass(sequence, notice)
    }

    /// Records whether an event is output.
    pub(crate) fn saw_output(&mut self, notice: &Notice<'_>) {
        self.has_output |= matches!(notice, Notice::Delta);
    }

    /// Returns whether the session may continue after this error: the connection broke, or the
    /// gateway shuts down. Internal errors without a reason are those of gRPC libraries and proxies.
    pub(crate) fn is_resumable(&self, error: &Error) -> bool {
        let is_broken = match error.code() {
            Code::Unavailable => true,
            Code::Internal | Code::Unknown => error.raw_reason().is_empty(),
            _ => false,
        };
        is_broken && !self.position.token.is_empty() && self.position.ended.is_none()
    }

    /// Returns the delay before the session is resumed.
    ///
    /// # Errors
    ///
    /// The error is final.
    pub(crate) fn broken(&mut self, error: Error) -> Result<Duration, Error> {
        if !self.is_resumable(&error) {
            return Err(error);
        }
        if self.attempts == RESUME_ATTEMPTS {
            // The error of the stream that broke has the cause and the usage; those of the attempts
            // have neither.
            return Err(self.fault.take().unwrap_or(error));
        }
        let delay = resume_delay(self.attempts, &error);
        self.attempts += 1;
        self.fault.get_or_insert(error);
        Ok(delay)
    }

    /// Completes the final error of the session.
    pub(crate) fn final_error(&self, error: Error) -> Error {
        let usage = self.fault.as_ref().and_then(Error::usage);
        let error = match usage {
            Some(usage) => error.with_usage(usage),
            None => error,
        };
        match self.has_output {
            true => error.after_output(),
            false => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn started() -> Progress {
        Progress::at(Position::of(Some(&ResumeSession {
            session_id: "s".into(),
            token: "t".into(),
            last_sequence: 3,
        })))
    }

    fn error(code: Code, reason: &str) -> Error {
        Error::of_client(code, reason, "", "")
    }

    #[test]
    fn delays_double_until_the_attempts_are_used_up() {
        let mut progress = started();
        for expected in [0.1, 0.2, 0.4, 0.8, 1.6, 3.2] {
            let delay = progress.broken(error(Code::Unavailable, "")).unwrap();
            let ratio = delay.as_secs_f64() / expected;
            assert!((0.74..1.26).contains(&ratio), "{delay:?}");
        }
        let last = progress.broken(error(Code::Unavailable, "OVERLOADED"));
        assert_eq!(last.unwrap_err().raw_reason(), "");
    }

    #[test]
    fn an_event_restores_the_attempts_but_a_start_does_not() {
        let mut progress = started();
        for _ in 0..RESUME_ATTEMPTS {
            progress.broken(error(Code::Unavailable, "")).unwrap();
        }
        let again = SessionStarted::default();
        progress.received(3, &Notice::Started(&again));
        assert_eq!(progress.attempts, RESUME_ATTEMPTS);
        progress.received(4, &Notice::Other);
        assert_eq!(progress.attempts, 0);
    }

    #[test]
    fn only_broken_streams_of_started_sessions_are_resumed() {
        for (code, reason, expected) in [
            (Code::Unavailable, "SHUTTING_DOWN", true),
            (Code::Internal, "", true),
            (Code::Unknown, "", true),
            (Code::Internal, "UPSTREAM_RESET", false),
            (Code::Aborted, "SESSION_TAKEN_OVER", false),
            (Code::OutOfRange, "RESUME_GAP", false),
            (Code::Cancelled, "", false),
        ] {
            let error = error(code, reason);
            assert_eq!(started().is_resumable(&error), expected, "{error}");
            assert!(!Progress::at(Position::default()).is_resumable(&error));
        }
    }

    #[test]
    fn retry_after_delays_but_not_beyond_the_longest_delay() {
        for (asked, expected) in [("1500", 1500), ("60000", 5000)] {
            let mut status = Status::unavailable("");
            let pushback = asked.parse().unwrap();
            status
                .metadata_mut()
                .insert("grpc-retry-pushback-ms", pushback);
            let delay = started().broken(Error::of_call(status, "")).unwrap();
            assert_eq!(delay, Duration::from_millis(expected));
        }
    }

    #[test]
    fn an_event_that_was_received_is_not_reported_again() {
        let mut progress = started();
        assert!(!progress.received(3, &Notice::Delta));
        assert!(progress.received(4, &Notice::Delta));
        assert_eq!(progress.position.resumption().unwrap().last_sequence, 4);
    }
}
