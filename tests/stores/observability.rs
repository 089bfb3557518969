//! Metrics and pages of a gateway with a store.

use std::sync::Arc;
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use tokio::time::Instant;
use tonic::Code;

use crate::faults::{blocking, server};
use crate::kept::{NAME, create, instructed, mine, say};
use crate::support::admin::{Scrape, page};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        metrics_and_readiness_show_a_store_that_answers,
        the_instructions_of_a_history_are_charged,
        a_page_of_turns_is_read_at_once,
    ]
}

pub fn outages() -> Vec<Test> {
    tests![metrics_and_readiness_show_an_outage_and_its_end]
}

async fn watched(upstream: &Upstream, store: &StoreSettings) -> Running {
    let mut settings = settings(upstream);
    settings.store = Some(store.clone());
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    gateway_with(settings).await
}

fn engine(store: &StoreSettings) -> &'static str {
    match store.url.expose().starts_with("sqlite:") {
        true => "SQLite",
        false => "PostgreSQL",
    }
}

async fn scrape(gateway: &Running) -> Scrape {
    Scrape::of(&page(gateway, "/metrics").await)
}

/// The number of these operations with this outcome.
fn operations(scrape: &Scrape, operation: &str, outcome: &str) -> f64 {
    scrape.value(&format!(
        "dashgate_store_operation_seconds_count{{operation=\"{operation}\",outcome=\"{outcome}\"}}"
    ))
}

/// Waits until the gauges show whether the store answers.
async fn shows(gateway: &Running, is_up: bool) -> Scrape {
    let begun = Instant::now();
    loop {
        let scrape = scrape(gateway).await;
        let up = scrape.value("dashgate_store_up{engine=\"PostgreSQL\"}");
        let unshared = scrape.value("dashgate_limits_unshared");
        if (up, unshared) == (f64::from(is_up), f64::from(!is_up)) {
            return scrape;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{up} {unshared}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn metrics_and_readiness_show_a_store_that_answers(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let gateway = watched(&upstream, &store).await;
    gateway.conversation().converse(named("a")).await.unwrap();
    let engine = engine(&store);
    let scrape = scrape(&gateway).await;
    let up = format!("dashgate_store_up{{engine=\"{engine}\"}}");
    assert_eq!(scrape.some("dashgate_store_up"), [(up.as_str(), 1.0)]);
    assert_eq!(scrape.value("dashgate_limits_unshared"), 0.0);
    for operation in ["begin", "complete"] {
        assert_eq!(operations(&scrape, operation, "OK"), 1.0, "{operation}");
    }
    let ready = page(&gateway, "/readyz").await;
    assert_eq!(ready, format!("ready\nstore: {engine}, answers\n"));
}

async fn metrics_and_readiness_show_an_outage_and_its_end(_: StoreSettings) {
    let (server, store) = server().await;
    let upstream = numbering(Duration::ZERO).await;
    let gateway = watched(&upstream, &store).await;
    shows(&gateway, true).await;
    server.kill();
    let error = gateway.conversation().converse(named("a")).await;
    assert_fault(&error.unwrap_err(), Code::Unavailable, "STORE_DOWN");
    let scrape = shows(&gateway, false).await;
    assert_eq!(operations(&scrape, "begin", "STORE_DOWN"), 1.0);
    // It stays ready: calls without a request id are answered.
    let ready = page(&gateway, "/readyz").await;
    let seconds = ready
        .strip_prefix("ready\nstore: PostgreSQL, no answer for ")
        .and_then(|rest| rest.strip_suffix(" s\n"));
    assert!(
        seconds.is_some_and(|text| text.parse::<u64>().unwrap() < 30),
        "{ready}"
    );
    let again = Arc::clone(&server);
    blocking(move || again.run()).await;
    shows(&gateway, true).await;
    let ready = page(&gateway, "/readyz").await;
    assert_eq!(ready, "ready\nstore: PostgreSQL, answers\n");
}

async fn the_instructions_of_a_history_are_charged(store: StoreSettings) {
    const BYTES: usize = 1 << 20;
    let upstream = Upstream::start(|number, _| match number {
        0 => json(200, &whole("one")),
        _ => vec![Step::Hang],
    })
    .await;
    let gateway = watched(&upstream, &store).await;
    let mut client = gateway.conversation();
    create(&mut client).await;
    let request = instructed(&"x".repeat(BYTES), "one");
    client.converse(mine(request)).await.unwrap();
    let mut second = say("two");
    second.history = Some(pb::HistoryPolicy {
        max_turns: Some(0),
        ..pb::HistoryPolicy::default()
    });
    let call = tokio::spawn(async move { client.converse(mine(second)).await });
    upstream.wait_for_requests(2).await;
    let scrape = scrape(&gateway).await;
    let charged = scrape.value("dashgate_memory_bytes{kind=\"kept_answers\"}");
    assert!(charged >= BYTES as f64, "{charged}");
    call.abort();
}

async fn a_page_of_turns_is_read_at_once(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let gateway = watched(&upstream, &store).await;
    let mut client = gateway.conversation();
    create(&mut client).await;
    for text in ["one", "two", "three", "four"] {
        client.converse(mine(say(text))).await.unwrap();
    }
    let request = pb::ListTurnsRequest {
        name: NAME.to_owned(),
        ..pb::ListTurnsRequest::default()
    };
    let page = client.list_turns(mine(request)).await.unwrap().into_inner();
    assert_eq!(page.turns.len(), 4);
    let scrape = scrape(&gateway).await;
    for operation in ["page_sizes", "turns"] {
        assert_eq!(operations(&scrape, operation, "OK"), 1.0, "{operation}");
    }
}
