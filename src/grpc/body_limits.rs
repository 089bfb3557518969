//! The limits of a request body, and its caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Reason};
use crate::relay::Relay;
use crate::telemetry::call_report::Report;

use super::large_messages::Turns;

/// The limits of a request body.
pub(super) struct Limits {
    /// The maximum message, decompressed.
    pub(super) message_bytes: usize,
    /// What callers can do who need larger ones.
    pub(super) advice: Option<&'static str>,
    /// How its elements are counted, if they are.
    pub(super) elements: Option<Elements>,
    /// How long it may pause in the middle of a message, if no other clock applies.
    pub(super) stall_timeout: Option<Duration>,
    /// Schedules the decompression of large messages.
    pub(super) turns: Turns,
}

impl Limits {
    /// The error of a message that exceeds the limit, of this length if it is known.
    pub(super) fn too_large(&self, length: Option<usize>) -> Error {
        let limit = self.message_bytes;
        let mut message = match length {
            Some(length) => format!("the message is {length} bytes, the limit is {limit}"),
            None => format!("the message is larger than the limit of {limit} bytes"),
        };
        if let Some(advice) = self.advice {
            message.push_str("; ");
            message.push_str(advice);
        }
        Error::new(Reason::MessageTooLarge, message)
    }
}

/// How the elements of a message are counted.
#[derive(Clone)]
pub(super) struct Elements {
    /// The schema.
    pub(super) schema: Arc<super::count_limits::Schema>,
    /// The type of the message in it.
    pub(super) message: usize,
    /// The maximum memory of the elements.
    pub(super) max_weight: usize,
}

/// The caller of a request.
pub(super) struct Caller {
    /// Its request id.
    pub(super) request_id: Arc<str>,
    /// The name of the method that is called.
    pub(super) method: &'static str,
    /// Where a refusal is reported, if it is.
    pub(super) report: Option<Relay>,
    /// When it arrived.
    pub(super) arrived: Instant,
}

impl Caller {
    /// Reports that the request was rejected.
    pub(super) fn refuse(&self, error: &Error) {
        let Some(relay) = &self.report else {
            return;
        };
        let report = Report::new(&self.request_id, self.method);
        relay.refuse(report, self.arrived, error);
    }
}
