//! This replica's share of one limit: pure computation, with the time as a parameter.
//!
//! Calls take from the balance. What they used is reported to the store in exchange for a new
//! share; the rest of the old one is kept, so that calls meanwhile need not wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::allowance::{Ask, Grant, QuotaKind};

/// How long a share is kept without use.
pub(super) const IDLE: Duration = Duration::from_secs(2);

/// How long use may be unreported.
const REPORT: Duration = Duration::from_millis(500);

/// How long a call waits that needs more than the share, while the rest is being asked for.
const ASKED: Duration = Duration::from_millis(100);

/// The day of a limit whose share was never asked for.
const UNKNOWN: i64 = -1;

/// This replica's share.
#[derive(Debug)]
pub(super) struct Share {
    kind: QuotaKind,
    limit: i64,
    /// What calls may still take.
    balance: i64,
    /// The size of the last share.
    granted: i64,
    /// What was in no share at the last exchange.
    rest: i64,
    /// What was used since the last report; of a limit of what is held, all that is held.
    used: i64,
    /// The report that was sent, until its receipt is certain.
    sent: Option<Sent>,
    day: i64,
    /// When the share ends.
    ends: Option<Instant>,
    /// What a call needed that was refused.
    need: i64,
    /// When nothing could be had before.
    refused: Option<Instant>,
    /// The last use, and the last exchange.
    touched: Instant,
    exchanged: Option<Instant>,
    /// Since when, without the store, the balance has been refilled up to here.
    alone: Option<Instant>,
}

/// A report of use.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: i64,
    used: i64,
    day: i64,
}

impl Share {
    /// No share yet.
    pub(super) fn new(kind: QuotaKind, now: Instant) -> Self {
        Self {
            kind,
            limit: 0,
            balance: 0,
            granted: 0,
            rest: 0,
            used: 0,
            sent: None,
            day: match kind {
                QuotaKind::Day => UNKNOWN,
                QuotaKind::Rate | QuotaKind::Held => 0,
            },
            ends: None,
            need: 0,
            refused: None,
            touched: now,
            exchanged: None,
            alone: None,
        }
    }

    /// How long a call has to wait that needs this much; zero if it need not. `replicas` is how
    /// many share the limit.
    pub(super) fn wait(
        &mut self,
        amount: i64,
        limit: i64,
        replicas: i64,
        now: Instant,
    ) -> Duration {
        self.set_limit(limit, now);
        let need = amount.min(limit);
        if need <= self.balance {
            return Duration::ZERO;
        }
        // A call that needs more than the share takes it from this replica's part of the rest: it
        // is large, or the next share is on its way. Half of the part, because the rest is that of
        // the last exchange.
        let part = match self.exchanged {
            Some(_) => self.rest / (2 * replicas.max(1)),
            None => self.rest / replicas.max(1),
        };
        if self.refused.is_none() && need <= self.balance.saturating_add(part) {
            return Duration::ZERO;
        }
        self.need = self.need.max(need);
        self.touched = now;
        match self.refused {
            Some(until) if until > now => until - now,
            _ => ASKED,
        }
    }

    /// Takes what [`Self::wait`] found available, or what was used beyond it.
    pub(super) fn take(&mut self, amount: i64, limit: i64, now: Instant) {
        self.set_limit(limit, now);
        if amount > self.balance {
            self.rest = (self.rest - (amount - self.balance.max(0))).max(0);
        }
        self.balance = self.balance.saturating_sub(amount);
        self.used = self.used.saturating_add(amount);
        if amount > 0 {
            self.touched = now;
        }
    }

    fn set_limit(&mut self, limit: i64, now: Instant) {
        if self.ends.is_some_and(|ends| ends <= now) {
            // A new day: nothing of it has been used, and nothing of the old one matters.
            self.day += 1;
            (self.balance, self.granted, self.used, self.sent) = (0, 0, 0, None);
            (self.rest, self.ends, self.refused) = (limit, None, None);
            self.exchanged = None;
        }
        if limit != self.limit {
            if self.exchanged.is_none() {
                self.rest = limit;
            }
            (self.limit, self.refused) = (limit, None);
        }
    }

    /// Whether calls probably cannot be decided without an exchange first.
    pub(super) fn is_missing(&mut self, limit: i64, now: Instant) -> bool {
        self.set_limit(limit, now);
        let is_missing = self.balance < 1 && self.refused.is_none_or(|until| until <= now);
        if is_missing {
            // A call is about to use it.
            self.touched = now;
        }
        is_missing
    }

    /// Whether an exchange should not wait for the next round.
    pub(super) fn is_low(&self, now: Instant) -> bool {
        let is_low = self.balance <= self.granted / 2 || self.need > self.balance;
        is_low && self.refused.is_none_or(|until| until <= now)
    }

    /// Whether an exchange is due, in the regular rounds.
    pub(super) fn is_due(&self, lease: Duration, now: Instant) -> bool {
        let Some(last) = self.exchanged else {
            return true;
        };
        let passed = now.saturating_duration_since(last);
        let reported = self.used == 0 || self.kind == QuotaKind::Held;
        self.sent.is_some()
            || (!reported && passed >= REPORT.min(lease / 4))
            || (self.holds() && passed >= lease / 4)
            || (self.balance > 0 && self.is_idle(now))
    }

    /// Whether nothing is left to report, to renew or to return.
    pub(super) fn is_settled(&self) -> bool {
        !self.holds() && self.sent.is_none() && self.used == 0
    }

    fn holds(&self) -> bool {
        self.balance > 0 || (self.kind == QuotaKind::Held && self.used > 0)
    }

    fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.touched) >= IDLE
    }

    /// Begins an exchange, with this number unless an earlier report is repeated. An idle replica,
    /// and one that ends, returns what it has at once.
    pub(super) fn ask(&mut self, report: i64, ends: bool, now: Instant) -> (i64, Ask) {
        let limit = self.limit;
        self.set_limit(limit, now);
        let returns = ends || self.is_idle(now);
        if returns {
            self.balance = self.balance.min(0);
        }
        let is_held = self.kind == QuotaKind::Held;
        let sent = match self.sent {
            Some(sent) => sent,
            None => {
                let used = match self.kind {
                    QuotaKind::Held => 0,
                    // After an outage; the rest has been refilled.
                    QuotaKind::Rate => std::mem::take(&mut self.used).min(limit),
                    QuotaKind::Day => std::mem::take(&mut self.used),
                };
                let sent = Sent {
                    number: report,
                    used,
                    day: self.day,
                };
                *self.sent.insert(sent)
            }
        };
        let need = match returns {
            true => 0,
            false => self.need.max(1) + if is_held { self.used } else { 0 },
        };
        let ask = Ask {
            kind: self.kind,
            limit,
            used: sent.used,
            day: sent.day,
            keep: self.balance.max(0) + self.used.max(0),
            need: need.min(limit),
        };
        self.need = 0;
        (sent.number, ask)
    }

    /// Ends an exchange.
    pub(super) fn receive(&mut self, grant: &Grant, now: Instant) {
        if let Some(sent) = self.sent.take()
            && sent.day == UNKNOWN
        {
            // The store did not count it, because its day was not known.
            self.used = self.used.saturating_add(sent.used);
        }
        self.day = grant.day;
        self.granted = grant.amount;
        self.rest = grant.rest;
        self.balance = grant.amount - self.used;
        self.ends = match self.kind {
            QuotaKind::Day => Some(now + millis(grant.left)),
            QuotaKind::Rate | QuotaKind::Held => None,
        };
        self.refused = (grant.wait > 0).then(|| now + millis(grant.wait));
        self.exchanged = Some(now);
        self.alone = None;
    }

    /// Lets the balance grow by this replica's part of the limit while the store is down.
    pub(super) fn refill_alone(&mut self, limit: i64, replicas: i64, now: Instant) {
        self.set_limit(limit, now);
        let replicas = replicas.max(1);
        let Some(since) = self.alone else {
            self.balance += self.rest / replicas;
            (self.rest, self.alone, self.refused) = (0, Some(now), None);
            return;
        };
        if self.kind != QuotaKind::Rate {
            return;
        }
        let passed = now.saturating_duration_since(since);
        let part = (limit / replicas).max(1);
        let per_second = limit as f64 / 60.0 / replicas as f64;
        let refill = (passed.as_secs_f64() * per_second).floor();
        if refill >= 1.0 {
            let grown = self.balance.saturating_add(refill as i64);
            self.balance = grown.min(part.max(self.balance));
            self.alone = Some(since + Duration::from_secs_f64(refill / per_second));
        }
    }
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(number.clamp(0, 86_400_000).unsigned_abs())
}
