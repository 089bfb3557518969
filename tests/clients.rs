//! The client libraries of all languages, judged by the same cases against the real binary.
//!
//! One test for each language and case: `cargo test --test clients -- python::case::text`. A
//! language whose toolchain is missing is skipped, with the reason. With
//! `DASHGATE_REQUIRE_CLIENTS=all` it fails instead: a silent skip must not pass for a success.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds, and what looks at it speaks of one or two of them"
)]

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Completion, Failed, Trial};

#[path = "clients/asked.rs"]
mod asked;
#[path = "clients/cancelled.rs"]
mod cancelled;
#[path = "clients/case.rs"]
mod case;
#[path = "clients/certificates.rs"]
mod certificates;
#[path = "clients/cut.rs"]
mod cut;
#[path = "clients/emulator.rs"]
mod emulator;
#[path = "clients/examples.rs"]
mod examples;
#[path = "clients/forks.rs"]
mod forks;
#[path = "support/http_get.rs"]
mod http_get;
#[path = "clients/judge.rs"]
mod judge;
#[path = "clients/language.rs"]
mod language;
#[path = "clients/live.rs"]
mod live;
#[path = "clients/made.rs"]
mod made;
#[path = "clients/notation.rs"]
mod notation;
#[path = "clients/outages.rs"]
mod outages;
#[path = "clients/papers.rs"]
mod papers;
#[path = "clients/place.rs"]
mod place;
#[path = "clients/play.rs"]
mod play;
#[path = "clients/played.rs"]
mod played;
#[path = "clients/process.rs"]
mod process;
#[path = "support/schedule.rs"]
mod schedule;
#[path = "clients/server.rs"]
mod server;
#[path = "clients/status.rs"]
mod status;
#[path = "clients/suite.rs"]
mod suite;
#[path = "support/threads.rs"]
mod threads;

use case::Case;
use language::{Lack, Language};

fn main() -> ExitCode {
    let (cases, faults) = case::all();
    let cases: Vec<Arc<Case>> = cases.into_iter().map(Arc::new).collect();
    let mut trials = trials_of_the_suite(&cases, faults);
    let builds = language::all().map(builds_of).collect();
    trials.extend(schedule::side_by_side(builds));
    trials.extend(schedule::side_by_side(
        language::all().map(runs_of).collect(),
    ));
    let mut runs: Vec<Vec<Trial>> = Vec::new();
    for language in language::all() {
        for &runner in language.runners {
            let cases = cases.iter().map(Arc::clone);
            runs.push(cases.map(|case| trial_of(case, language, runner)).collect());
        }
    }
    // Cases that wait for the same have names that begin alike: they do not all wait at once.
    let runners = runs.len();
    for (number, run) in runs.iter_mut().enumerate() {
        let first = run.len() * number / runners;
        run.rotate_left(first);
    }
    trials.extend(schedule::side_by_side(runs));
    libtest_mimic::run(&threads::arguments(3), trials).exit_code()
}

fn trial_of(case: Arc<Case>, language: Language, runner: (&'static str, &'static str)) -> Trial {
    let name = format!("{}::case::{}", runner.0, case.name);
    trial(name, language, move || play::play(&case, language, runner))
}

fn trials_of_the_suite(cases: &[Arc<Case>], faults: Vec<String>) -> Vec<Trial> {
    let cases: Vec<Case> = cases.iter().map(|case| Case::clone(case)).collect();
    let all = move || suite::cases(&cases, &faults).map_err(Failed::from);
    let mut trials = vec![Trial::test("suite::every_case_can_be_read", all)];
    for (name, run) in suite::ALL {
        let run = move || run().map_err(Failed::from);
        trials.push(Trial::test(format!("suite::{name}"), run));
    }
    trials
}

/// What compiles or installs something: the linters of a language, its own tests, its package, its
/// generated code.
fn builds_of(language: Language) -> Vec<Trial> {
    let name = language.name;
    let builds = |command: &'static str| {
        trial(format!("{name}::{command}"), language, move || {
            language.builds(&[command], None).map(drop)
        })
    };
    let mut trials = vec![builds("lint"), builds("test"), builds("reference")];
    trials.push(trial(format!("{name}::package"), language, move || {
        // Its five lines are run where it is installed, and somebody must answer them.
        let server = server::Server::embedded()?;
        language
            .builds(&["package"], Some(server.address()))
            .map(drop)
    }));
    if language.commits_generated_code {
        trials.push(trial(format!("{name}::generated"), language, move || {
            papers::generated(language)
        }));
    }
    trials
}

/// What runs what is built: the README and the examples of a language.
fn runs_of(language: Language) -> Vec<Trial> {
    let name = language.name;
    let mut trials = vec![trial(format!("{name}::readme"), language, move || {
        papers::readme(language)
    })];
    for (example, needs) in examples::ALL {
        let name = format!("{name}::example::{example}");
        trials.push(trial(name, language, move || {
            examples::run(language, example, needs)
        }));
    }
    trials
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
