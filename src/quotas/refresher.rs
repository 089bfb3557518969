//! Reports use to the store and renews shares, in the background.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::error::{Error, Reason};
use crate::store::Store;
use crate::store::quotas::ShareRequest;

use super::quota::{Inner, Renewals, Shared};

/// The most shares that are renewed in one transaction.
const BATCH: usize = 32;

/// The time between two rounds.
const ROUND: Duration = Duration::from_millis(250);

/// How long the store may take. Longer, and it counts as down.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The time between two signs of life, at most.
const BEAT: Duration = Duration::from_secs(1);

/// Is called when the store fails and when it answers again.
type Report = Box<dyn Fn(bool) + Send + Sync>;

/// Renews shares.
pub struct Refresher {
    store: Store,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Arc<Inner>>,
    /// What has a share, or use to report.
    active: Vec<Arc<Inner>>,
    beaten: Option<Instant>,
    report: Report,
}

impl Refresher {
    /// Renews shares of limits in this store.
    pub fn new(store: Store, renewals: Renewals) -> Self {
        Self {
            store,
            shared: renewals.shared,
            queue: renewals.queue,
            active: Vec::new(),
            beaten: None,
            report: Box::new(|_| {}),
        }
    }

    /// Calls this function with whether the store is down, when that changes.
    pub fn report_to(&mut self, report: impl Fn(bool) + Send + Sync + 'static) {
        self.report = Box::new(report);
    }

    /// Renews shares until it is dropped.
    pub async fn run(&mut self) {
        let mut rounds = tokio::time::interval(ROUND.min(self.store.lease() / 4));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = rounds.tick() => self.round().await,
                Some(first) = self.queue.recv() => {
                    let queued = self.queued(first);
                    // What is used meanwhile is reported when the store answers again.
                    if !self.shared.is_down() {
                        self.exchange(&queued, false).await;
                    }
                }
            }
        }
    }

    /// Reports all use and returns all shares, for a short time.
    pub async fn close(&mut self) {
        let close = async {
            self.queue.close();
            while let Some(inner) = self.queue.recv().await {
                self.activate(&inner);
            }
            // The second time reports what was used during the first.
            for _ in 0..2 {
                for batch in self.active.clone().chunks(BATCH) {
                    self.exchange(batch, true).await;
                }
            }
            self.store.leave().await
        };
        match tokio::time::timeout(TIMEOUT, close).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the last use of limits could not be saved in the store");
            }
        }
    }

    /// What is queued, as far as it fits into one transaction.
    fn queued(&mut self, first: Arc<Inner>) -> Vec<Arc<Inner>> {
        let mut queued = vec![first];
        while queued.len() < BATCH
            && let Ok(inner) = self.queue.try_recv()
        {
            queued.push(inner);
        }
        for inner in &queued {
            self.activate(inner);
        }
        queued
    }

    fn activate(&mut self, inner: &Arc<Inner>) {
        inner.is_queued.store(false, Ordering::Relaxed);
        let share = inner.share();
        if !inner.is_active.swap(true, Ordering::Relaxed) {
            self.active.push(Arc::clone(inner));
        }
        drop(share);
    }

    async fn round(&mut self) {
        let now = Instant::now();
        let interval = BEAT.min(self.store.lease() / 3);
        if self.beaten.is_none_or(|last| now - last >= interval) {
            self.beaten = Some(now);
            let replicas = within(self.store.beat()).await;
            if let Ok(replicas) = &replicas {
                self.shared
                    .replicas
                    .store((*replicas).max(1), Ordering::Relaxed);
            }
            self.found(replicas.err());
        }
        if self.shared.is_down() {
            return;
        }
        let lease = self.store.lease();
        let is_due = |inner: &&Arc<Inner>| inner.share().is_due(lease, now);
        let due: Vec<_> = self.active.iter().filter(is_due).cloned().collect();
        for batch in due.chunks(BATCH) {
            self.exchange(batch, false).await;
        }
        self.active.retain(|inner| {
            let share = inner.share();
            let is_settled = share.is_settled();
            if is_settled {
                inner.is_active.store(false, Ordering::Relaxed);
            }
            !is_settled
        });
    }

    /// Exchanges use for shares.
    async fn exchange(&mut self, batch: &[Arc<Inner>], ends: bool) {
        let mut batch: Vec<_> = batch.iter().collect();
        batch.sort_by(|one, other| one.key.cmp(&other.key));
        batch.dedup_by(|one, other| one.key == other.key);
        let now = Instant::now();
        let requests: Vec<_> = batch
            .iter()
            .map(|inner| inner.request(self.shared.next_report(), ends, now))
            .collect();
        let grants = within(self.store.share(&requests)).await;
        match grants {
            Ok(grants) => {
                for (inner, grant) in batch.iter().zip(&grants) {
                    inner.share().receive(grant, Instant::now());
                }
                self.found(None);
            }
            Err(error) => self.found(Some(error)),
        }
        for inner in batch {
            inner.exchanged.notify_waiters();
        }
    }

    /// Records whether the store answers.
    fn found(&self, error: Option<Error>) {
        let is_down = error.is_some();
        if self.shared.is_down.swap(is_down, Ordering::Relaxed) == is_down {
            return;
        }
        (self.report)(is_down);
        match error {
            Some(error) => tracing::error!(
                %error,
                when_down = ?self.shared.when_down,
                "limits are not shared: the store does not answer"
            ),
            None => tracing::info!("limits are shared again: the store answers"),
        }
    }
}

impl Inner {
    fn request(&self, report: i64, ends: bool, now: Instant) -> ShareRequest {
        let (report, ask) = self.share().ask(report, ends, now);
        ShareRequest {
            key: self.key.clone(),
            report,
            ask,
        }
    }
}

async fn within<T>(operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(TIMEOUT, operation).await {
        Ok(done) => done,
        Err(_) => {
            let message = "the store of the gateway does not answer in time";
            Err(Error::new(Reason::StoreDown, message))
        }
    }
}
