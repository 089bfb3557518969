//! What the errors of an attempt mean for the call and for its account.

use crate::chat::call::Passing;
use crate::error::{Error, Reason, Sent};

/// Whether an account may not store files that another one may.
pub(super) fn is_of_account(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::UpstreamCredential
            | Reason::UpstreamPermission
            | Reason::UpstreamBilling
            | Reason::UpstreamRate
            | Reason::UpstreamBurst
            | Reason::UpstreamTokens
    )
}

/// A refused key is the operator's to mend, unless the caller brought it.
pub(super) fn whose_key(error: Error, passing: &Passing) -> Error {
    if passing.api_key.is_none() || error.reason() != Reason::UpstreamCredential {
        return error;
    }
    let message = "DashScope refused the key of this call; send a valid DashScope key";
    Error::new(Reason::Unauthenticated, message).with_sent(error.sent())
}

/// A stream that ends without an end or a fault: the room below never makes one.
pub(super) fn silent() -> Error {
    Error::new(
        Reason::StreamTruncated,
        "DashScope's answer ended before it was complete",
    )
    .with_sent(Sent::Begun)
}
