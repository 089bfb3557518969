//! Metrics of the memory account.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use crate::memory::{Kind, MemoryLedger};

/// What calls hold, the limit, and what was released to stay below it.
pub struct MemoryGauges {
    bytes: IntGaugeVec,
    limit: IntGauge,
    relieved: IntCounterVec,
    ledger: MemoryLedger,
}

impl MemoryGauges {
    /// Gauges of an account without a limit.
    pub(super) fn new(bytes: IntGaugeVec, limit: &IntGaugeVec, relieved: IntCounterVec) -> Self {
        Self {
            bytes,
            limit: limit.with_label_values::<&str>(&[]),
            relieved,
            ledger: MemoryLedger::default(),
        }
    }

    /// Shows this account from now on.
    pub(super) fn follow(&mut self, ledger: MemoryLedger) {
        self.ledger = ledger;
    }

    /// Counts what was released for lack of memory.
    pub fn relieved(&self, what: &str, count: u64) {
        self.relieved.with_label_values(&[what]).inc_by(count);
    }

    /// Reads the account.
    pub(super) fn update(&self) {
        let number = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        for kind in Kind::ALL {
            let gauge = self.bytes.with_label_values(&[kind.name()]);
            gauge.set(number(self.ledger.of(kind)));
        }
        self.limit.set(number(self.ledger.limit()));
    }
}
