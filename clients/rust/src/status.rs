//! What tonic reports of calls that failed on their connection, or by its own timer.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use tonic::{Code, Status, TimeoutExpired};

/// What the generated code reports, as `UNKNOWN`, if the task of a connection is gone: the runtime of
/// a channel that was given has ended.
const NOT_READY: &str = "Service was not ready: ";

/// Whether tonic's own timer of the deadline has ended the call. `is_over`: the deadline has passed;
/// tonic may report `CANCELLED` then.
pub(crate) fn is_late(status: &Status, is_over: bool) -> bool {
    (is_over && status.code() == Code::Cancelled) || has_cause(status, is_clock)
}

/// Converts the status of a connection that could not be opened, or broke: tonic reports the latter
/// as `CANCELLED` or `UNKNOWN`, and as `INTERNAL` if a replica that ends has not taken the call. A
/// status of the gateway has no source; one of a connection has, and so has the error of a layer,
/// which is left as it is.
pub(crate) fn of_connection(status: Status, target: &str) -> Status {
    if status.code() == Code::Unknown && status.message().starts_with(NOT_READY) {
        return Status::unavailable(format!("{target}: {}", status.message()));
    }
    if !has_cause(&status, is_connection) || has_cause(&status, is_clock) {
        return status;
    }
    let cause = chain(&status);
    let message = match status.code() {
        Code::Unavailable => format!("{target}: {cause}"),
        Code::Cancelled | Code::Unknown => format!("{target}: the connection broke: {cause}"),
        Code::Internal if has_cause(&status, is_end) => {
            format!("{target}: the connection ended: {cause}")
        }
        _ => return status,
    };
    let mut named = Status::unavailable(message);
    *named.metadata_mut() = status.metadata().clone();
    named.set_source(Arc::new(Cause(status)));
    named
}

/// The status before its conversion. Its message is part of the new one.
struct Cause(Status);

impl fmt::Debug for Cause {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.0.message())
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// The message of an error with those of its causes, each once.
fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // What tonic puts around all of them.
        if message != "transport error" && !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// Whether one of the causes of a status is of a kind.
fn has_cause(status: &Status, is_kind: fn(&(dyn StdError + 'static)) -> bool) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if is_kind(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether an error is that of tonic's own timer.
fn is_clock(error: &(dyn StdError + 'static)) -> bool {
    error.is::<TimeoutExpired>()
}

/// Whether an error is the orderly end of a connection, by GOAWAY.
fn is_end(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<h2::Error>();
    error.is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

/// Whether an error is that of a connection.
fn is_connection(error: &(dyn StdError + 'static)) -> bool {
    error.is::<tonic::transport::Error>()
        || error.is::<tonic::ConnectError>()
        || error.is::<hyper::Error>()
        || error.is::<h2::Error>()
        || error.is::<io::Error>()
}
