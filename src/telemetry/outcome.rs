//! How a call ended, in one word.

use crate::error::{Kind, Reason};

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// With a complete answer.
    Ok,
    /// The caller went away.
    #[default]
    Cancelled,
    /// With a fault.
    Failed(Kind, Reason),
}

impl Outcome {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Failed(_, reason) => reason.name(),
        }
    }

    /// The reason of a call that was refused because of a limit, with nobody asked.
    pub(super) fn shed(self, attempts: u32) -> Option<Reason> {
        match self {
            Self::Failed(Kind::Exhausted | Kind::Unavailable, reason) if attempts == 0 => {
                Some(reason)
            }
            Self::Ok | Self::Cancelled | Self::Failed(..) => None,
        }
    }
}
