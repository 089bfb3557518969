//! The ownership of calls, without a gateway.

use std::sync::Arc;
use std::time::Duration;

use dashgate::chat::call::Tenant;
use dashgate::config::StoreSettings;
use dashgate::store::calls::{Batch, Begun, CallKey, Found, Owned};
use dashgate::store::{Store, StoreConfig};

use crate::database;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        forgetting_a_complete_call_changes_nothing,
        events_are_forgotten_with_their_call,
        an_answer_that_is_too_long_leaves_no_events,
        a_call_that_was_given_up_takes_nothing_from_its_successor,
        a_later_owner_has_none_of_the_events_of_an_earlier_one,
        a_batch_that_is_written_twice_is_stored_once,
        expired_calls_are_swept_with_their_events_and_others_stay,
    ]
}

const KEEP: Duration = Duration::from_secs(60);

async fn open(settings: &StoreSettings) -> Store {
    let config = StoreConfig {
        url: settings.url.clone(),
        max_connections: 2,
        migrate: true,
        lease: settings.lease,
    };
    Store::open(&config).await.unwrap()
}

fn key() -> CallKey {
    CallKey {
        tenant: Tenant([7; 32]),
        request_id: "a".into(),
    }
}

async fn begin_as(store: &Store, key: &CallKey, owner: &Arc<str>) -> Begun {
    let begun = store.begin((key, owner), b"fingerprint", KEEP, None);
    begun.await.unwrap()
}

async fn begin(store: &Store) -> Owned {
    match begin_as(store, &key(), &store.next_owner()).await {
        Begun::Owned(owned) => owned,
        other => panic!("{other:?}"),
    }
}

fn batch(first: i64, events: &[u8]) -> Batch {
    Batch {
        first,
        events: events.to_vec(),
    }
}

async fn rows(settings: &StoreSettings) -> (i64, i64) {
    let calls = "SELECT count(*) FROM calls";
    let events = "SELECT count(*) FROM call_events";
    (
        database::number(settings, calls).await,
        database::number(settings, events).await,
    )
}

async fn forgetting_a_complete_call_changes_nothing(settings: StoreSettings) {
    let store = open(&settings).await;
    let owned = begin(&store).await;
    let events = [batch(0, b"one"), batch(1, b"two")];
    assert!(store.complete(&owned, &events, KEEP, None).await.unwrap());
    store.forget(&owned).await.unwrap();
    let (found, fingerprint) = store.find(&key()).await.unwrap();
    let Found::Complete(fence) = found else {
        panic!("{found:?}");
    };
    assert_eq!(fingerprint, b"fingerprint");
    assert_eq!(store.events(&key(), fence, 0).await.unwrap(), events);
}

async fn events_are_forgotten_with_their_call(settings: StoreSettings) {
    let store = open(&settings).await;
    let owned = begin(&store).await;
    assert!(store.append(&owned, &[batch(0, b"one")]).await.unwrap());
    assert_eq!(rows(&settings).await, (1, 1));
    store.forget(&owned).await.unwrap();
    assert_eq!(rows(&settings).await, (0, 0));
    assert_eq!(store.find(&key()).await.unwrap().0, Found::Gone);
    assert!(!store.append(&owned, &[batch(1, b"two")]).await.unwrap());
    assert!(
        !store
            .complete(&owned, &[batch(1, b"two")], KEEP, None)
            .await
            .unwrap()
    );
    assert_eq!(rows(&settings).await, (0, 0));
}

async fn an_answer_that_is_too_long_leaves_no_events(settings: StoreSettings) {
    let store = open(&settings).await;
    let owned = begin(&store).await;
    assert!(store.append(&owned, &[batch(0, b"one")]).await.unwrap());
    assert!(store.complete(&owned, &[], KEEP, None).await.unwrap());
    assert_eq!(rows(&settings).await, (1, 0));
    assert_eq!(store.find(&key()).await.unwrap().0, Found::TooLong);
}

async fn a_call_that_was_given_up_takes_nothing_from_its_successor(settings: StoreSettings) {
    let store = open(&settings).await;
    let (given_up, successor) = (store.next_owner(), store.next_owner());
    let Begun::Owned(owned) = begin_as(&store, &key(), &successor).await else {
        panic!("it is new");
    };
    let late = begin_as(&store, &key(), &given_up).await;
    assert!(matches!(late, Begun::Found(Found::Running(_), _)));
    assert!(store.renew(&owned).await.unwrap());
}

async fn a_later_owner_has_none_of_the_events_of_an_earlier_one(settings: StoreSettings) {
    let (one, two) = (open(&settings).await, open(&settings).await);
    let first = begin(&one).await;
    assert!(one.append(&first, &[batch(0, b"old")]).await.unwrap());
    let running = begin_as(&two, &key(), &two.next_owner()).await;
    assert!(matches!(running, Begun::Found(Found::Running(_), _)));
    database::execute(&settings, "UPDATE calls SET lease_until = 0").await;
    let second = begin(&two).await;
    assert!(!one.renew(&first).await.unwrap());
    assert!(!one.append(&first, &[batch(1, b"old")]).await.unwrap());
    assert!(
        !one.complete(&first, &[batch(1, b"old")], KEEP, None)
            .await
            .unwrap()
    );
    one.forget(&first).await.unwrap();
    let events = [batch(0, b"new")];
    assert!(two.complete(&second, &events, KEEP, None).await.unwrap());
    let Found::Complete(fence) = one.find(&key()).await.unwrap().0 else {
        panic!("it is complete");
    };
    assert_eq!(one.events(&key(), fence, 0).await.unwrap(), events);
}

async fn a_batch_that_is_written_twice_is_stored_once(settings: StoreSettings) {
    let store = open(&settings).await;
    let owned = begin(&store).await;
    let events = [batch(0, b"one")];
    assert!(store.append(&owned, &events).await.unwrap());
    assert!(store.append(&owned, &events).await.unwrap());
    let all = [events[0].clone(), batch(1, b"two")];
    assert!(store.complete(&owned, &all, KEEP, None).await.unwrap());
    assert!(store.complete(&owned, &all, KEEP, None).await.unwrap());
    assert_eq!(rows(&settings).await, (1, 2));
}

async fn expired_calls_are_swept_with_their_events_and_others_stay(settings: StoreSettings) {
    let store = open(&settings).await;
    for (id, keep) in [("old", 0), ("new", 60)] {
        let key = CallKey {
            request_id: id.into(),
            ..key()
        };
        let begun = begin_as(&store, &key, &store.next_owner()).await;
        let Begun::Owned(owned) = begun else {
            panic!("{begun:?}");
        };
        let events = [batch(0, b"one")];
        let keep = Duration::from_secs(keep);
        assert!(store.complete(&owned, &events, keep, None).await.unwrap());
    }
    // Until the clock of the store has advanced.
    while rows(&settings).await != (1, 1) {
        assert!(!store.sweep().await.unwrap());
    }
    let left = "SELECT count(*) FROM calls WHERE request_id = 'new'";
    assert_eq!(database::number(&settings, left).await, 1);
}
