//! The errors of stored conversations.

use crate::error::{Error, Reason, Sent};
use crate::store::turn::{Loss, Refusal};

/// The error of a conversation that does not exist, or of another caller.
pub fn not_found() -> Error {
    let message = "conversation.name: there is no such conversation; create it with \
                   CreateConversation";
    Error::new(Reason::ConversationNotFound, message)
}

/// The error of a turn that does not exist.
pub fn turn_not_found() -> Error {
    let message = "name: there is no such turn; list them with ListTurns";
    Error::new(Reason::ConversationNotFound, message)
}

/// The error of a conversation whose id exists.
pub fn exists() -> Error {
    let message = "conversation_id: a conversation with this id exists; use it, or choose another";
    Error::new(Reason::ConversationExists, message)
}

/// The error of a conversation in which the call with this request id runs.
pub fn busy(request_id: String) -> Error {
    let message = "another turn of the conversation is running; retry when it has ended, or cancel \
                   it with CancelTurn";
    Error::new(Reason::ConversationBusy, message).with_detail("running_request_id", request_id)
}

/// The error of a history that is larger than is sent.
pub fn too_long() -> Error {
    let message = "history: the part of the conversation to send is too large; set a lower \
                   history.max_turns or history.max_input_tokens, or leave out media with \
                   history.media";
    Error::new(Reason::ConversationTooLong, message)
}

/// The error of instructions that are larger than a live session sends.
pub(super) fn instructions_too_long() -> Error {
    let message = "setup.conversation: the turn with the latest instructions is above 1 MiB; set \
                   setup.instructions";
    Error::new(Reason::ConversationTooLong, message)
}

/// The error of a history that is larger than is copied.
pub(super) fn too_long_to_copy() -> Error {
    let message = "last_turn: the messages and answers up to this turn are above 16 MiB, the \
                   maximum of a copy; name an earlier turn";
    Error::new(Reason::ConversationTooLong, message)
}

/// The error of a call that cannot be the next turn.
pub fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotFound => not_found(),
        Refusal::Busy(request_id) => busy(request_id),
        Refusal::Stale(last_turn) => {
            let message = format!(
                "expected_turn: the latest turn of the conversation is {last_turn}; read the turns \
                 after the expected one, then decide"
            );
            let error = Error::new(Reason::StaleConversation, message);
            error.with_detail("last_turn", last_turn.to_string())
        }
        Refusal::Regressed(last_turn) => {
            let message = format!(
                "expected_turn: this store has no such turn of the conversation, whose latest is \
                 {last_turn}; it has lost turns, or the number is of another conversation: send \
                 what is missing as messages"
            );
            let error = Error::new(Reason::HistoryRegressed, message);
            error.with_detail("last_turn", last_turn.to_string())
        }
        Refusal::TooLong => {
            let message = "the conversation has 100,000 turns, the maximum; create another one";
            Error::new(Reason::ConversationTooLong, message)
        }
    }
}

/// The error of a session whose turns the store has lost.
pub(super) fn regressed(last_turn: i64) -> Error {
    let message = format!(
        "the store has lost turns that this session knows; the latest of the conversation is \
         {last_turn}: start another session, and say what is missing"
    );
    let error = Error::new(Reason::HistoryRegressed, message);
    error.with_detail("last_turn", last_turn.to_string())
}

/// The error of a turn that the replica does not own any more; `None` if its lease ended.
pub fn lost(loss: Loss) -> Option<Error> {
    let error = match loss {
        Loss::Lease => return None,
        Loss::Deleted => {
            let message = "the conversation or the turn was deleted while the turn was running";
            Error::new(Reason::ConversationNotFound, message)
        }
        Loss::Cancelled => {
            let message = "the turn was cancelled by CancelTurn";
            Error::new(Reason::CallCancelled, message)
        }
    };
    Some(error.with_sent(Sent::Begun))
}

/// The error of stored content that cannot be read.
pub(super) fn damaged(error: impl std::fmt::Display) -> Error {
    let message = "a stored turn cannot be read";
    Error::new(Reason::StoreDamaged, message).with_source(error)
}
