//! What every error that reaches a caller keeps, whatever a peer sent.

use dashgate::error::Error;
use dashgate::grpc::status;

/// The longest message: proxies limit the size of trailers.
const MAX_MESSAGE: usize = 1024;

/// The most encoded details.
const MAX_DETAILS: usize = 4096;

/// Checks the status that callers get for this error.
pub fn check(error: &Error) {
    for show_upstream in [false, true] {
        let status = status::status(error, "request-1", show_upstream);
        let message = status.message();
        assert!(message.len() <= MAX_MESSAGE, "{} bytes", message.len());
        assert!(!message.chars().any(char::is_control), "{message:?}");
        let details = status.details();
        assert!(details.len() <= MAX_DETAILS, "{} bytes", details.len());
        // It can be written as HTTP/2 trailers.
        status.into_http::<()>();
    }
}
