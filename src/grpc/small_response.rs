//! Responses of calls for which nothing is sent to DashScope.

use tokio::time::Instant;
use tonic::{Response, Status};

use crate::error::Error;
use crate::memory::{self, CallMemory};
use crate::relay::Relay;
use crate::server::call_clock::{self, PendingCall};

use super::call_context::CallContext;
use super::status;

/// Charges a response until the caller has read it or the deadline has passed, and records the
/// call.
pub(super) fn finish<T: prost::Message>(
    response: Result<T, Error>,
    (context, deadline): (&CallContext, Instant),
    (relay, memory): (&Relay, &CallMemory),
) -> Result<Response<T>, Status> {
    let charged = response.and_then(|response| {
        // The message and its encoded form exist at the same time.
        let bytes = 2 * response.encoded_len();
        memory.answer(bytes.saturating_sub(memory::CALL))?;
        Ok(response)
    });
    context
        .clock
        .hold(Box::new(UnreadResponse { deadline }), memory);
    let error = charged.as_ref().err();
    relay.record(context.report(), context.at, error);
    charged
        .map(Response::new)
        .map_err(|error| status::status(&error, &context.request_id, false))
}

/// A response that is not completely read.
#[derive(Debug)]
struct UnreadResponse {
    deadline: Instant,
}

impl PendingCall for UnreadResponse {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn end_at_deadline(self: Box<Self>) -> Error {
        call_clock::too_late()
    }

    fn end(self: Box<Self>, error: Error) -> Error {
        error
    }
}
