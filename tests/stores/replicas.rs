//! Replicas of the gateway with one store.

use dashgate::config::StoreSettings;

use crate::support::*;

/// A replica in this process, in front of this DashScope.
pub async fn replica(upstream: &Upstream, store: &StoreSettings) -> Running {
    let mut settings = settings(upstream);
    settings.store = Some(store.clone());
    gateway_with(settings).await
}

/// A replica in a process of its own, which can be killed. Its lease is short.
pub fn process(upstream: &Upstream, store: &StoreSettings) -> Process {
    let settings = [
        ("DASHGATE_STORE_URL", store.url.expose()),
        ("store.lease", "1s"),
    ];
    Process::start(upstream.address, &settings, "")
}
