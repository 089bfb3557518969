//! How far a call has come, and its times.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::usage::Usage;
use crate::dashscope::Exchange;
use crate::error::Error;

use super::attempt::Opened;
use super::replay_log::ReplayReader;

/// The clocks of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When it came.
    pub(super) arrived: Instant,
    /// When it must be over.
    pub(super) deadline: Instant,
    /// How long DashScope may be silent in the middle of a stream.
    pub(super) idle_timeout: Duration,
}

/// How far a call has come.
pub(super) enum Stage {
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>),
    Open(Box<Exchange>),
    Joined(ReplayReader),
    Failed(Error),
    Done,
}

impl Stage {
    /// Its name, for an operator.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Opening(_) => "asking",
            Self::Open(_) => "answering",
            Self::Joined(_) => "joined",
            Self::Failed(_) | Self::Done => "ending",
        }
    }

    /// What DashScope has counted so far.
    pub(super) fn usage_so_far(&self) -> Option<Arc<Usage>> {
        match self {
            Self::Open(exchange) => exchange.usage_so_far().map(Arc::new),
            Self::Joined(reader) => reader.usage_so_far(),
            Self::Failed(error) => error.usage().cloned(),
            Self::Opening(_) | Self::Done => None,
        }
    }
}
