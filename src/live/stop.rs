//! Ends of a session from outside: of its call, or of the gateway.

use std::time::Duration;

use crate::error::{Error, Reason};

/// The reason of an end from outside.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// The session goes on.
    No,
    /// The gateway is about to shut down in this time: the running response completes.
    Drain(Duration),
    /// It ends now, with this error.
    Now(Error),
}

/// The error of a session that ends because the gateway shuts down.
pub(super) fn shutting_down() -> Error {
    let message = "the gateway is shutting down: open the live session again, at another replica";
    Error::new(Reason::ShuttingDown, message)
}
