//! The rate limits that DashScope applies to an account, over all replicas.

use std::time::Duration;

use dashgate::config::StoreSettings;

use crate::quotas::{ask, three};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![a_rate_limit_of_an_account_is_known_to_all_replicas]
}

async fn a_rate_limit_of_an_account_is_known_to_all_replicas(store: StoreSettings) {
    let body = br#"{"code":"Throttling.RateQuota","message":"m","request_id":"up-9"}"#;
    let upstream = Upstream::always(http(429, "retry-after: 30\r\n", body)).await;
    let replicas = three(&upstream, &store, |_| ()).await;
    let refused = ask(&replicas[0]).await.unwrap_err();
    assert_eq!(reason(&refused), "UPSTREAM_RATE");
    let asked = upstream.seen().len();
    // Replicas read the limits of others twice a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for replica in &replicas {
        let refused = ask(replica).await.unwrap_err();
        assert_eq!(reason(&refused), "UPSTREAM_RATE", "{refused:?}");
    }
    assert_eq!(upstream.seen().len(), asked);
}
