//! What the gateway does with its store besides calls.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Settings;
use crate::error::Error;
use crate::quotas::{Quotas, Refresher, Renewals};
use crate::relay::accounts::shared_rates::Sharing;
use crate::store::Store;
use crate::telemetry::Telemetry;

use super::module_configs;

/// How often what has expired is deleted from the store, on average.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Opens the store of these settings, if there is one.
pub(super) async fn open(settings: &Settings) -> Result<Option<Store>, Error> {
    match module_configs::store_settings(settings) {
        Some(config) => Ok(Some(Store::open(&config).await?)),
        None => Ok(None),
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

/// Deletes what has expired in the store, until it is dropped.
pub(super) async fn sweep(store: Option<Store>) {
    let Some(store) = store else {
        return std::future::pending().await;
    };
    loop {
        // Replicas that started together do not sweep together.
        let pause = SWEEP_INTERVAL.mul_f64(0.5 + fastrand::f64());
        tokio::time::sleep(pause).await;
        loop {
            match store.sweep().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "the store cannot be swept now");
                    break;
                }
            }
        }
    }
}
