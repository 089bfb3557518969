//! How a live session is connected: within the limits of all calls.

use std::time::Duration;

use dashgate::config::ServerKind;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Code;

use crate::metrics::{Scrape, page};
use crate::openai_answers::settings_of;
use crate::support::live_call::{LiveCall, setup};
use crate::support::realtime::RealtimeUpstream;
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

/// The sessions that are opened while DashScope refuses all of them.
const SESSIONS: usize = 40;

#[tokio::test(start_paused = true)]
async fn retries_are_within_the_budget_of_all_calls_and_no_fallback_is_counted_without_one() {
    let upstream = RealtimeUpstream::start().await;
    for _ in 0..3 * SESSIONS {
        let body = json!({"code": "InternalError", "message": "m", "request_id": "up-1"});
        upstream.refuse(500, None, &body);
    }
    let gateway = gateway_at(upstream.base_url(), |settings| {
        // The budget alone, without the circuit that would open long before.
        settings.upstream.breaker_failures = 0;
        settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    for _ in 0..SESSIONS {
        let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
        assert_fault(&status, Code::Unavailable, "UPSTREAM_INTERNAL");
    }
    let retries = upstream.requests().len() - SESSIONS;
    // A reserve of ten, and a tenth of all calls.
    assert!((10..=10 + SESSIONS / 10).contains(&retries), "{retries}");
    let scrape = Scrape::of(&page(&gateway, "/metrics").await);
    assert!(scrape.some("dashgate_fallbacks_total").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_model_with_its_own_first_event_timeout_ends_after_it() {
    // Connections are accepted by the system, and no handshake is answered.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/api/v1", silent.local_addr().unwrap());
    let gateway = gateway_at(base_url, |settings| {
        let own = (OMNI.to_owned(), Duration::from_secs(5));
        settings.models.first_event_timeouts = vec![own];
    })
    .await;
    let begun = Instant::now();
    let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
    assert_fault(&status, Code::DeadlineExceeded, "FIRST_EVENT_TIMEOUT");
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn other_upstreams_than_dashscope_have_no_live_sessions_and_are_not_called() {
    for kind in [
        ServerKind::OpenAi,
        ServerKind::Vllm,
        ServerKind::DashScopeCompatible,
    ] {
        let upstream = Upstream::always(json(200, "{}")).await;
        let gateway = gateway_with(settings_of(kind, &upstream)).await;
        let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
        assert_fault(&status, Code::Unimplemented, "UNSUPPORTED_OPERATION");
        assert!(upstream.seen().is_empty());
    }
}
