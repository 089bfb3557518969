//! The configuration of live sessions.

use std::time::Duration;

/// DashScope's limit for the duration of a session.
pub const MAX_AGE: Duration = Duration::from_secs(120 * 60);

/// How long DashScope may take to report the end of a response that was cancelled. Some models
/// never do.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of a cancelled response is awaited once its last item is complete, if the model
/// usually reports the end.
pub(super) const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// As [`CANCEL_GRACE`], if the model usually does not.
pub(super) const SHORT_CANCEL_GRACE: Duration = Duration::from_millis(250);

/// How long before its end a session is announced to end.
pub(super) const ENDING_NOTICE: Duration = Duration::from_secs(60);

/// The configuration of live sessions.
#[derive(Clone, Copy, Debug)]
pub struct LiveConfig {
    /// The audio of a caller that is buffered, in playing time.
    pub input_buffer: Duration,
    /// The audio for a caller that is buffered, in playing time. Beyond it DashScope is not read.
    pub output_buffer: Duration,
    /// How long a session whose stream broke waits to be resumed. Zero: it ends at once.
    pub resume_window: Duration,
    /// The bytes of events that are kept to be sent again to a stream that resumes.
    pub journal_bytes: usize,
    /// How long a caller may read nothing while its buffer is full.
    pub slow_consumer_timeout: Duration,
    /// How long DashScope may take to start a session.
    pub start_timeout: Duration,
    /// How long DashScope may pause in a response, or before the one that was requested.
    pub idle_timeout: Duration,
    /// The duration after which DashScope ends a session.
    pub max_age: Duration,
}
