//! What the gateway does with its store besides calls.

use std::time::Duration;

use crate::config::Settings;
use crate::error::Error;
use crate::store::Store;

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
