//! The errors of messages of a stream that could not be received.

use tonic::{Code, Status};

use crate::error::{Error, Reason};
use crate::memory::CallMemory;

use super::body_timeout;

/// The error of a message of this stream that could not be received.
pub(super) fn receive_error(memory: &CallMemory, status: &Status, stream: &str) -> Error {
    let known = memory.refused().or_else(|| body_timeout::error_of(status));
    known.unwrap_or_else(|| match status.code() == Code::Aborted {
        true => Error::new(Reason::RequestBodyTimeout, "the caller disconnected"),
        false => {
            let message = format!("a message of the {stream} cannot be read");
            Error::new(Reason::MalformedMessage, message).with_source(status.message())
        }
    })
}
