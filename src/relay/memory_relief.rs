//! The memory of calls: charged when they begin, and reclaimed when it is nearly exhausted.

use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::Caller;
use crate::error::Error;
use crate::memory::{Kind, MemoryLedger, Share};
use crate::telemetry::call_report::Report;

use super::Relay;

/// How long calls cancelled for lack of memory have to release it before more are cancelled: a few
/// turns of a busy thread.
const RELIEVE_PAUSE: Duration = Duration::from_millis(20);

impl Relay {
    /// Charges the memory of a call before its request is read. Fails immediately if there is none
    /// left.
    pub fn charge(
        &self,
        kind: Kind,
        report: impl FnOnce() -> Report,
        (whose, arrived): (Caller, Instant),
    ) -> Result<Share, Error> {
        let share = self.inner.memory.admit(kind, whose);
        share.inspect_err(|error| self.refuse(report(), arrived, error))
    }

    /// The memory recorder.
    pub fn memory(&self) -> &MemoryLedger {
        &self.inner.memory
    }

    /// Reclaims memory whenever it is nearly exhausted: first kept results, then the largest calls
    /// of the callers that hold the most. Never returns.
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
            // Cancelled calls release their memory when their tasks run; until then nothing more is
            // cancelled.
            tokio::time::sleep(RELIEVE_PAUSE).await;
        }
    }
}
