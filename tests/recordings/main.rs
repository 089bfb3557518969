//! Answers that DashScope really gave, recorded by others, against the whole gateway.
//!
//! They are not part of the project. These tests read them from a folder beside it. Where it is
//! absent they are reported as ignored, with the reason: the standard harness could only let them
//! pass.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect must fail, this crate has no users, and \
              what it shares with others it does not use whole"
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

mod answers;
#[path = "../system/mutations.rs"]
mod mutations;
mod normalized;
#[path = "../system/notation.rs"]
mod notation;
mod recorded;
#[path = "../system/response_forms.rs"]
mod response_forms;
#[path = "../support/mod.rs"]
mod support;

const ALL: [(&str, fn()); 8] = [
    ("a_recorded_call_is_asked_and_answered_as_it_was", || {
        paused(answers::a_recorded_call_is_asked_and_answered_as_it_was())
    }),
    ("a_recorded_refusal_is_a_status", || {
        paused(answers::a_recorded_refusal_is_a_status())
    }),
    ("a_recorded_certificate_lets_a_file_be_stored", || {
        paused(answers::a_recorded_certificate_lets_a_file_be_stored())
    }),
    (
        "u17_a_recorded_stream_cut_at_any_byte_has_the_same_events",
        answers::u17_a_recorded_stream_cut_at_any_byte_has_the_same_events,
    ),
    (
        "u8_a_recorded_stream_that_ends_at_any_byte_is_never_complete",
        answers::u8_a_recorded_stream_that_ends_at_any_byte_is_never_complete,
    ),
    (
        "u17_a_recorded_stream_cut_on_the_wire_has_the_same_events",
        || paused(answers::u17_a_recorded_stream_cut_on_the_wire_has_the_same_events()),
    ),
    (
        "u8_a_recorded_stream_that_breaks_on_the_wire_is_never_ok",
        || paused(answers::u8_a_recorded_stream_that_breaks_on_the_wire_is_never_ok()),
    ),
    (
        "s1_no_mutation_of_a_recording_loses_a_part_in_silence",
        answers::s1_no_mutation_of_a_recording_loses_a_part_in_silence,
    ),
];

fn main() -> ExitCode {
    let trials = ALL.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial((name, run): (&'static str, fn())) -> Trial {
    Trial::ignorable_test(name, move || {
        let folder = recorded::folder();
        if !folder.exists() {
            let why = format!("there are no recordings at {}", folder.display());
            return Ok(Completion::ignored_with(why));
        }
        run();
        Ok(Completion::Completed)
    })
}

/// Runs a test with paused time: it advances only when every task waits.
fn paused(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}
