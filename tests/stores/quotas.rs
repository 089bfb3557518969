//! The limits of a caller hold over all replicas.

use std::time::Duration;

use dashgate::config::{CallerLimits, LimitsWhenDown, StoreSettings};
use dashgate::grpc::pb;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::database::{execute, number};
use crate::support::admin::page;
use crate::support::keys::Folder;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        replicas_together_keep_a_rate,
        replicas_together_keep_a_daily_budget,
        replicas_together_keep_the_limit_of_concurrent_calls,
        a_replica_with_all_calls_gets_the_whole_limit,
        the_use_of_a_day_survives_a_restart,
        the_share_of_a_killed_replica_comes_back_after_its_lease,
        callers_do_not_share_limits,
        a_replica_without_the_store_has_its_part,
        a_replica_without_the_store_can_have_the_whole_limit,
        a_replica_without_the_store_can_refuse_calls_with_limits,
    ]
}

/// The tokens of a call of these tests.
const TOKENS: u64 = 786 + 38;

/// The most that one replica takes of a limit in advance.
fn share(limit: u64) -> u64 {
    limit / 16 + 1
}

async fn upstream() -> Upstream {
    Upstream::always(json(200, &whole("x"))).await
}

/// A replica whose callers without credentials have these limits together.
async fn limited(
    upstream: &Upstream,
    store: &StoreSettings,
    change: impl FnOnce(&mut CallerLimits),
) -> Running {
    let mut settings = settings(upstream);
    settings.store = Some(store.clone());
    change(&mut settings.callers.limits);
    gateway_with(settings).await
}

pub async fn three(
    upstream: &Upstream,
    store: &StoreSettings,
    change: impl Fn(&mut CallerLimits),
) -> Vec<Running> {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(limited(upstream, store, &change).await);
    }
    replicas
}

pub async fn ask(gateway: &Running) -> Result<pb::ConverseResponse, Status> {
    let answer = gateway.conversation().converse(ask_whole(question())).await;
    answer.map(tonic::Response::into_inner)
}

/// Makes calls at this replica, one after the other. Returns how many were accepted; the others
/// were refused for this reason.
async fn accepted(gateway: &Running, calls: usize, refused: &str) -> u64 {
    let mut accepted = 0;
    for _ in 0..calls {
        match ask(gateway).await {
            Ok(_) => accepted += 1,
            Err(status) => assert_eq!(reason(&status), refused, "{status:?}"),
        }
    }
    accepted
}

/// Makes calls at all replicas at the same time. Returns how many were accepted.
async fn accepted_by_all(replicas: &[Running], calls: usize, refused: &str) -> u64 {
    let [one, two, three] = replicas else {
        panic!("{} replicas", replicas.len());
    };
    let (one, two, three) = tokio::join!(
        accepted(one, calls, refused),
        accepted(two, calls, refused),
        accepted(three, calls, refused),
    );
    one + two + three
}

/// Makes calls until they are refused, and waits for shares that others return. Returns how many
/// were accepted.
async fn use_up(gateway: &Running, refused: &str, patience: Duration) -> u64 {
    let (mut count, mut last) = (0, Instant::now());
    while last.elapsed() < patience {
        match accepted(gateway, 1, refused).await {
            0 => tokio::time::sleep(Duration::from_millis(20)).await,
            more => {
                count += more;
                last = Instant::now();
            }
        }
    }
    count
}

/// Waits for the new day, if that is near.
async fn not_at_midnight() {
    let left = 86_400 - dashgate::callers::date::now() % 86_400;
    if left < 60 {
        tokio::time::sleep(Duration::from_secs(left + 1)).await;
    }
}

async fn replicas_together_keep_a_rate(store: StoreSettings) {
    let upstream = upstream().await;
    let limit = 300;
    let replicas = three(&upstream, &store, |limits| {
        limits.requests_per_minute = limit
    })
    .await;
    let start = Instant::now();
    let accepted = accepted_by_all(&replicas, 250, "CALLER_RATE").await;
    let passed = start.elapsed();
    let most = limit + limit * (passed.as_millis() as u64 + 1000) / 60_000;
    assert!(
        accepted <= most + most / 50 + share(limit),
        "{accepted} in {passed:?}"
    );
    assert!(
        accepted + limit / 50 + share(limit) >= limit,
        "{accepted} in {passed:?}"
    );
}

async fn replicas_together_keep_a_daily_budget(store: StoreSettings) {
    not_at_midnight().await;
    let upstream = upstream().await;
    let budget = 200 * TOKENS;
    let replicas = three(&upstream, &store, |limits| limits.tokens_per_day = budget).await;
    let mut accepted = accepted_by_all(&replicas, 100, "CALLER_BUDGET").await;
    assert!(accepted <= 200 + 4 + share(200), "{accepted}");
    accepted += use_up(&replicas[0], "CALLER_BUDGET", Duration::from_secs(4)).await;
    assert!((196..=204).contains(&accepted), "{accepted}");
}

async fn replicas_together_keep_the_limit_of_concurrent_calls(store: StoreSettings) {
    let slow = Upstream::start(|_, _| {
        let mut steps = vec![Step::Pause(Duration::from_millis(4000))];
        steps.extend(json(200, &whole("x")));
        steps
    });
    let upstream = slow.await;
    let replicas = three(&upstream, &store, |limits| limits.max_streams = 4).await;
    // All know of each other.
    tokio::time::sleep(Duration::from_millis(3000)).await;
    let calls = replicas.iter().cycle().take(24).map(|replica| {
        let mut client = replica.conversation();
        // Shares move between replicas, but no call ends in this time.
        let until = Instant::now() + Duration::from_secs(1);
        tokio::spawn(async move {
            loop {
                let answer = client.converse(ask_whole(question())).await;
                if answer.is_ok() || Instant::now() >= until {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((3..=4).contains(&accepted), "{accepted}");
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(reason(refused), "CALLER_STREAMS");
    }
    // What ended is free at every replica.
    for replica in &replicas {
        until(replica, |answer| answer.is_ok()).await;
    }
}

async fn a_replica_with_all_calls_gets_the_whole_limit(store: StoreSettings) {
    not_at_midnight().await;
    let upstream = upstream().await;
    let budget = 100 * TOKENS;
    let replicas = three(&upstream, &store, |limits| limits.tokens_per_day = budget).await;
    // The others have shares, which they return.
    ask(&replicas[1]).await.unwrap();
    ask(&replicas[2]).await.unwrap();
    let accepted = use_up(&replicas[0], "CALLER_BUDGET", Duration::from_secs(4)).await;
    assert!((96..=98).contains(&accepted), "{accepted}");
}

async fn the_use_of_a_day_survives_a_restart(store: StoreSettings) {
    not_at_midnight().await;
    let upstream = upstream().await;
    let budget = 20 * TOKENS;
    let change = |limits: &mut CallerLimits| limits.tokens_per_day = budget;
    let first = limited(&upstream, &store, change).await;
    assert_eq!(accepted(&first, 10, "").await, 10);
    first.stop().await;
    first.ended().await;
    let second = limited(&upstream, &store, change).await;
    let more = use_up(&second, "CALLER_BUDGET", Duration::from_secs(1)).await;
    // More is estimated for a call than it uses.
    assert!((8..=9).contains(&more), "{more}");
    second.stop().await;
    second.ended().await;
    let third = limited(&upstream, &store, change).await;
    assert_eq!(accepted(&third, 3, "CALLER_BUDGET").await, 0);
}

async fn the_share_of_a_killed_replica_comes_back_after_its_lease(store: StoreSettings) {
    not_at_midnight().await;
    let store = StoreSettings {
        lease: Duration::from_secs(3),
        ..store
    };
    let upstream = upstream().await;
    let budget = 100 * TOKENS;
    let text = budget.to_string();
    let settings = [
        ("DASHGATE_STORE_URL", store.url.expose()),
        ("store.lease", "3s"),
        ("caller_limits.tokens_per_day", &text),
    ];
    let killed = Process::start(upstream.address, &settings, "");
    let mut client = ConversationServiceClient::with_origin(killed.client(), killed.origin());
    client.converse(ask_whole(question())).await.unwrap();
    drop(killed);
    let change = |limits: &mut CallerLimits| limits.tokens_per_day = budget;
    let other = limited(&upstream, &store, change).await;
    let accepted = use_up(&other, "CALLER_BUDGET", Duration::from_secs(4)).await;
    // The call of the killed replica may not have been reported.
    assert!((97..=100).contains(&accepted), "{accepted}");
}

async fn callers_do_not_share_limits(store: StoreSettings) {
    let upstream = upstream().await;
    let folder = Folder::new();
    let key = |name| folder.key(name, |entry| entry.limits.requests_per_minute = Some(20));
    let ((_, one), (_, two)) = (key("team-a"), key("team-b"));
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let mut settings = folder.settings(&upstream);
        settings.store = Some(store.clone());
        replicas.push(gateway_with(settings).await);
    }
    for key in [&one, &two] {
        let mut accepted = 0;
        for number in 0..60 {
            let mut request = Request::new(ask_whole(question()));
            let value = format!("Bearer {key}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
            let answer = replicas[number % 2].conversation().converse(request).await;
            accepted += u64::from(answer.is_ok());
        }
        assert!((18..=24).contains(&accepted), "{accepted}");
    }
}

/// Asks until the answer is as it should be.
async fn until(
    gateway: &Running,
    is_right: impl Fn(&Result<pb::ConverseResponse, Status>) -> bool,
) {
    let start = Instant::now();
    loop {
        let answer = ask(gateway).await;
        if is_right(&answer) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes every exchange with the store fail, or succeed again.
async fn fail(store: &StoreSettings, fails: bool) {
    for table in ["quotas", "replicas"] {
        let (from, to) = match fails {
            true => (table.to_owned(), format!("no_{table}")),
            false => (format!("no_{table}"), table.to_owned()),
        };
        let text = format!("ALTER TABLE {from} RENAME TO {to}");
        execute(store, sqlx::AssertSqlSafe(text)).await;
    }
}

/// Waits until this many calls have been reported.
async fn reported(store: &StoreSettings, calls: u64) {
    let right = i64::try_from(calls * TOKENS * 60_000).unwrap();
    let start = Instant::now();
    loop {
        if number(store, "SELECT max(used) FROM quotas").await >= right {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(15));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Three replicas with a daily budget of 60 calls, of which one is used, without their store.
async fn without_store(
    store: &StoreSettings,
    when_down: LimitsWhenDown,
) -> (Upstream, Vec<Running>) {
    not_at_midnight().await;
    let upstream = upstream().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let mut settings = settings(&upstream);
        settings.store = Some(StoreSettings {
            when_down,
            ..store.clone()
        });
        settings.callers.limits.tokens_per_day = 60 * TOKENS;
        settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        replicas.push(gateway_with(settings).await);
    }
    // All know of each other.
    tokio::time::sleep(Duration::from_millis(3000)).await;
    ask(&replicas[0]).await.unwrap();
    fail(store, true).await;
    for replica in &replicas {
        is_alone(replica, true).await;
    }
    (upstream, replicas)
}

/// Waits until the metrics say whether the replica applies limits alone.
async fn is_alone(replica: &Running, is_alone: bool) {
    let line = format!("dashgate_limits_unshared {}", u8::from(is_alone));
    let start = Instant::now();
    while !page(replica, "/metrics").await.contains(&line) {
        assert!(start.elapsed() < Duration::from_secs(15));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_replica_without_the_store_has_its_part(store: StoreSettings) {
    let (_upstream, replicas) = without_store(&store, LimitsWhenDown::Share).await;
    let accepted = accepted_by_all(&replicas, 40, "CALLER_BUDGET").await;
    assert!((50..=62).contains(&accepted), "{accepted}");
    // What was used meanwhile counts when the store answers again.
    fail(&store, false).await;
    reported(&store, accepted + 1).await;
    let more = use_up(&replicas[0], "CALLER_BUDGET", Duration::from_secs(4)).await;
    assert!(
        (57..=62).contains(&(accepted + more)),
        "{accepted} and {more}"
    );
}

async fn a_replica_without_the_store_can_have_the_whole_limit(store: StoreSettings) {
    let (_upstream, replicas) = without_store(&store, LimitsWhenDown::Open).await;
    for (replica, used) in replicas.iter().zip([1, 0, 0]) {
        let accepted = accepted(replica, 70, "CALLER_BUDGET").await;
        assert!((58..=60).contains(&(accepted + used)), "{accepted}");
    }
}

async fn a_replica_without_the_store_can_refuse_calls_with_limits(store: StoreSettings) {
    let (_upstream, replicas) = without_store(&store, LimitsWhenDown::Closed).await;
    for replica in &replicas {
        let refused = ask(replica).await.unwrap_err();
        assert_fault(&refused, tonic::Code::Unavailable, "STORE_DOWN");
    }
    fail(&store, false).await;
    for replica in &replicas {
        until(replica, |answer| answer.is_ok()).await;
    }
}
