//! The client libraries of all languages, judged by the same cases against the real binary.
//!
//! One test for each language and case: `cargo test --test clients -- python::case::text`. A
//! language whose toolchain is missing is skipped, with the reason. With
//! `DASHGATE_REQUIRE_CLIENTS=all` it fails instead, so that a silent skip cannot pass for a success.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

#[path = "clients/case.rs"]
mod case;
#[path = "clients/certificates.rs"]
mod certificates;
#[path = "clients/judge.rs"]
mod judge;
#[path = "clients/language.rs"]
mod language;
#[path = "clients/made.rs"]
mod made;
#[path = "clients/notation.rs"]
mod notation;
#[path = "clients/place.rs"]
mod place;
#[path = "clients/play.rs"]
mod play;
#[path = "clients/played.rs"]
mod played;
#[path = "clients/process.rs"]
mod process;
#[path = "clients/server.rs"]
mod server;
#[path = "clients/status.rs"]
mod status;

use language::{Lack, Language};

fn main() -> ExitCode {
    let (cases, faults) = case::all();
    let mut trials = vec![Trial::test(
        "suite::every_case_can_be_read",
        move || match faults.as_slice() {
            [] => Ok(()),
            faults => Err(Failed::from(faults.join("\n"))),
        },
    )];
    for case in cases {
        let case = Arc::new(case);
        for language in language::all() {
            for (name, runner) in language.runners {
                let case = Arc::clone(&case);
                let name = format!("{name}::case::{}", case.name);
                trials.push(trial(name, language, move || {
                    play::play(&case, language, runner)
                }));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial<F>(name: String, language: Language, run: F) -> Trial
where
    F: FnOnce() -> Result<(), String> + Send + 'static,
{
    Trial::ignorable_test(name, move || match language.ready() {
        Ok(()) => {
            run().map_err(Failed::from)?;
            Ok(Completion::Completed)
        }
        Err(Lack::Missing(why)) if !place::all_are_required() => Ok(Completion::ignored_with(why)),
        Err(Lack::Missing(why) | Lack::Broken(why)) => Err(Failed::from(why)),
    })
}
