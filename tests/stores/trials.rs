//! Tests that run once for each kind of store.

use std::future::Future;
use std::pin::Pin;

use dashgate::config::StoreSettings;
use libtest_mimic::Trial;

use crate::support::{postgres, store};

type Body = Pin<Box<dyn Future<Output = ()>>>;

/// A test of any store.
#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    pub run: fn(StoreSettings) -> Body,
}

/// Makes tests of async functions that take the settings of an empty store.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        vec![$($crate::trials::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: |store| Box::pin($name(store)),
        }),+]
    };
}

pub(crate) use tests;

#[expect(
    clippy::disallowed_methods,
    reason = "a tester's wish, not a setting of the gateway"
)]
fn required() -> bool {
    std::env::var("DASHGATE_REQUIRE_POSTGRES").is_ok_and(|wish| wish == "all")
}

/// Every test with SQLite and with PostgreSQL.
pub fn all(tests: &[Test]) -> Vec<Trial> {
    let mut trials = sqlite_only(tests);
    trials.extend(postgres_only(tests));
    trials
}

/// Every test with SQLite.
pub fn sqlite_only(tests: &[Test]) -> Vec<Trial> {
    let trial = |test: &Test| {
        let test = *test;
        Trial::test(name("sqlite", test), move || {
            let folder = store::Folder::new();
            run(test, store::settings(&folder.sqlite()));
            Ok(())
        })
    };
    tests.iter().map(trial).collect()
}

/// Every test with PostgreSQL.
pub fn postgres_only(tests: &[Test]) -> Vec<Trial> {
    let runs = postgres::installed().is_some() || required();
    let trial = |test: &Test| {
        let test = *test;
        let trial = Trial::test(name("postgres", test), move || {
            run(test, store::settings(&postgres::shared().database()));
            Ok(())
        });
        match runs {
            true => trial,
            false => trial.with_ignored_flag(true).with_kind("no PostgreSQL"),
        }
    };
    tests.iter().map(trial).collect()
}

/// These tests, ignored for this reason, unless all are required.
pub fn ignored(trials: Vec<Trial>, why: &str) -> Vec<Trial> {
    let ignored = |trial: Trial| match required() {
        true => trial,
        false => trial.with_ignored_flag(true).with_kind(why),
    };
    trials.into_iter().map(ignored).collect()
}

fn name(engine: &str, test: Test) -> String {
    format!("{engine}::{}", test.name.trim_start_matches("stores::"))
}

fn run(test: Test, store: StoreSettings) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on((test.run)(store));
}
