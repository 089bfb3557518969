//! `dashgate top`: a live view of a gateway's metrics.
//!
//! The screen is drawn without a TUI library, which would be larger than this code. `crossterm`
//! handles what depends on the terminal: its size, its keys, its alternate screen.

use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use crossterm::Command as _;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::{self, ProcessEnvironment};
use crate::telemetry::in_flight::Calls;

use super::error::Failure;
use super::exit::Exit;
use super::gateway_flags::{Choices, timeout};
use super::prometheus::Numbers;
use super::signals::Signals;
use super::terminal::Terminal;
use super::top_view::{Board, Look};

/// Text below the help of `top`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate serve --admin 127.0.0.1:9464             a gateway with an admin port
  dashgate top                                      every second, until q or Ctrl-C
  dashgate top --once                               one screen, for scripts
  dashgate top --json --admin 10.0.0.7:9464 | jq .calls_per_second

Rates and latencies cover the time since the previous update; with --once, since the start.";

/// The default admin address, as in the help of `serve`.
const ADMIN: &str = "127.0.0.1:9464";

/// Timeout of a request to the admin port.
const PAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest page, in bytes. A gateway with all metrics writes less than 1 MiB.
const MAX_PAGE: usize = 16 * 1024 * 1024;

/// Arguments of `top`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The gateway's admin port [default: admin.listen, or 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Print one screen and exit
    #[arg(long)]
    once: bool,
    /// Print one JSON object and exit
    #[arg(long)]
    json: bool,
    /// The update interval
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = timeout)]
    every: Duration,
    #[command(flatten)]
    choices: Choices,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let address = match arguments.admin {
        Some(address) => without_scheme(&address).to_owned(),
        None => {
            let settings = config::load(&arguments.choices.flags(), &ProcessEnvironment)?;
            let listen = settings.admin.listen;
            listen.map_or_else(|| ADMIN.to_owned(), |address| address.to_string())
        }
    };
    let first = look(&address).await?;
    if arguments.json {
        let board = Board::of(&first, None);
        let json = serde_json::to_string(&board);
        let json = json.map_err(|error| Failure::usage(error.to_string()))?;
        terminal.answer(&format!("{json}\n"))?;
        return Ok(Exit::Done);
    }
    if arguments.once || !std::io::stdout().is_terminal() {
        let lines = Board::of(&first, None).lines(usize::MAX, usize::MAX);
        terminal.answer(&format!("{}\n", lines.join("\n")))?;
        return Ok(Exit::Done);
    }
    watch(&address, first, arguments.every, terminal).await
}

/// The host and port of an address, which may be a URL.
fn without_scheme(address: &str) -> &str {
    match address.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        _ => address,
    }
}

/// Redraws the view at intervals, on the alternate screen.
async fn watch(
    address: &str,
    first: Look,
    every: Duration,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut signals = super::serve::listen()?;
    enter(terminal)?;
    let ended = watch_on(address, first, every, terminal, &mut signals).await;
    // The terminal is restored in all cases.
    leave(terminal);
    ended
}

async fn watch_on(
    address: &str,
    first: Look,
    every: Duration,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let (mut before, mut now) = (None, first);
    loop {
        let (width, height) = terminal::size().unwrap_or((80, 24));
        let lines = Board::of(&now, before.as_ref()).lines(width.into(), height.into());
        terminal.paint(&drawn(&lines))?;
        tokio::select! {
            _ = signals.next() => return Ok(Exit::Done),
            stop = tokio::task::spawn_blocking(move || asked_to_stop(every)) => {
                if stop.unwrap_or(true) {
                    return Ok(Exit::Done);
                }
            }
        }
        let next = look(address).await?;
        before = Some(std::mem::replace(&mut now, next));
    }
}

/// Waits for the next update, or for a key that quits.
fn asked_to_stop(every: Duration) -> bool {
    let until = tokio::time::Instant::now() + every;
    loop {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        match event::poll(left) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => return true,
        }
        match event::read() {
            Ok(Event::Key(key)) => {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                let end = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
                if end || control && key.code == KeyCode::Char('c') {
                    return true;
                }
            }
            Ok(Event::Resize(..)) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
}

fn enter(terminal: &mut Terminal) -> Result<(), Failure> {
    let mut text = String::new();
    let _ = EnterAlternateScreen.write_ansi(&mut text);
    let _ = Hide.write_ansi(&mut text);
    terminal::enable_raw_mode()
        .map_err(|error| Failure::usage(format!("the terminal cannot be drawn on: {error}")))?;
    terminal.paint(&text)?;
    Ok(())
}

fn leave(terminal: &mut Terminal) {
    let mut text = String::new();
    let _ = Show.write_ansi(&mut text);
    let _ = LeaveAlternateScreen.write_ansi(&mut text);
    let _ = terminal.paint(&text);
    let _ = terminal::disable_raw_mode();
}

/// Overwrites the screen line by line, without clearing it first.
fn drawn(lines: &[String]) -> String {
    let mut text = String::new();
    let _ = MoveTo(0, 0).write_ansi(&mut text);
    for (at, line) in lines.iter().enumerate() {
        text.push_str(line);
        let _ = Clear(ClearType::UntilNewLine).write_ansi(&mut text);
        if at + 1 < lines.len() {
            text.push_str("\r\n");
        }
    }
    let _ = Clear(ClearType::FromCursorDown).write_ansi(&mut text);
    text
}

async fn look(address: &str) -> Result<Look, Failure> {
    let numbers = Numbers::read(&page(address, "/metrics").await?);
    let calls = page(address, "/calls").await?;
    let calls: Calls = serde_json::from_str(&calls).map_err(|_| {
        Failure::unreachable(format!("{address} is not the admin port of a gateway"))
    })?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Look {
        numbers,
        calls: calls.calls,
        at: at.unwrap_or_default().as_secs_f64(),
    })
}

/// Fetches a page of the admin port.
async fn page(address: &str, path: &str) -> Result<String, Failure> {
    let fetched = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        let request = Request::get(path).header(http::header::HOST, address);
        let request = request.body(Empty::<Bytes>::new()).ok()?;
        let response = sender.send_request(request).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let body = Limited::new(response.into_body(), MAX_PAGE);
        let bytes = body.collect().await.ok()?.to_bytes();
        String::from_utf8(bytes.into()).ok()
    };
    let fetched = tokio::time::timeout(PAGE_TIMEOUT, fetched).await;
    fetched.ok().flatten().ok_or_else(|| {
        Failure::unreachable(format!(
            "{address} has no {path}; run `dashgate serve --admin {address}`, or set --admin"
        ))
    })
}
