//! The gateway with a store: replicas that share SQLite or PostgreSQL, over real sockets and real
//! databases. Tests that need PostgreSQL are ignored, with the reason, where it is not installed;
//! with `DASHGATE_REQUIRE_POSTGRES=all` they fail instead.
//!
//! Databases do not follow paused time, so these tests wait for events, and use short leases.
#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect must fail, and this crate has no users"
)]

mod clocks;
mod command_line;
mod conversations;
mod damage;
mod database;
mod deleted_conversations;
mod failover;
mod faults;
mod flushes;
mod kept;
mod kills;
mod large_conversations;
mod live_kept;
mod live_turn_ends;
mod live_turns;
mod long_conversations;
mod managed_conversations;
mod observability;
mod ownership;
mod packets;
mod proxy;
mod quotas;
mod rate_limits;
mod replicas;
mod resumed;
mod round_trips;
mod shared_calls;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/threads.rs"]
mod threads;
mod trials;
mod turn_kills;
mod turns;
mod unread;
mod uploads;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = threads::arguments(2);
    let any = [
        command_line::trials(),
        conversations::trials(),
        deleted_conversations::trials(),
        kills::trials(),
        large_conversations::trials(),
        live_turn_ends::trials(),
        live_turns::trials(),
        long_conversations::trials(),
        managed_conversations::trials(),
        observability::trials(),
        ownership::trials(),
        quotas::trials(),
        rate_limits::trials(),
        resumed::trials(),
        shared_calls::trials(),
        turn_kills::trials(),
        turns::trials(),
        unread::trials(),
        uploads::trials(),
    ];
    let sqlite = [
        damage::trials(),
        flushes::trials(),
        command_line::without_a_store(),
    ];
    let postgres = [
        failover::trials(),
        faults::trials(),
        live_turn_ends::outages(),
        observability::outages(),
        packets::trials(),
        round_trips::trials(),
    ];
    let mut trials = trials::all(&any.concat());
    trials.extend(trials::sqlite_only(&sqlite.concat()));
    trials.extend(trials::postgres_only(&postgres.concat()));
    let with_clocks = trials::postgres_only(&clocks::trials());
    trials.extend(match clocks::library() {
        Some(_) => with_clocks,
        None => trials::ignored(with_clocks, "no faketime"),
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}
