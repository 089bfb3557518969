//! Failures of PostgreSQL: killed, restarted, overloaded, in conflict.

use std::sync::Arc;
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::converse_stream_response::Event;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::database;
use crate::kept::text;
use crate::replicas::replica;
use crate::shared_calls::{deltas, texts};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        without_a_store_named_calls_fail_at_once_and_others_go_on,
        a_call_outlives_a_restart_of_the_store,
        connections_that_broke_while_idle_are_replaced,
        an_answer_that_cannot_be_stored_is_an_error_with_its_usage,
        without_a_free_connection_a_call_fails_at_once,
        a_locked_table_delays_a_call_for_a_bounded_time,
        conflicts_are_repeated,
        an_operation_that_always_conflicts_fails_as_store_down,
        a_full_store_is_an_error_of_its_own,
        an_owner_that_lost_its_lease_writes_nothing,
    ]
}

/// A server of this test, and the settings of a database in it.
pub async fn server() -> (Arc<postgres::Postgres>, StoreSettings) {
    let server = blocking(|| postgres::Postgres::start("-c fsync=off")).await;
    let server = Arc::new(server);
    let url = server.database();
    (server, store::settings(&url))
}

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn without_a_store_named_calls_fail_at_once_and_others_go_on(_: StoreSettings) {
    let (server, store) = server().await;
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    one.conversation().converse(named("before")).await.unwrap();
    server.kill();
    for _ in 0..3 {
        let begun = Instant::now();
        let error = one.conversation().converse(named("a")).await.unwrap_err();
        assert_fault(&error, Code::Unavailable, "STORE_DOWN");
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(upstream.seen().len(), 1);
    let answer = one.conversation().converse(ask_whole(question())).await;
    assert_eq!(text(answer.unwrap().get_ref()), "answer 1");
    let again = Arc::clone(&server);
    blocking(move || again.run()).await;
    let answer = one.conversation().converse(named("a")).await.unwrap();
    assert_eq!(text(answer.get_ref()), "answer 2");
    // What was stored before is still there, and from this replica's memory.
    let two = replica(&upstream, &store).await;
    let answer = two.conversation().converse(named("before")).await.unwrap();
    assert_eq!(text(answer.get_ref()), "answer 0");
}

async fn a_call_outlives_a_restart_of_the_store(_: StoreSettings) {
    let (server, store) = server().await;
    let steps = vec![
        sse(),
        piece(frame(1, "一", "null")),
        Step::Pause(Duration::from_millis(600)),
        piece(frame(2, "二", "null")),
        Step::Pause(Duration::from_millis(600)),
        piece(frame(3, "三", "stop")),
        end(),
    ];
    let upstream = Upstream::always(steps).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    let stream = client.converse_stream(named_stream("s")).await.unwrap();
    let mut stream = stream.into_inner();
    while !matches!(
        stream.next().await.unwrap().unwrap().event.unwrap(),
        Event::Delta(_)
    ) {}
    server.kill();
    // The events that come meanwhile cannot be written.
    let again = Arc::clone(&server);
    let restart = async move { blocking(move || again.run()).await };
    let (rest, ()) = tokio::join!(texts(stream), restart);
    assert_eq!(rest, ["二", "三"]);
    let two = replica(&upstream, &store).await;
    let all = deltas(&mut two.conversation(), "s").await;
    assert_eq!(all, ["一", "二", "三"]);
    assert_eq!(upstream.seen().len(), 1);
}

async fn connections_that_broke_while_idle_are_replaced(_: StoreSettings) {
    let (server, store) = server().await;
    let upstream = numbering(Duration::from_millis(20)).await;
    let one = replica(&upstream, &store).await;
    let calls = async |round: u32| {
        let mut running = tokio::task::JoinSet::new();
        for number in 0..30 {
            let mut client = one.conversation();
            let name = format!("{round}-{number}");
            running.spawn(async move { client.converse(named(&name)).await });
        }
        for answer in running.join_all().await {
            answer.unwrap();
        }
    };
    for round in 0..3 {
        calls(round).await;
        let server = Arc::clone(&server);
        // Soon enough that the connections are not tested before they are used.
        let ended = blocking(move || {
            let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            server.sql("postgres", others).unwrap()
        });
        assert_ne!(ended.await.trim(), "0");
    }
    calls(3).await;
    assert_eq!(upstream.seen().len(), 120);
}

async fn an_answer_that_cannot_be_stored_is_an_error_with_its_usage(_: StoreSettings) {
    let (server, store) = server().await;
    let upstream = numbering(Duration::from_millis(500)).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    let call = tokio::spawn(async move { client.converse(named("a")).await });
    upstream.wait_for_requests(1).await;
    server.kill();
    let error = call.await.unwrap().unwrap_err();
    assert_fault(&error, Code::Internal, "ANSWER_NOT_SAVED");
    let failure = call_failure(&error);
    assert!(failure.usage.is_some(), "{failure:?}");
    assert_eq!(upstream.seen().len(), 1);
}

async fn without_a_free_connection_a_call_fails_at_once(mut store: StoreSettings) {
    store.max_connections = 1;
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    one.conversation().converse(named("a")).await.unwrap();
    let mut lock = database::connection(&store).await;
    let text = "BEGIN; LOCK TABLE calls";
    sqlx::raw_sql(text).execute(&mut lock).await.unwrap();
    let mut client = one.conversation();
    let blocked = tokio::spawn(async move { client.converse(named("b")).await });
    // The only connection waits for the lock.
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    while database::number(&store, waiting).await == 0 {}
    let begun = Instant::now();
    let error = one.conversation().converse(named("c")).await.unwrap_err();
    assert_fault(&error, Code::Unavailable, "STORE_DOWN");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(upstream.seen().len(), 1);
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    blocked.await.unwrap().unwrap();
    one.conversation().converse(named("c")).await.unwrap();
}

async fn a_locked_table_delays_a_call_for_a_bounded_time(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut lock = database::connection(&store).await;
    let text = "BEGIN; LOCK TABLE calls";
    sqlx::raw_sql(text).execute(&mut lock).await.unwrap();
    let begun = Instant::now();
    let error = one.conversation().converse(named("a")).await.unwrap_err();
    assert_fault(&error, Code::Unavailable, "STORE_DOWN");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(upstream.seen().len(), 0);
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    one.conversation().converse(named("a")).await.unwrap();
}

/// Lets changes of calls fail with this SQLSTATE until the sequence `failures` exceeds a limit.
macro_rules! failing {
    ($code:literal, $limit:literal) => {
        concat!(
            "CREATE SEQUENCE failures;
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
               IF nextval('failures') <= ",
            $limit,
            " THEN RAISE EXCEPTION 'canary' USING ERRCODE = '",
            $code,
            "'; END IF;
               RETURN NEW;
             END $$;
             CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON calls
             FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    };
}

async fn conflicts_are_repeated(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    for (name, failing) in [
        ("serialization", failing!("40001", "2")),
        ("deadlock", failing!("40P01", "2")),
        ("terminated", failing!("57P01", "2")),
    ] {
        database::execute(&store, failing).await;
        one.conversation().converse(named(name)).await.unwrap();
        assert_eq!(
            database::number(&store, "SELECT nextval('failures')").await,
            5
        );
        database::execute(
            &store,
            "DROP FUNCTION fail() CASCADE; DROP SEQUENCE failures",
        )
        .await;
    }
    assert_eq!(upstream.seen().len(), 3);
}

async fn an_operation_that_always_conflicts_fails_as_store_down(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    database::execute(&store, failing!("40001", "1000")).await;
    let error = one.conversation().converse(named("a")).await.unwrap_err();
    assert_fault(&error, Code::Unavailable, "STORE_DOWN");
    assert!(!error.message().contains("canary"), "{error:?}");
    assert_eq!(
        database::number(&store, "SELECT nextval('failures')").await,
        4
    );
    assert_eq!(upstream.seen().len(), 0);
}

async fn a_full_store_is_an_error_of_its_own(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    database::execute(&store, failing!("53100", "1000")).await;
    let error = one.conversation().converse(named("a")).await.unwrap_err();
    assert_fault(&error, Code::Unavailable, "STORE_FULL");
    assert_eq!(upstream.seen().len(), 0);
}

async fn an_owner_that_lost_its_lease_writes_nothing(store: StoreSettings) {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![
            sse(),
            piece(frame(1, "old", "null")),
            Step::Pause(Duration::from_millis(1500)),
            piece(frame(2, "old", "stop")),
            end(),
        ],
        _ => vec![sse(), piece(frame(1, "new", "stop")), end()],
    })
    .await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    let stream = client.converse_stream(named_stream("s")).await.unwrap();
    let mut stream = stream.into_inner();
    // As after a pause of the process that was longer than the lease. The owner would renew it with
    // the events that it writes now.
    database::execute(&store, "UPDATE calls SET lease_until = 0, owner = ''").await;
    let two = replica(&upstream, &store).await;
    assert_eq!(deltas(&mut two.conversation(), "s").await, ["new"]);
    let error = loop {
        if let Err(error) = stream.next().await.unwrap() {
            break error;
        }
    };
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Internal, "OWNER_LOST")
    );
    let three = replica(&upstream, &store).await;
    assert_eq!(deltas(&mut three.conversation(), "s").await, ["new"]);
    assert_eq!(upstream.seen().len(), 2);
}
