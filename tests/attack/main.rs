//! Attacks on the gateway from raw sockets, on both sides. Each test is named after what the
//! attacker does, states the bound that must hold, and is bounded in time itself.
//!
//! The long variants are ignored by default: `cargo test --test attack -- --ignored`. One of them
//! takes an hour: `MIXED_LOAD_MINUTES=10 cargo test --test attack mixed_load -- --ignored
//! --nocapture` is the same in five minutes.
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

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod blame;
mod canaries;
mod cancel;
mod clocks;
mod clocks_of_services;
mod closed_window;
mod connections;
mod desync;
mod drain;
mod drain_ends;
mod floods;
mod frames_of_audio;
mod identity;
mod injection;
mod isolation;
mod linear;
mod live_callers;
mod live_load;
mod live_upstreams;
mod memory;
mod memory_limit;
mod memory_shares;
mod metadata;
mod mixed;
mod mixed_attacks;
mod mixed_calls;
mod mixed_target;
mod odd_files;
mod process;
mod program;
mod settlement;
mod smoke;
mod upstream;
mod upstream_answers;
mod upstream_flood;
