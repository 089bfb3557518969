//! The outcome of a call, as a label value.

use crate::error::{Kind, Reason};

/// The outcome of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// With a complete answer.
    Ok,
    /// The caller cancelled it.
    #[default]
    Cancelled,
    /// It failed with an error.
    Failed(Kind, Reason),
}

impl Outcome {
    /// The label value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Failed(_, reason) => reason.name(),
        }
    }

    /// The reason of a call that was refused because of a limit, without an attempt.
    pub(super) fn shed(self, attempts: u32) -> Option<Reason> {
        match self {
            Self::Failed(Kind::Exhausted | Kind::Unavailable, reason) if attempts == 0 => {
                Some(reason)
            }
            Self::Ok | Self::Cancelled | Self::Failed(..) => None,
        }
    }
}
