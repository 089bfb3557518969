//! What a request may be, and whose it is: what the check of its body needs to know.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::relay::Relay;
use crate::telemetry::report::Report;

use super::large_messages::Turns;

/// What a request may be.
pub(super) struct Limits {
    /// The largest message, unpacked. tonic has the same limit, and refuses what is larger.
    pub(super) message_bytes: usize,
    /// How its elements are counted, if they are.
    pub(super) elements: Option<Elements>,
    /// How long it may stop in the middle of a message, where no other clock looks.
    pub(super) stall_timeout: Option<Duration>,
    /// Whose turn it is to unpack a large message.
    pub(super) turns: Turns,
}

/// How the elements of a message are counted.
#[derive(Clone)]
pub(super) struct Elements {
    /// The schema.
    pub(super) schema: Arc<super::element_limits::Schema>,
    /// The type of the message in it.
    pub(super) message: usize,
    /// How much memory the elements may take.
    pub(super) max_weight: usize,
}

/// Whose request it is.
pub(super) struct Caller {
    /// Its request id.
    pub(super) request_id: Arc<str>,
    /// The name of the method that is called.
    pub(super) method: &'static str,
    /// Where a refusal is reported, if it is.
    pub(super) report: Option<Relay>,
    /// When it came.
    pub(super) arrived: Instant,
}

impl Caller {
    /// Reports that the request was refused.
    pub(super) fn refuse(&self, error: &Error) {
        let Some(relay) = &self.report else {
            return;
        };
        let report = Report::new(&self.request_id, self.method);
        relay.refuse(report, self.arrived, error);
    }
}
