//! `dashgate store`: checks the store, and changes its schema.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::config::{self, ProcessEnvironment, StoreSettings};
use crate::error::{Error, Reason};
use crate::store::inspection::Inspection;
use crate::store::migrations::{self, LATEST};
use crate::store::{Absent, Store, StoreConfig};

use super::error::Failure;
use super::exit::Exit;
use super::gateway_flags::Choices;
use super::signals::Signals;
use super::terminal::Terminal;

/// Text below the help of `store`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate store check --config dashgate.toml       is it reachable, and can `serve` use it?
  dashgate store check --json | jq .latency_ms
  dashgate store migrate                            before a roll-out with store.migrate=false
  dashgate store migrate --to 1                     one version back, before a downgrade

The store is that of store.url (DASHGATE_STORE_URL): a SQLite file, or a PostgreSQL database that
replicas share. `serve` migrates at its start, unless store.migrate is false. A version of the
gateway accepts its own schema and the next one, so migrate before the first new replica starts, and
go back after the last one has stopped. Going back deletes what only the newer version has.

`check` exits with 0 if `serve` can use the store; 1 if it answers but cannot be used, for example
because it is damaged or has another schema; 2 if there is no store.url, or it is invalid; 3 if the
store does not answer.";

/// Arguments of `store`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Connect to the store, and print its schema, latency, size and number of calls
    Check {
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        choices: Choices,
    },
    /// Create the tables, or change them to another version
    Migrate {
        /// The version of the schema [default: the newest that this gateway knows]
        #[arg(long, value_name = "N")]
        to: Option<i64>,
        #[command(flatten)]
        choices: Choices,
    },
}

/// Runs the command. With `--json`, a failure is also an object on stdout.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::usage(format!("cannot listen for signals: {error}")))?;
    let json = matches!(arguments.action, Action::Check { json: true, .. });
    let done = tokio::select! {
        done = act(arguments.action) => done,
        _ = signals.next() => Err(Failure::cancelled()),
    };
    match done {
        Ok((text, exit)) => {
            terminal.answer(&text)?;
            Ok(exit)
        }
        Err(failure) if json => {
            terminal.answer(&format!("{}\n", failure.json()))?;
            Ok(failure.exit())
        }
        Err(failure) => Err(failure),
    }
}

async fn act(action: Action) -> Result<(String, Exit), Failure> {
    match action {
        Action::Check { json, choices } => check(json, &settings(&choices)?).await,
        Action::Migrate { to, choices } => {
            let text = migrate(to.unwrap_or(LATEST), &settings(&choices)?).await?;
            Ok((text, Exit::Done))
        }
    }
}

fn settings(choices: &Choices) -> Result<StoreSettings, Failure> {
    let settings = config::load_store(&choices.flags(), &ProcessEnvironment)?;
    settings.ok_or_else(|| {
        Failure::usage("there is no store: store.url is empty")
            .with_advice("set DASHGATE_STORE_URL, or store.url in the file of --config")
    })
}

async fn connect(settings: &StoreSettings, absent: Absent) -> Result<Store, Failure> {
    let config = StoreConfig {
        url: settings.url.clone(),
        // One after the other.
        max_connections: 1,
        migrate: false,
        lease: settings.lease,
    };
    Store::connect(&config, absent).await.map_err(failure)
}

/// A store that answers with an error is no store that does not answer.
fn failure(error: Error) -> Failure {
    let reason = error.reason();
    if matches!(reason, Reason::StoreDamaged | Reason::StoreFull) {
        return Failure::failed("STORE", error.message());
    }
    if reason == Reason::GatewayConfig {
        return Failure::usage(error.message());
    }
    match error.cause() {
        Some(cause) => Failure::unreachable(format!("{}: {cause}", error.message())),
        None => Failure::unreachable(error.message()),
    }
}

async fn migrate(to: i64, settings: &StoreSettings) -> Result<String, Failure> {
    let store = connect(settings, Absent::Wait).await?;
    let from = store.version().await.map_err(failure)?;
    migrations::check_target(from, to).map_err(failure)?;
    let failed = |error: Error| Failure::failed("STORE", error.message());
    store.migrate(to).await.map_err(failed)?;
    Ok(match from == to {
        true => format!("the schema is version {to} already\n"),
        false => format!("the schema was version {from}, and is version {to} now\n"),
    })
}

/// The result of `check`, as JSON.
#[derive(Debug, Serialize)]
struct Checked {
    usable: bool,
    engine: &'static str,
    schema_version: i64,
    gateway_schema_version: i64,
    latency_ms: f64,
    size_bytes: i64,
    calls: BTreeMap<&'static str, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

async fn check(json: bool, settings: &StoreSettings) -> Result<(String, Exit), Failure> {
    let store = connect(settings, Absent::Fail).await?;
    let found = store.inspect().await.map_err(failure)?;
    // `serve` would migrate it.
    let will_migrate = settings.migrate && found.version < LATEST;
    let problem = found.unusable.as_ref().filter(|_| !will_migrate);
    let exit = problem.map_or(Exit::Done, |_| Exit::Failed);
    let checked = Checked {
        usable: problem.is_none(),
        engine: store.engine().name(),
        schema_version: found.version,
        gateway_schema_version: LATEST,
        latency_ms: found.latency.as_secs_f64() * 1000.0,
        size_bytes: found.bytes,
        calls: found.calls.iter().copied().collect(),
        problem: problem.map(|error| error.message().to_owned()),
    };
    let text = match json {
        true => serde_json::to_string(&checked).unwrap_or_default() + "\n",
        false => text(&checked, &found, will_migrate),
    };
    Ok((text, exit))
}

fn text(checked: &Checked, found: &Inspection, will_migrate: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<9}{value}");
    };
    line("engine", checked.engine.to_owned());
    let version = found.version;
    line(
        "schema",
        match will_migrate {
            true => format!("version {version}; `serve` will migrate it to {LATEST}"),
            false => format!("version {version}; this gateway has {LATEST}"),
        },
    );
    line("latency", format!("{:.2} ms", checked.latency_ms));
    line("size", format!("{} KiB", checked.size_bytes / 1024));
    let calls: Vec<_> = found
        .calls
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if !calls.is_empty() {
        line("calls", calls.join(", "));
    }
    match &checked.problem {
        None => line("result", "the store can be used".to_owned()),
        Some(problem) => line("result", format!("the store cannot be used: {problem}")),
    }
    text
}
