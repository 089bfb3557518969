//! A PostgreSQL that fails over to its standby.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use tokio::time::Instant;
use tonic::Code;

use crate::faults::blocking;
use crate::kept::*;
use crate::replicas::replica;
use crate::support::postgres::Postgres;
use crate::support::*;
use crate::trials::{Test, tests};
use crate::turn_kills::Callers;

pub fn trials() -> Vec<Test> {
    tests![
        no_turn_is_lost_or_doubled_by_a_failover_with_synchronous_replication,
        a_turn_that_a_failover_lost_is_missed_by_its_caller,
    ]
}

/// The name of PostgreSQL's socket in its folder.
const SOCKET: &str = ".s.PGSQL.5432";

/// How many failovers a test has.
const FAILOVERS: usize = 2;

/// How long callers may have to wait for a turn after a failover.
const RECOVERY: Duration = Duration::from_secs(30);

/// The address of a pair, which leads to its primary: what a service or a virtual IP is elsewhere.
struct Address(store::Folder);

impl Address {
    fn of(primary: &Postgres) -> Self {
        let address = Self(store::Folder::new());
        address.lead_to(primary.dir());
        address
    }

    fn lead_to(&self, folder: &Path) {
        let next = self.0.0.join("next");
        std::os::unix::fs::symlink(folder.join(SOCKET), &next).unwrap();
        std::fs::rename(next, self.0.0.join(SOCKET)).unwrap();
    }

    fn settings(&self, database: &str) -> StoreSettings {
        let host = self.0.0.display();
        store::settings(&format!(
            "postgres://postgres@localhost/{database}?host={host}"
        ))
    }
}

async fn no_turn_is_lost_or_doubled_by_a_failover_with_synchronous_replication(_: StoreSettings) {
    let primary = blocking(|| Postgres::start("-c fsync=off")).await;
    primary.sql("postgres", "CREATE DATABASE pair").unwrap();
    let address = Address::of(&primary);
    let mut random = fastrand::Rng::new();
    let callers = Callers::start(&address.settings("pair"), &mut random).await;
    let mut primary = Some(primary);
    for _ in 0..FAILOVERS {
        let old = primary.take().unwrap();
        let (old, standby) = blocking(|| {
            let standby = old.synchronous_standby();
            (old, standby)
        })
        .await;
        some_turns(&callers, 20).await;
        let standby = blocking(move || {
            old.kill();
            // It does not wait for a standby of its own.
            let reset = "ALTER SYSTEM RESET synchronous_standby_names";
            standby.promote();
            standby.sql("postgres", reset).unwrap();
            standby.sql("postgres", "SELECT pg_reload_conf()").unwrap();
            standby
        })
        .await;
        address.lead_to(standby.dir());
        primary = Some(standby);
        some_turns(&callers, 20).await;
    }
    callers.check().await;
}

/// Waits for this many turns.
async fn some_turns(callers: &Callers, count: usize) {
    let (until, enough) = (Instant::now() + RECOVERY, callers.received() + count);
    while callers.received() < enough {
        assert!(
            Instant::now() < until,
            "{} of {enough} turns",
            callers.received()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_turn_that_a_failover_lost_is_missed_by_its_caller(_: StoreSettings) {
    let primary = Arc::new(blocking(|| Postgres::start("-c fsync=off")).await);
    primary.sql("postgres", "CREATE DATABASE pair").unwrap();
    let address = Address::of(&primary);
    let store = address.settings("pair");
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client.converse(mine(say("one"))).await.unwrap();
    let server = Arc::clone(&primary);
    let standby = blocking(move || {
        let standby = server.standby();
        standby.kill();
        standby
    })
    .await;
    // The standby is behind from now on.
    let answer = client.converse(mine(say("two"))).await.unwrap();
    let known = answer.into_inner().history_used.unwrap().turn;
    assert_eq!(known, 2);
    primary.kill();
    let standby = blocking(move || {
        standby.run();
        standby.promote();
        standby
    })
    .await;
    address.lead_to(standby.dir());
    let expecting = |turn| pb::ConverseRequest {
        expected_turn: Some(turn),
        ..say("three")
    };
    let until = Instant::now() + RECOVERY;
    let error = loop {
        let error = client.converse(mine(expecting(known))).await.unwrap_err();
        if error.code() != Code::Unavailable {
            break error;
        }
        assert!(Instant::now() < until, "{error:?}");
    };
    assert_fault(&error, Code::DataLoss, "HISTORY_REGRESSED");
    assert_eq!(detail(&error, "last_turn"), "1");
    assert_eq!(upstream.seen().len(), 2);
    client.converse(mine(expecting(1))).await.unwrap();
    assert_eq!(sent(&upstream), ["one", "answer 0", "three"]);
}
