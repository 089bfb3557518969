//! Commands that print what a gateway returns: one text, when they have all of it.

use std::time::Duration;

use crate::config::{self, Flags, ProcessEnvironment};

use super::error::Failure;
use super::exit::Exit;
use super::gateway::Gateway;
use super::gateway_flags::Choices;
use super::message_json::Fields;
use super::signals::Signals;
use super::terminal::Terminal;

/// The flags of such a command: of its settings, of its gateway and of its root certificates.
pub(super) fn flags(
    command: &'static str,
    choices: &Choices,
    (server, tls_ca): (Option<&str>, Option<&str>),
) -> Flags {
    let mut flags = choices
        .flags()
        .with("--server", "client.server", server)
        .with("--tls-ca", "client.tls.ca", tls_ca)
        // The gateway of this process is private, whatever the settings say.
        .with(command, "server.listen", Some("127.0.0.1:0"));
    // Failures are part of the output; the log would repeat them.
    flags.defaults.push(("log.level", "off"));
    flags
}

/// Prints a text that is made with a gateway; what is large is printed before it. With `json`, a
/// failure is also an object on stdout. The timeout is that of the connection, too.
pub(super) async fn print(
    (flags, json, timeout): (Flags, bool, Duration),
    terminal: &mut Terminal,
    text: impl AsyncFnOnce(&Gateway, &mut Terminal) -> Result<String, Failure>,
) -> Result<Exit, Failure> {
    match start((flags, timeout), terminal, text).await {
        Err(failure) if json && failure.exit() != Exit::Done => {
            let exit = failure.exit();
            terminal.answer(&format!("{}\n", failure.json()))?;
            Ok(exit)
        }
        done => done,
    }
}

async fn start(
    (flags, timeout): (Flags, Duration),
    terminal: &mut Terminal,
    text: impl AsyncFnOnce(&Gateway, &mut Terminal) -> Result<String, Failure>,
) -> Result<Exit, Failure> {
    let client = config::load_client(&flags, &ProcessEnvironment)?;
    let mut signals = Signals::of_command()
        .map_err(|error| Failure::usage(format!("cannot listen for signals: {error}")))?;
    let opened = tokio::select! {
        opened = Gateway::open(&flags, &client, Some(timeout)) => opened,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    let gateway = opened?;
    let asking = Box::pin(text(&gateway, &mut *terminal));
    let done = tokio::select! {
        done = asking => done,
        _ = signals.next() => Err(Failure::cancelled()),
    };
    let done = match done {
        Ok(text) => terminal.answer(&text).map_err(Failure::from),
        Err(failure) => Err(gateway.explained(failure).await),
    };
    gateway.stop().await;
    done.map(|()| Exit::Done)
}

/// One JSON object on a line.
pub(super) fn line(fields: &Fields) -> Result<String, Failure> {
    let json = serde_json::to_string(fields);
    json.map(|json| format!("{json}\n"))
        .map_err(|error| Failure::usage(error.to_string()))
}

/// A line for each row, with columns as wide as their widest value.
pub(super) fn columns<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, value) in widths.iter_mut().zip(row) {
            *width = (*width).max(value.chars().count());
        }
    }
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(value, width)| format!("{value:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}
