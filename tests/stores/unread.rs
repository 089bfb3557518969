//! How long calls go on that are left by their readers, or read at another replica alone.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::converse_stream_response::Event;
use sqlx::Connection as _;
use tokio::time::Instant;

use crate::database::{connection, execute};
use crate::replicas::replica;
use crate::resumed::{ask, calls, cancel, expected, next, open, rest, resumable, three};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_call_goes_on_for_a_reader_at_another_replica,
        a_call_that_was_left_at_two_replicas_ends,
        the_grace_of_a_detached_call_begins_when_its_last_reader_left,
        a_detached_call_without_a_reader_ends_without_the_store,
        a_stream_that_ends_with_its_reader_is_not_reported_as_resumable,
        a_call_is_cancelled_at_a_replica_that_begins_to_follow_it,
    ]
}

/// A replica whose detached calls go on for this long.
async fn patient(upstream: &Upstream, store: &StoreSettings, grace: Duration) -> Running {
    let mut settings = settings(upstream);
    settings.store = Some(store.clone());
    settings.idempotency.detached_grace = grace;
    gateway_with(settings).await
}

async fn a_call_goes_on_for_a_reader_at_another_replica(store: StoreSettings) {
    let upstream = three(Step::Pause(Duration::from_millis(1500))).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, ask(0, false)).await.unwrap();
    next(&mut first).await.unwrap();
    let mut second = open(&two, ask(0, false)).await.unwrap();
    next(&mut second).await.unwrap();
    drop(first);
    assert_eq!(rest(&mut second).await, expected(1));
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_call_that_was_left_at_two_replicas_ends(store: StoreSettings) {
    let mut upstream = three(Step::Hang).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, ask(0, false)).await.unwrap();
    next(&mut first).await.unwrap();
    let mut second = open(&two, ask(0, false)).await.unwrap();
    next(&mut second).await.unwrap();
    drop((first, second));
    upstream.closed().await;
    assert_eq!(upstream.seen().len(), 1);
}

async fn the_grace_of_a_detached_call_begins_when_its_last_reader_left(store: StoreSettings) {
    let grace = Duration::from_secs(5);
    let mut upstream = three(Step::Hang).await;
    let one = patient(&upstream, &store, grace).await;
    let two = patient(&upstream, &store, grace).await;
    let mut first = open(&one, ask(0, true)).await.unwrap();
    next(&mut first).await.unwrap();
    drop(first);
    let mut second = open(&two, ask(0, true)).await.unwrap();
    next(&mut second).await.unwrap();
    let left = Instant::now();
    drop(second);
    upstream.closed().await;
    let went_on = left.elapsed();
    assert!(
        went_on > grace / 2 && went_on < grace * 17 / 10,
        "{went_on:?}"
    );
}

async fn a_detached_call_without_a_reader_ends_without_the_store(store: StoreSettings) {
    let mut upstream = three(Step::Hang).await;
    let one = patient(&upstream, &store, Duration::from_millis(600)).await;
    let mut first = open(&one, ask(0, true)).await.unwrap();
    next(&mut first).await.unwrap();
    execute(&store, "DROP TABLE calls").await;
    drop(first);
    upstream.closed().await;
}

async fn a_stream_that_ends_with_its_reader_is_not_reported_as_resumable(store: StoreSettings) {
    let upstream = three(Step::Pause(Duration::from_millis(500))).await;
    let one = replica(&upstream, &store).await;
    let mut first = open(&one, ask(0, false)).await.unwrap();
    next(&mut first).await.unwrap();
    let reported = async || {
        let answer = one.conversation().converse_stream(resumable(0)).await;
        let answer = answer.unwrap();
        let in_metadata = answer.metadata().contains_key("dashgate-resumable");
        let (_, event) = next(&mut answer.into_inner()).await.unwrap();
        let Some(Event::Started(started)) = event else {
            panic!("{event:?}");
        };
        assert_eq!(started.resumable, in_metadata);
        started.resumable
    };
    assert!(!reported().await);
    assert_eq!(rest(&mut first).await, expected(1));
    // Its answer is kept.
    assert!(reported().await);
}

async fn a_call_is_cancelled_at_a_replica_that_begins_to_follow_it(store: StoreSettings) {
    let mut upstream = three(Step::Hang).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, ask(0, true)).await.unwrap();
    next(&mut first).await.unwrap();
    let mut other = connection(&store).await;
    let lock = match store.url.expose().starts_with("sqlite") {
        true => "BEGIN IMMEDIATE",
        false => "BEGIN; LOCK TABLE calls IN EXCLUSIVE MODE",
    };
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let mut client = two.conversation();
    let second = tokio::spawn(async move { client.converse_stream(ask(0, true)).await });
    // It does not know yet that the call runs elsewhere.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut client = calls(&two);
    let cancelled = tokio::spawn(async move { client.cancel_call(cancel()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    cancelled.await.unwrap().unwrap();
    upstream.closed().await;
    drop(second.await.unwrap());
    assert_eq!(upstream.seen().len(), 1);
}
