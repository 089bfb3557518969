//! Why a call ended without an answer.

use dashgate_client::Error;

use crate::Fault;

/// The reason why a call ended without an answer.
pub enum Over {
    /// It failed.
    Failed(Error),
    /// It was cancelled.
    Cancelled,
    /// The runner failed.
    Broken(Fault),
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Fault> for Over {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault)
    }
}
