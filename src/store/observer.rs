//! Who observes the operations of the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// Is called after every operation of the store.
pub trait Observer: Send + Sync {
    /// An operation has ended, after this time with all its repetitions.
    fn ended(&self, operation: &'static str, result: Result<(), &Error>, duration: Duration);
}

/// The observer of a store, if there is one.
#[derive(Clone, Default)]
pub(super) struct Observed(pub(super) Option<Arc<dyn Observer>>);

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl Observed {
    /// Reports an operation that began at this time.
    pub(super) fn ended(
        &self,
        operation: &'static str,
        result: Result<(), &Error>,
        begun: Instant,
    ) {
        if let Some(observer) = &self.0 {
            observer.ended(operation, result, begun.elapsed());
        }
    }
}
