//! The errors of calls with a request id that cannot be joined or made.

use crate::error::{Error, Reason, Sent, Violation};

/// The error of a request id that was used for another request.
pub(super) fn key_reused() -> Error {
    let message = "was used for another request; choose a new one for each request";
    let violation = Violation {
        field: "request_id".to_owned(),
        description: message.to_owned(),
    };
    let message = format!("request_id {message}");
    Error::new(Reason::IdempotencyKeyReused, message).with_violation(violation)
}

/// The error of a second call, if the answer of the first was not kept.
pub(super) fn too_long() -> Error {
    let message = "a call with this request_id was made, and its answer is too long to be shared";
    Error::new(Reason::CallInProgress, message)
}

/// The error of a caller that wants the events after one that does not exist, or is not kept.
pub(super) fn no_such_events(kept: usize) -> Error {
    let message = match kept {
        0 => "after_sequence: no events of this call are kept; make the call again without \
              after_sequence"
            .to_owned(),
        kept => format!("after_sequence: the events 1 to {kept} are kept, and none after them"),
    };
    Error::new(Reason::ResumeGap, message)
}

/// The error of the readers of a call that was cancelled.
pub(super) fn cancelled() -> Error {
    Error::new(
        Reason::CallCancelled,
        "the call was cancelled by CancelCall or CancelTurn",
    )
}

/// The error of a call whose owner lost its lease.
pub(super) fn owner_gone() -> Error {
    let message = "the replica that ran the call has stopped or lost its lease in the middle of \
                   the answer";
    Error::new(Reason::OwnerLost, message).with_sent(Sent::Begun)
}
