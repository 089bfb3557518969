//! What the gateway does with its store besides calls: it opens it, observes it, and deletes what
//! has expired.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Settings, StoreSettings};
use crate::error::{Error, Reason};
use crate::quotas::{Quotas, Refresher, Renewals};
use crate::relay::accounts::shared_rates::Sharing;
use crate::store::{Engine, Observer, Store, StoreConfig};
use crate::telemetry::Telemetry;

use super::module_configs;

/// How often what has expired is deleted from the store, on average.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The store of a gateway.
#[derive(Clone)]
pub(super) struct Stored {
    /// Where state is kept.
    pub(super) store: Store,
    health: Arc<Health>,
}

/// Whether the store answers, by its latest operation. Every half second there is one, because rate
/// limits of other replicas are read.
struct Health {
    engine: Engine,
    telemetry: Arc<Telemetry>,
    down_since: Mutex<Option<Instant>>,
}

impl Observer for Health {
    fn ended(&self, operation: &'static str, result: Result<(), &Error>, duration: Duration) {
        self.telemetry
            .metrics
            .store
            .ended(operation, result, duration);
        let down = result
            .err()
            .filter(|error| error.reason() == Reason::StoreDown);
        let mut since = self
            .down_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (down, *since) {
            (Some(error), None) => {
                *since = Some(Instant::now());
                let cause = error.cause().unwrap_or_default();
                tracing::warn!(operation, cause, "{} does not answer", self.engine.name());
            }
            (None, Some(begun)) => {
                *since = None;
                let seconds = begun.elapsed().as_secs();
                tracing::info!(seconds, "{} answers again", self.engine.name());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.telemetry
            .metrics
            .store
            .up(self.engine.name(), since.is_none());
    }
}

/// The limits that replicas share, if there is a store.
pub(super) fn quotas(settings: &Settings) -> (Option<Quotas>, Option<Renewals>) {
    let when_down = module_configs::quotas_when_down(settings);
    when_down.map(Quotas::new).unzip()
}

/// What replicas share about accounts.
pub(super) fn sharing(store: Option<&Store>, quotas: Option<Quotas>) -> Option<Sharing> {
    Some(Sharing::new(store?.clone(), quotas?))
}

/// What renews the shares of limits.
pub(super) fn refresher(
    store: Option<&Store>,
    renewals: Option<Renewals>,
    telemetry: &Arc<Telemetry>,
) -> Option<Refresher> {
    let mut refresher = Refresher::new(store?.clone(), renewals?);
    let telemetry = Arc::clone(telemetry);
    refresher.report_to(move |is_down| telemetry.metrics.limits_unshared.set(is_down.into()));
    Some(refresher)
}

/// Renews shares of limits until it is dropped.
pub(super) async fn share(refresher: Option<&mut Refresher>) {
    match refresher {
        Some(refresher) => refresher.run().await,
        None => std::future::pending().await,
    }
}

/// How to reach the store of these settings.
pub(crate) fn config(settings: &StoreSettings) -> StoreConfig {
    StoreConfig {
        url: settings.url.clone(),
        max_connections: settings.max_connections,
        migrate: settings.migrate,
        lease: settings.lease,
    }
}

/// Opens the store of these settings, if there is one.
pub(super) async fn open(
    settings: Option<&StoreSettings>,
    telemetry: &Arc<Telemetry>,
) -> Result<Option<Stored>, Error> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let store = Store::open(&config(settings)).await?;
    let health = Arc::new(Health {
        engine: store.engine(),
        telemetry: Arc::clone(telemetry),
        down_since: Mutex::default(),
    });
    let observer = Arc::clone(&health) as Arc<dyn Observer>;
    let store = store.observed_by(observer);
    Ok(Some(Stored { store, health }))
}

impl Stored {
    /// Whether it answers, as a line of text.
    pub(super) fn state(&self) -> String {
        let name = self.health.engine.name();
        let since = self.health.down_since.lock();
        match *since.unwrap_or_else(PoisonError::into_inner) {
            None => format!("store: {name}, answers\n"),
            Some(begun) => {
                let seconds = begun.elapsed().as_secs();
                format!("store: {name}, no answer for {seconds} s\n")
            }
        }
    }

    /// Deletes what has expired, until it is dropped.
    async fn sweep(&self) {
        loop {
            // Replicas that started together do not sweep together.
            let pause = SWEEP_INTERVAL.mul_f64(0.5 + fastrand::f64());
            tokio::time::sleep(pause).await;
            // Until nothing is left, or the next time after an error.
            while let Ok(true) = self.store.sweep().await {}
        }
    }
}

/// Returns when the store cannot be used until the process starts again.
pub(super) async fn unusable(stored: Option<&Stored>) {
    match stored {
        Some(stored) => stored.store.flush_failed().await,
        None => std::future::pending().await,
    }
}

/// The error of a process that ends because its store cannot be used.
pub(super) fn result(stored: Option<&Stored>) -> Result<(), Error> {
    if stored.is_none_or(|stored| !stored.store.has_failed_flush()) {
        return Ok(());
    }
    let message = "store.url: the disk did not take what was written (fsync failed); check the \
                   disk, then start again: the store needs no repair";
    Err(Error::new(Reason::StoreDown, message))
}

/// What a gateway does for its store, if it has one, until it is dropped.
pub(super) async fn keep(stored: Option<Stored>) {
    match stored {
        Some(stored) => stored.sweep().await,
        None => std::future::pending().await,
    }
}
