//! Replicas whose clocks differ by days: only the clock of the store counts. libfaketime sets the
//! clocks; PostgreSQL's is right.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use tokio::time::Instant;

use crate::kept::text;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_running_call_is_shared_and_not_taken_over,
        a_call_of_a_killed_replica_is_taken_over_after_its_lease,
        conversations_expire_by_the_clock_of_the_store,
        the_day_of_a_budget_is_that_of_the_store,
    ]
}

/// Where libfaketime is installed; `None` if it is not.
pub fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists())
}

/// A replica whose clock differs by so much, with these settings.
fn replica(
    upstream: &Upstream,
    store: &StoreSettings,
    clock: &str,
    more: &[(&str, &str)],
) -> Process {
    let library = library().expect("libfaketime is missing: apt-get install faketime");
    let mut settings = vec![
        ("DASHGATE_STORE_URL", store.url.expose()),
        ("store.lease", "1s"),
    ];
    settings.extend(more);
    let clock = format!(
        "export LD_PRELOAD={} FAKETIME={clock} FAKETIME_DONT_FAKE_MONOTONIC=1",
        library.display()
    );
    Process::start(upstream.address, &settings, &clock)
}

fn client(replica: &Process) -> ConversationServiceClient<Client> {
    ConversationServiceClient::with_origin(replica.client(), replica.origin())
}

async fn a_running_call_is_shared_and_not_taken_over(store: StoreSettings) {
    // Three leases long.
    let upstream = numbering(Duration::from_secs(3)).await;
    let replicas = ["-2d", "+2d", "+0d"].map(|clock| replica(&upstream, &store, clock, &[]));
    let mut first = client(&replicas[0]);
    let first = tokio::spawn(async move { first.converse(named("a")).await });
    upstream.wait_for_requests(1).await;
    let twins = replicas.iter().map(|replica| {
        let mut client = client(replica);
        tokio::spawn(async move { client.converse(named("a")).await })
    });
    for call in twins.chain([first]).collect::<Vec<_>>() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(text(answer.get_ref()), "answer 0");
    }
    // The stored answer is not too old, either.
    for replica in &replicas {
        let again = client(replica).converse(named("a")).await.unwrap();
        assert_eq!(text(again.get_ref()), "answer 0");
    }
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_call_of_a_killed_replica_is_taken_over_after_its_lease(store: StoreSettings) {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![Step::Hang],
        _ => json(200, &whole("fine")),
    })
    .await;
    let ahead = replica(&upstream, &store, "+2d", &[]);
    let behind = replica(&upstream, &store, "-2d", &[]);
    let mut lost = client(&ahead);
    let lost = tokio::spawn(async move { lost.converse(named("a")).await });
    upstream.wait_for_requests(1).await;
    drop(ahead);
    lost.await.unwrap().unwrap_err();
    let begun = Instant::now();
    let answer = client(&behind).converse(named("a")).await.unwrap();
    assert_eq!(text(answer.get_ref()), "fine");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

async fn conversations_expire_by_the_clock_of_the_store(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let replicas = ["+2d", "-2d"].map(|clock| replica(&upstream, &store, clock, &[]));
    for (creator, id) in replicas.iter().zip(["ahead", "behind"]) {
        let request = pb::CreateConversationRequest {
            conversation_id: id.to_owned(),
            conversation: Some(pb::Conversation {
                ttl: Some(prost_types::Duration {
                    seconds: 3600,
                    nanos: 0,
                }),
                ..Default::default()
            }),
        };
        client(creator).create_conversation(request).await.unwrap();
    }
    for replica in &replicas {
        for id in ["ahead", "behind"] {
            let name = format!("conversations/{id}");
            let request = pb::GetConversationRequest { name };
            client(replica).get_conversation(request).await.unwrap();
        }
    }
}

async fn the_day_of_a_budget_is_that_of_the_store(store: StoreSettings) {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    // 100 calls of 824 tokens. The last ones do not fit: more is estimated for a call than it uses,
    // and each replica has a share.
    let limit = [("caller_limits.tokens_per_day", "82400")];
    let replicas = ["+2d", "-2d"].map(|clock| replica(&upstream, &store, clock, &limit));
    let (mut accepted, start) = (0, Instant::now());
    // Shares move between replicas in this time.
    let enough = Duration::from_secs(4);
    while start.elapsed() < enough || (accepted < 90 && start.elapsed() < enough * 8) {
        for replica in &replicas {
            match client(replica).converse(ask_whole(question())).await {
                Ok(_) => accepted += 1,
                Err(status) => assert_eq!(reason(&status), "CALLER_BUDGET", "{status:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!((90..=100).contains(&accepted), "{accepted}");
}
