//! The memory of calls: charged when they begin, and taken back when it is nearly used up.

use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::Caller;
use crate::error::Error;
use crate::memory::{Kind, MemoryLedger, Share};
use crate::telemetry::report::Report;

use super::Relay;

/// How long calls that were ended for lack of memory have to give it back before more are ended: a
/// few turns of a busy thread.
const RELIEVE_PAUSE: Duration = Duration::from_millis(20);

impl Relay {
    /// Charges the memory of a call before it is read. Refuses at once when there is none left.
    pub fn charge(
        &self,
        kind: Kind,
        report: impl FnOnce() -> Report,
        (whose, arrived): (Caller, Instant),
    ) -> Result<Share, Error> {
        let share = self.inner.memory.admit(kind, whose);
        share.inspect_err(|error| self.refuse(report(), arrived, error))
    }

    /// The account of memory.
    pub fn memory(&self) -> &MemoryLedger {
        &self.inner.memory
    }

    /// Takes memory back whenever it is nearly used up: first answers that are kept, then the
    /// heaviest calls of the callers that hold the most. Never ends.
    pub async fn relieve(&self) {
        let inner = &self.inner;
        loop {
            inner.memory.pressure().await;
            let excess = inner.memory.excess();
            let before = inner.memory.used();
            let dropped = match excess {
                0 => 0,
                excess => inner.once.relieve(excess, None),
            };
            let freed = before.saturating_sub(inner.memory.used());
            let (mut ended, missing) = inner.memory.relieve(excess.saturating_sub(freed));
            if missing > 0 {
                let above = inner.memory.above_fair_share();
                ended += inner.calls.relieve(above, missing);
            }
            if excess == 0 && ended == 0 {
                continue;
            }
            let metrics = &inner.telemetry.metrics;
            metrics.memory.relieved("kept_answer", dropped);
            metrics.memory.relieved("call", ended);
            tracing::warn!(
                excess,
                dropped,
                ended,
                "memory nearly used up: dropped kept answers and ended the heaviest calls of the \
                 heaviest callers"
            );
            // What was ended gives its memory back when its task runs; until then it is no reason
            // to end more.
            tokio::time::sleep(RELIEVE_PAUSE).await;
        }
    }
}
