//! Repetition of operations that met a conflict or a broken connection.

use std::time::Duration;

use crate::error::Error;

use super::failure::{self, Failure};

/// How often an operation is executed.
const MAX_ATTEMPTS: u32 = 3;

/// The pause before the first repetition; it doubles.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs an operation, a block with `await` and `?`, and repeats it. It must have the same result if
/// its first execution had succeeded unnoticed. A macro, because a closure that borrows would make
/// the future of every caller unsendable.
macro_rules! repeat {
    ($operation:block) => {{
        let mut repetition = $crate::store::repeat::Repetition::default();
        loop {
            let done: Result<_, sqlx::Error> = async { $operation }.await;
            match done {
                Ok(value) => break Ok(value),
                Err(error) => {
                    if let Err(error) = repetition.after(&error).await {
                        break Err(error);
                    }
                }
            }
        }
    }};
}

pub(super) use repeat;

/// The repetitions of one operation.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    failures: u32,
}

impl Repetition {
    /// Waits before the next execution, or returns the error of the operation.
    pub(super) async fn after(&mut self, error: &sqlx::Error) -> Result<(), Error> {
        self.failures += 1;
        match failure::kind(error) {
            Failure::Conflict | Failure::Disconnected if self.failures < MAX_ATTEMPTS => {
                tokio::time::sleep(PAUSE * (1 << (self.failures - 1))).await;
                Ok(())
            }
            Failure::Conflict
            | Failure::Disconnected
            | Failure::Down
            | Failure::Full
            | Failure::Damaged
            | Failure::Other => Err(failure::of(error)),
        }
    }
}
