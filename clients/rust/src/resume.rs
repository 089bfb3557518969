//! Which event of a stream was the last, and when a stream whose connection is lost is resumed.

use std::time::Duration;

use tonic::Code;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use crate::error::Error;
use crate::resume_backoff::{RESUME_ATTEMPTS, resume_delay};
use crate::v1::ConverseStreamResponse;
use crate::v1::converse_stream_response::Event;

/// The metadata of a response whose stream can be resumed.
const RESUMABLE: &str = "dashgate-resumable";

/// What follows a failure.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another attempt after this delay.
    Resume(Duration),
    /// The end: the answer was complete.
    Complete,
    /// The end: the error of the stream.
    Fail(Error),
}

/// What an event is.
#[derive(Debug)]
pub(crate) enum Received {
    /// New.
    New,
    /// Received on an earlier connection.
    Known,
    /// Not the next one: the stream fails with the error that broke it.
    Missing(Error),
}

/// The state of a stream across its connections.
#[derive(Debug, Default)]
pub(crate) struct Resumption {
    /// Whether the gateway resumes the stream.
    can: bool,
    has_started: bool,
    sequence: i32,
    attempts: u32,
    resumes: u32,
    /// The error that broke the stream.
    fault: Option<Error>,
}

impl Resumption {
    /// The number of the last event.
    pub(crate) fn sequence(&self) -> i32 {
        self.sequence
    }

    /// The number of attempts.
    pub(crate) fn resumes(&self) -> u32 {
        self.resumes
    }

    /// Whether the gateway resumes the stream.
    pub(crate) fn is_possible(&self) -> bool {
        self.can
    }

    /// Notes the metadata of a response, which precedes `Started`.
    pub(crate) fn announced(&mut self, metadata: &MetadataMap, wanted: bool) {
        let is_true = |value: &AsciiMetadataValue| value.as_bytes() == b"true";
        if wanted && !self.has_started && metadata.get(RESUMABLE).is_some_and(is_true) {
            self.can = true;
        }
    }

    /// Notes an event; `wanted` is whether the caller wants the stream to be resumed.
    pub(crate) fn received(&mut self, event: &ConverseStreamResponse, wanted: bool) -> Received {
        // A heartbeat has the number of the event before it.
        let counts = !matches!(event.event, Some(Event::Heartbeat(_)));
        if self.resumes > 0 && counts && event.sequence > self.sequence.saturating_add(1) {
            self.can = false;
            if let Some(fault) = self.fault.take() {
                return Received::Missing(fault);
            }
        }
        self.attempts = 0;
        if let Some(Event::Started(started)) = &event.event
            && !self.has_started
        {
            self.has_started = true;
            self.can = wanted && started.resumable;
        }
        if counts && self.resumes > 0 && event.sequence <= self.sequence {
            return Received::Known;
        }
        if counts {
            self.sequence = event.sequence;
        }
        Received::New
    }

    /// The error of a stream that this side has ended.
    pub(crate) fn ended(&self, error: Error) -> Error {
        match &self.fault {
            Some(fault) if self.attempts > 0 => with_usage_of(fault, error),
            _ => error,
        }
    }

    /// Decides what follows a failure.
    pub(crate) fn failed(&mut self, error: Error, is_complete: bool) -> Next {
        let lost = is_lost(&error);
        if !self.can || (!lost && self.attempts == 0) {
            return Next::Fail(error);
        }
        if lost && is_complete {
            return Next::Complete;
        }
        let first = match self.attempts {
            0 => None,
            _ => self.fault.take(),
        };
        let Some(fault) = first.or_else(|| lost.then(|| error.clone())) else {
            return Next::Fail(error);
        };
        if !lost {
            return Next::Fail(refused(fault, error));
        }
        if self.attempts == RESUME_ATTEMPTS {
            return Next::Fail(fault);
        }
        self.fault = Some(fault);
        let delay = resume_delay(self.attempts, &error);
        self.attempts += 1;
        self.resumes = self.resumes.saturating_add(1);
        Next::Resume(delay)
    }
}

/// The error of a stream that was not resumed.
fn refused(fault: Error, error: Error) -> Error {
    match error.code() {
        // The gateway does not have the call any more: what broke the stream is the cause.
        Code::OutOfRange | Code::NotFound | Code::Unimplemented => fault,
        _ => with_usage_of(&fault, error),
    }
}

fn with_usage_of(fault: &Error, error: Error) -> Error {
    match fault.usage() {
        Some(usage) => error.with_usage(usage),
        None => error,
    }
}

/// Whether a connection was lost, as gRPC libraries and proxies report it, or the call may go on at
/// another replica. Errors with another reason are final.
fn is_lost(error: &Error) -> bool {
    match error.raw_reason() {
        "" => matches!(
            error.code(),
            Code::Unavailable | Code::Internal | Code::Unknown
        ),
        reason => matches!(reason, "SHUTTING_DOWN" | "STORE_DOWN"),
    }
}

#[cfg(test)]
mod tests {
    use crate::v1::{Delta, Heartbeat, Started};

    use super::*;

    fn event(sequence: i32, event: Event) -> ConverseStreamResponse {
        ConverseStreamResponse {
            sequence,
            event: Some(event),
        }
    }

    fn started(resumable: bool) -> ConverseStreamResponse {
        let started = Started {
            resumable,
            ..Started::default()
        };
        event(1, Event::Started(started))
    }

    fn delta(sequence: i32) -> ConverseStreamResponse {
        event(sequence, Event::Delta(Delta::default()))
    }

    fn begun() -> Resumption {
        let mut state = Resumption::default();
        assert!(matches!(
            state.received(&started(true), true),
            Received::New
        ));
        assert!(matches!(state.received(&delta(2), true), Received::New));
        state
    }

    fn error(code: Code, reason: &str, message: &str) -> Error {
        Error::of_client(code, reason, message, "")
    }

    fn final_error(next: Next) -> Error {
        match next {
            Next::Fail(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn delays_double_until_the_attempts_are_used_up_and_the_first_error_is_returned() {
        let mut state = begun();
        for expected in [0.1, 0.2, 0.4, 0.8, 1.6, 3.2] {
            let message = match expected {
                0.1 => "first",
                _ => "later",
            };
            let Next::Resume(delay) = state.failed(error(Code::Unavailable, "", message), false)
            else {
                panic!("final");
            };
            let ratio = delay.as_secs_f64() / expected;
            assert!((0.74..1.26).contains(&ratio), "{delay:?}");
        }
        let last = final_error(state.failed(error(Code::Unavailable, "", "last"), false));
        assert_eq!(last.message(), "first");
        assert_eq!(state.resumes(), 6);
    }

    #[test]
    fn only_lost_connections_of_gateways_that_resume_are_resumed() {
        for (code, reason, expected) in [
            (Code::Unavailable, "", true),
            (Code::Unavailable, "SHUTTING_DOWN", true),
            (Code::Unavailable, "STORE_DOWN", true),
            (Code::Internal, "", true),
            (Code::Unknown, "", true),
            (Code::Internal, "OWNER_LOST", false),
            (Code::Internal, "STREAM_TRUNCATED", false),
            (Code::Unavailable, "UPSTREAM_DOWN", false),
            (Code::Cancelled, "", false),
        ] {
            let resumes = |mut state: Resumption| {
                let next = state.failed(error(code, reason, ""), false);
                matches!(next, Next::Resume(_))
            };
            assert_eq!(resumes(begun()), expected, "{code:?} {reason}");
            assert!(!resumes(Resumption::default()));
            for (resumable, wanted) in [(false, true), (true, false)] {
                let mut other = Resumption::default();
                other.received(&started(resumable), wanted);
                assert!(!resumes(other));
            }
        }
    }

    #[test]
    fn before_the_start_the_metadata_of_the_response_decides() {
        let lost = || error(Code::Unavailable, "", "");
        for (value, wanted, expected) in [
            (Some("true"), true, true),
            (Some("true"), false, false),
            (Some("false"), true, false),
            (None, true, false),
        ] {
            let mut metadata = MetadataMap::new();
            if let Some(value) = value {
                metadata.insert(RESUMABLE, value.parse().unwrap());
            }
            let mut state = Resumption::default();
            state.announced(&metadata, wanted);
            let next = state.failed(lost(), false);
            assert_eq!(
                matches!(next, Next::Resume(_)),
                expected,
                "{value:?} {wanted}"
            );
            if expected {
                assert!(matches!(
                    state.received(&started(true), true),
                    Received::New
                ));
                assert!(matches!(state.failed(lost(), false), Next::Resume(_)));
                assert!(matches!(
                    state.received(&started(true), true),
                    Received::Known
                ));
            }
        }
    }

    #[test]
    fn known_events_are_not_new_and_missing_ones_end_the_stream() {
        let mut state = begun();
        assert!(matches!(
            state.failed(error(Code::Unavailable, "", "first"), false),
            Next::Resume(_)
        ));
        let heartbeat = event(2, Event::Heartbeat(Heartbeat {}));
        assert!(matches!(state.received(&heartbeat, true), Received::New));
        assert!(matches!(state.received(&delta(2), true), Received::Known));
        assert!(matches!(state.received(&delta(3), true), Received::New));
        let Received::Missing(fault) = state.received(&delta(5), true) else {
            panic!("not missing");
        };
        assert_eq!(fault.message(), "first");
    }

    #[test]
    fn the_error_of_a_call_that_is_gone_is_the_one_that_broke_the_stream() {
        for (code, reason, expected) in [
            (Code::OutOfRange, "RESUME_GAP", "first"),
            (Code::NotFound, "CALL_NOT_FOUND", "first"),
            (Code::Unimplemented, "", "first"),
            (Code::Aborted, "CALL_CANCELLED", "second"),
            (Code::Internal, "OWNER_LOST", "second"),
        ] {
            let mut state = begun();
            let _waits = state.failed(error(Code::Unavailable, "", "first"), false);
            let last = final_error(state.failed(error(code, reason, "second"), false));
            assert_eq!(last.message(), expected, "{reason}");
        }
    }

    #[test]
    fn a_connection_that_is_lost_after_the_last_event_is_the_end() {
        let next = begun().failed(error(Code::Unavailable, "", ""), true);
        assert!(matches!(next, Next::Complete));
    }
}
