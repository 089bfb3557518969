//! `dashgate serve`: runs the gateway.

use std::future::Future;
use std::io;
use std::sync::Arc;

use clap::Args;
use tokio::sync::{Notify, oneshot};

use crate::app::{self, Changes};
use crate::config::{self, ProcessEnvironment, Source};

use super::error::Failure;
use super::exit::Exit;
use super::gateway_flags::Choices;
use super::signals::{self, Signals};
use super::terminal::{Terminal, Unwritten};

/// Text below the help of `serve`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate serve                                    the embedded emulator if there is no key
  DASHSCOPE_API_KEY=sk-... dashgate serve           DashScope
  dashgate serve --upstream vllm:http://127.0.0.1:8000/v1 --model Qwen/Qwen2.5-Omni-7B
  dashgate serve --listen 127.0.0.1:0               a free port; the first line of stdout says which
  dashgate serve --admin 127.0.0.1:9464             with metrics, and for `dashgate top`
  dashgate serve --config dashgate.toml --set timeouts.idle=90s
  dashgate serve --listen 0.0.0.0:50051 --set callers.keys_file=keys.toml

The first line of stdout is `listening on ADDRESS`; with --admin the second is `admin on URL`.
SIGTERM or Ctrl-C lets running calls finish (server.drain_timeout); a second one exits at once.
The settings are reloaded on SIGHUP and when their files change; invalid settings change nothing.";

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The listen address [default: 127.0.0.1:50051] [env: DASHGATE_SERVER_LISTEN]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// DashScope's base URL, `embedded`, or an OpenAI-style server with its kind, as in
    /// vllm:http://127.0.0.1:8000/v1 [env: DASHSCOPE_HTTP_BASE_URL]
    #[arg(long, value_name = "[KIND:]URL|embedded")]
    upstream: Option<String>,
    /// A model that the upstream serves, with `*` for any characters; repeat it for several
    /// [default: all] [env: DASHGATE_UPSTREAM_MODELS]
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// Accept calls without credentials on a non-loopback address [env:
    /// DASHGATE_CALLERS_ALLOW_ANYONE]
    #[arg(long)]
    allow_anyone: bool,
    /// The listen address of the admin port [default: disabled] [env: DASHGATE_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    #[command(flatten)]
    choices: Choices,
}

/// Serves until a signal arrives.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let models = (!arguments.model.is_empty()).then(|| arguments.model.join(","));
    let flags = arguments
        .choices
        .flags()
        .with("--listen", "server.listen", arguments.listen)
        .with("--upstream", "upstream.url", arguments.upstream)
        .with("--model", "upstream.models", models)
        .with("--admin", "admin.listen", arguments.admin)
        .with(
            "--allow-anyone",
            "callers.allow_anyone",
            arguments.allow_anyone.then_some("true"),
        );
    terminal.be_patient();
    let mut source = Source::new(flags, ProcessEnvironment);
    let settings = source.load()?.settings;
    // Before the address is printed: a reader of it may send a signal next.
    let mut signals = listen()?;
    let again = Arc::new(Notify::new());
    signals::tell_of_hangups(Arc::clone(&again)).map_err(deaf)?;
    let log = app::start_log(&settings);
    if !settings.server.core_dumps {
        app::core_dumps::forbid();
    }
    for note in config::unknown_variables(&ProcessEnvironment) {
        tracing::warn!("{note}");
    }
    let mut gateway = Box::pin(app::bind(&settings)).await?;
    gateway.spread(&settings)?;
    gateway.follow(Changes {
        source,
        now: again,
        log,
    });
    announce(&format!("listening on {}", gateway.address()), terminal);
    if let Some(address) = gateway.admin_addr() {
        announce(&format!("admin on http://{address}"), terminal);
    }
    if gateway.embedded() {
        terminal.aside(
            "answering from the embedded emulator, which is not a model; set DASHSCOPE_API_KEY to \
             call DashScope\n",
        );
    }
    let (stop, stopped) = oneshot::channel();
    let running = gateway.run(until(stopped));
    match stoppable(running, stop, &mut signals, terminal).await {
        Some(ended) => ended.map(|()| Exit::Done).map_err(Failure::from),
        None => Ok(Exit::Cancelled),
    }
}

/// Starts to handle signals.
pub(crate) fn listen() -> Result<Signals, Failure> {
    Signals::listen().map_err(deaf)
}

fn deaf(error: io::Error) -> Failure {
    Failure::usage(format!("cannot listen for signals: {error}"))
}

/// Prints the listen address. A server whose output fails still serves.
pub(crate) fn announce(line: &str, terminal: &mut Terminal) {
    if let Err(Unwritten::Failed(why)) = terminal.answer(&format!("{line}\n")) {
        terminal.note_later(&format!("warning: cannot write {line:?} to stdout: {why}"));
    }
}

/// Waits for the stop signal.
pub(crate) async fn until(stopped: oneshot::Receiver<()>) {
    // Dropping the sender stops it too.
    let _ = stopped.await;
}

/// Runs a server to its end. The first signal drains it; the second one ends this: `None`.
pub(crate) async fn stoppable<T>(
    running: impl Future<Output = T>,
    stop: oneshot::Sender<()>,
    signals: &mut Signals,
    terminal: &mut Terminal,
) -> Option<T> {
    let mut running = Box::pin(running);
    tokio::select! {
        ended = &mut running => return Some(ended),
        _ = signals.next() => {}
    }
    // A server that has just ended needs no signal.
    let _ = stop.send(());
    terminal.note_later("stopping when all calls are done; a second signal stops at once");
    tokio::select! {
        ended = &mut running => Some(ended),
        _ = signals.next() => None,
    }
}
