//! The stage of a call, and its deadlines.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::usage::Usage;
use crate::error::Error;
use crate::relay::attempt::Opened;
use crate::relay::idempotency::replay_log::ReplayReader;
use crate::upstream::Exchange;

/// The times of one call.
#[derive(Clone, Copy, Debug)]
pub(in crate::relay) struct Times {
    /// When it arrived.
    pub(in crate::relay) arrived: Instant,
    /// The deadline.
    pub(in crate::relay) deadline: Instant,
    /// How long DashScope may pause during a stream.
    pub(in crate::relay) idle_timeout: Duration,
}

/// The stage of a call.
pub(in crate::relay) enum Stage {
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>),
    Open(Box<Exchange>),
    Joined(ReplayReader),
    Failed(Error),
    Done,
}

impl Stage {
    /// The name in the list of calls in flight.
    pub(in crate::relay) fn name(&self) -> &'static str {
        match self {
            Self::Opening(_) => "asking",
            Self::Open(_) => "answering",
            Self::Joined(_) => "joined",
            Self::Failed(_) | Self::Done => "ending",
        }
    }

    /// The usage reported so far.
    pub(in crate::relay) fn usage_so_far(&self) -> Option<Arc<Usage>> {
        match self {
            Self::Open(exchange) => exchange.usage_so_far().map(Arc::new),
            Self::Joined(reader) => reader.usage_so_far(),
            Self::Failed(error) => error.usage().cloned(),
            Self::Opening(_) | Self::Done => None,
        }
    }
}
