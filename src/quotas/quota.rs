//! Limits as calls see them: each is decided by this replica's share, without access to the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::chat::call::Tenant;
use crate::store::allowance::QuotaKind;
use crate::store::quotas::QuotaKey;

use super::share::Share;

/// How many shares may wait to be renewed. One that finds no place is renewed in the next round.
const QUEUE: usize = 4096;

/// How many limits are known before the unused ones are forgotten.
const KNOWN: usize = 1024;

/// The highest amount, so that sums of many fit.
const MAX: i64 = 1_000_000_000_000;

/// What happens to calls that have limits while the store is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// Each replica applies its part of each limit.
    #[default]
    Share,
    /// Each replica applies the whole limits.
    Open,
    /// The calls are refused.
    Closed,
}

/// The limits that this replica shares with others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Quotas {
    shared: Arc<Shared>,
}

/// The shares that are to be renewed.
#[derive(Debug)]
pub struct Renewals {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::Receiver<Arc<Inner>>,
}

/// What all limits have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) when_down: WhenDown,
    pub(super) is_down: AtomicBool,
    /// How many replicas run.
    pub(super) replicas: AtomicI64,
    queue: mpsc::Sender<Arc<Inner>>,
    /// The number of the last report. Each is greater than all before, whatever the limit.
    reports: AtomicI64,
    /// What is in use, so that each limit has one share.
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    limits: HashMap<QuotaKey, Weak<Inner>>,
    /// The size at which the unused ones are forgotten.
    forget_at: usize,
}

/// One limit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Quota {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
}

/// One limit, as it is known here.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) key: QuotaKey,
    share: Mutex<Share>,
    /// Whether it waits in the queue.
    pub(super) is_queued: AtomicBool,
    /// Whether the task in the background knows it. Changed under the lock of the share.
    pub(super) is_active: AtomicBool,
    pub(super) exchanged: Notify,
}

/// Whether a limit admits a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// After this time; zero is now.
    Wait(Duration),
    /// The store is down, and the limit is this replica's own.
    Local,
    /// The store is down, and calls with limits are refused.
    Closed,
}

impl Quotas {
    /// Shared limits, and the renewals of their shares, which [`Refresher`] makes.
    pub fn new(when_down: WhenDown) -> (Self, Renewals) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            when_down,
            is_down: AtomicBool::new(false),
            replicas: AtomicI64::new(1),
            queue: sender,
            reports: AtomicI64::new(0),
            known: Mutex::new(Known {
                limits: HashMap::new(),
                forget_at: KNOWN,
            }),
        });
        let renewals = Renewals {
            shared: Arc::clone(&shared),
            queue,
        };
        (Self { shared }, renewals)
    }

    /// A limit of this tenant, of which replicas have shares from its first use on.
    pub fn quota(&self, tenant: Tenant, name: &str, kind: QuotaKind) -> Quota {
        let key = QuotaKey {
            tenant,
            name: name.into(),
        };
        let mut known = self.shared.known();
        let inner = match known.limits.get(&key).and_then(Weak::upgrade) {
            Some(inner) => inner,
            None => {
                let inner = Arc::new(Inner::new(key.clone(), kind));
                known.limits.insert(key, Arc::downgrade(&inner));
                known.forget();
                inner
            }
        };
        drop(known);
        Quota {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Known {
    fn forget(&mut self) {
        if self.limits.len() >= self.forget_at {
            self.limits.retain(|_, inner| inner.strong_count() > 0);
            self.forget_at = (self.limits.len() * 2).max(KNOWN);
        }
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store does not answer.
    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// The number of the next report.
    pub(super) fn next_report(&self) -> i64 {
        self.reports.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn replicas(&self) -> i64 {
        self.replicas.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn new(key: QuotaKey, kind: QuotaKind) -> Self {
        Self {
            key,
            share: Mutex::new(Share::new(kind, Instant::now())),
            is_queued: AtomicBool::new(false),
            is_active: AtomicBool::new(false),
            exchanged: Notify::new(),
        }
    }

    /// This replica's share.
    pub(super) fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quota {
    /// Whether this amount is available; [`Quota::take`] takes it. A limit of 0 is none.
    pub fn check(&self, amount: u64, limit: u64, now: Instant) -> Verdict {
        if limit == 0 {
            return Verdict::Wait(Duration::ZERO);
        }
        let (amount, limit) = (number(amount), number(limit));
        let replicas = self.shared.replicas();
        let is_down = self.shared.is_down();
        match self.shared.when_down {
            WhenDown::Open if is_down => return Verdict::Local,
            WhenDown::Closed if is_down => return Verdict::Closed,
            WhenDown::Share | WhenDown::Open | WhenDown::Closed => {}
        }
        let mut share = self.inner.share();
        if is_down {
            share.refill_alone(limit, replicas, now);
        }
        let wait = share.wait(amount, limit, replicas, now);
        let is_low = !wait.is_zero() && share.is_low(now);
        drop(share);
        if is_low {
            self.queue();
        }
        Verdict::Wait(wait)
    }

    /// Takes an amount, whether it is available or not.
    pub fn take(&self, amount: u64, limit: u64, now: Instant) {
        self.change(number(amount), limit, now);
    }

    /// Corrects an amount that was taken to the actual one.
    pub fn settle(&self, taken: u64, truth: u64, limit: u64, now: Instant) {
        self.change(number(truth) - number(taken), limit, now);
    }

    fn change(&self, amount: i64, limit: u64, now: Instant) {
        if limit == 0 || amount == 0 {
            return;
        }
        let mut share = self.inner.share();
        share.take(amount, number(limit), now);
        let is_new = !self.inner.is_active.load(Ordering::Relaxed);
        let is_low = is_new || share.is_low(now);
        drop(share);
        if is_low {
            self.queue();
        }
    }

    /// Whether a share should be waited for before a call is decided.
    pub fn is_missing(&self, limit: u64, now: Instant) -> bool {
        limit > 0 && !self.shared.is_down() && self.inner.share().is_missing(number(limit), now)
    }

    /// Asks for a share if it is missing.
    pub fn request(&self, limit: u64) {
        if self.is_missing(limit, Instant::now()) {
            self.queue();
        }
    }

    /// Waits until there is a share or the store has none, or until the store has failed.
    pub async fn prepare(&self, limit: u64) {
        let mut exchanged = std::pin::pin!(self.inner.exchanged.notified());
        // From here on, no exchange is missed.
        exchanged.as_mut().enable();
        if self.is_missing(limit, Instant::now()) {
            self.queue();
            exchanged.await;
        }
    }

    /// Has the share renewed soon.
    fn queue(&self) {
        if self.inner.is_queued.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.shared.queue.try_send(Arc::clone(&self.inner)).is_err() {
            self.inner.is_queued.store(false, Ordering::Relaxed);
        }
    }
}

fn number(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(MAX).min(MAX)
}
