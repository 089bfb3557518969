//! How a session ends other than by itself.

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Reason, Sent};

/// The end of a session from outside.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// The session goes on.
    No,
    /// The gateway will shut down at this time: the running response completes.
    Drain(Instant),
    /// It ends now, with this error.
    Now(Error),
}

/// Why a session failed.
pub(super) enum Failure {
    /// With this error.
    Error(Error),
    /// The caller left, and did not resume it.
    Left,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The error of a session whose deadline has passed.
pub fn too_late() -> Error {
    let message = "deadline exceeded in the live session; set a longer deadline";
    Error::new(Reason::DeadlineExceeded, message).with_sent(Sent::Begun)
}

/// The error of a session that ends because the gateway shuts down.
pub(super) fn shutting_down() -> Error {
    let message = "the gateway is shutting down: open the live session again, at another replica";
    Error::new(Reason::ShuttingDown, message)
}

/// Completes when the session is to end now, with the error.
pub(super) async fn stopped_now(mut stop: watch::Receiver<Stop>) -> Error {
    loop {
        if let Stop::Now(error) = &*stop.borrow_and_update() {
            return error.clone();
        }
        if stop.changed().await.is_err() {
            // Without a sender there is no end from outside.
            std::future::pending::<()>().await;
        }
    }
}
