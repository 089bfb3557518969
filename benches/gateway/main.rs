//! What a call costs: dashgate between a load and a DashScope of our own, beside a bare gateway in
//! the same run. `cargo bench --bench gateway -- --help` tells the rest; `docs/performance.md`
//! tells how it is measured and what came out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::sync::Mutex;
use tokio::task::LocalSet;

mod args;
mod bare;
mod bare_json;
mod bare_live;
mod bench;
mod calls;
mod cancels;
mod client;
mod console;
mod copy;
mod counted;
mod direct;
mod error;
mod fake;
mod fake_live;
mod growth;
mod live;
mod live_frames;
mod live_load;
mod live_session;
mod load;
mod measure;
mod memory;
mod messages;
mod picture;
#[path = "../../tests/support/postgres.rs"]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "it is also a part of tests, and may fail as they do"
)]
mod postgres;
mod proc;
mod results;
mod row;
mod soak;
mod stored;
mod streams;
mod subject;
mod table;
mod upload;

use args::{HELP, Options, Todo};
use bench::Bench;
use console::{note, say};
use error::Result;
use fake::Fake;
use results::Results;
use row::Row;
use subject::{Cores, Starter, Variant};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            note(&format!("{fault}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn run() -> Result<bool> {
    // Cargo makes this folder for the files of tests and benches; its neighbour is ours.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    match args::parse(std::env::args().skip(1), &folder)? {
        Todo::Help => {
            say(HELP);
            for row in Row::ALL {
                let (name, title) = row.title();
                say(&format!("  {name:10}{title}\n"));
            }
            Ok(true)
        }
        Todo::Be(what, address) => {
            match (what.as_str(), address) {
                ("__fake", None) => fake::Server::alone()?,
                ("__bare", Some(upstream)) => bare::serve(upstream)?,
                ("__copy", Some(sink)) => copy::serve(sink)?,
                _ => return Err(format!("there is no {what}").into()),
            }
            Ok(true)
        }
        Todo::Measure(options) => run_rows(options, folder),
    }
}

fn run_rows(mut options: Options, folder: PathBuf) -> Result<bool> {
    std::fs::create_dir_all(&folder)?;
    let mut conditions = vec![
        proc::machine(),
        httpdate::fmt_http_date(std::time::SystemTime::now()),
    ];
    if cfg!(debug_assertions) {
        conditions.push("NOT OPTIMISED: no number below says anything".to_owned());
    }
    // Before any thread is there, so that all stay on its core.
    let cores = Cores::divide();
    conditions.push(match &cores {
        Ok(cores) => format!(
            "what is measured runs on core {}, the load and the fake DashScope on core {}",
            cores.subject, cores.load
        ),
        Err(why) => (*why).to_owned(),
    });
    if proc::Cpu::of(std::process::id()).is_none() {
        let words = "not Linux: processor time and memory are not measured";
        conditions.push(words.to_owned());
    }
    if postgres::installed().is_none() {
        options.rows.retain(|row| !row.needs_postgres());
        let words = "PostgreSQL is not installed: its rows are not measured";
        conditions.push(words.to_owned());
    }
    let fake = Fake::start()?;
    let mut starter = Starter {
        cores: cores.ok(),
        dashgate: PathBuf::from(env!("CARGO_BIN_EXE_dashgate")),
        other: options.other.clone(),
        folder,
        fake: fake.address,
        sink: fake.sink,
        key: String::new(),
    };
    starter.make_key()?;
    let bench = Bench {
        starter,
        options,
        shared: fake.shared,
        closed: Mutex::new(fake.closed),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        if let Some(time) = bench.options.soak {
            say(&format!("{}\n", conditions.join("\n")));
            soak::soak(&bench, time).await?;
            return Ok(true);
        }
        let results = rounds(&bench, conditions).await;
        say(&table::table(&results));
        std::fs::write(&bench.options.json, results.json())?;
        std::fs::write(&bench.options.svg, picture::picture(&results))?;
        let (json, svg) = (&bench.options.json, &bench.options.svg);
        say(&format!("\n{}\n{}\n", json.display(), svg.display()));
        Ok(results.faults.is_empty())
    })
}

/// Each row on each variant, again and again. The order of the variants turns, because the second
/// of two equal processes is not measured as the first is.
async fn rounds(bench: &Bench, conditions: Vec<String>) -> Results {
    let options = &bench.options;
    let mut results = Results::new(conditions, options.rounds, options.length);
    for round in 0..options.rounds {
        for row in &options.rows {
            if round >= row.rounds(options.rounds) {
                continue;
            }
            let mut variants: Vec<Variant> = row.variants().to_vec();
            variants.retain(|variant| *variant != Variant::Other || options.other.is_some());
            let turn = round % variants.len();
            variants.rotate_left(turn);
            for variant in variants {
                let (name, _) = row.title();
                let who = variant.name();
                note(&format!(
                    "round {} of {}: {name}, {who}\n",
                    round + 1,
                    options.rounds
                ));
                match measure::measure(*row, bench, variant).await {
                    Ok(values) => results.take(*row, variant, values),
                    Err(fault) => {
                        let words = format!("{name}, {who}: {fault}");
                        note(&format!("{words}\n"));
                        results.faults.push(words);
                    }
                }
            }
        }
    }
    results.derive();
    results
}
