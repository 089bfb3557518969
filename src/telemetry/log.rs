//! The log: on standard error, as text or JSON.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime as Clock};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry, reload};

use crate::quoted;

use super::log_limit::{self, Limit, Suppressed};
use super::log_writer::{self, Lines};

/// The writer of this process, once the log is started.
static LINES: OnceLock<Lines> = OnceLock::new();

/// The same writer, if the format is JSON.
static JSON_LINES: OnceLock<Lines> = OnceLock::new();

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// A JSON object per line.
    Json,
    /// Text.
    Text,
}

/// Changes the filter of the running log.
pub struct Level(Box<dyn Fn(Targets) + Send + Sync>);

impl Level {
    /// Applies this filter from now on.
    pub fn set(&self, filter: &str) {
        (self.0)(read(filter));
    }
}

/// Starts the log. An invalid filter is replaced by `info`. A second start changes nothing and
/// returns `None`.
pub fn start(filter: &str, format: Format) -> Option<Level> {
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Json => true,
        Format::Text => false,
    };
    let lost = if json { lost_as_json } else { lost_as_text };
    let limit = Limit::new(if json { report_as_json } else { report_as_text });
    let lines = LINES.get_or_init(|| Lines::to(std::io::stderr(), lost));
    let layer = fmt::layer().with_writer(lines.clone()).with_ansi(terminal);
    let layer = match json {
        true => layer.json().flatten_event(true).boxed(),
        false => layer.boxed(),
    };
    let (filter, handle) = reload::Layer::new(read(filter));
    // Tests that start several gateways in one process have a subscriber already.
    let started = registry().with(layer).with(filter).with(limit).try_init();
    log_panics();
    if json && started.is_ok() {
        let _ = JSON_LINES.set(lines.clone());
    }
    started.is_ok().then(|| {
        Level(Box::new(move |filter| {
            // Fails only if the log is gone, which cannot be reported.
            let _ = handle.reload(filter);
        }))
    })
}

/// The line that replaces dropped lines, as text.
fn lost_as_text(lines: u64) -> String {
    format!("{}  WARN {TARGET}: {LOST} lines={lines}", timestamp())
}

/// The same as JSON, in the format of other lines.
fn lost_as_json(lines: u64) -> String {
    let timestamp = timestamp();
    let head = format!(r#"{{"timestamp":"{timestamp}","level":"WARN","message":"{LOST}""#);
    format!(r#"{head},"lines":{lines},"target":"{TARGET}"}}"#)
}

fn report_as_text(suppressed: Suppressed) {
    put(&suppressed_as_text(suppressed));
}

fn report_as_json(suppressed: Suppressed) {
    put(&suppressed_as_json(suppressed));
}

fn put(line: &str) {
    if let Some(lines) = LINES.get() {
        lines.push(format!("{line}\n").as_bytes());
    }
}

/// The line that replaces suppressed lines, as text.
fn suppressed_as_text(suppressed: Suppressed) -> String {
    let Suppressed {
        target,
        place,
        lines,
    } = suppressed;
    let timestamp = timestamp();
    format!("{timestamp}  WARN {target}: suppressed {lines} similar lines of \"{place}\"")
}

/// The same as JSON, in the format of other lines.
fn suppressed_as_json(suppressed: Suppressed) -> String {
    let Suppressed {
        target,
        place,
        lines,
    } = suppressed;
    let timestamp = timestamp();
    let head = format!(r#"{{"timestamp":"{timestamp}","level":"WARN""#);
    let message = format!(r#""message":"suppressed {lines} similar lines""#);
    let mut line = format!(r#"{head},{message},"lines":{lines},"place":"#).into_bytes();
    quoted::push(place, &mut line);
    line.extend_from_slice(br#","target":"#);
    quoted::push(target, &mut line);
    line.push(b'}');
    String::from_utf8(line).unwrap_or_default()
}

/// The number of lines not in the log, by reason.
pub(super) fn dropped() -> [(&'static str, u64); 2] {
    [
        ("suppressed", log_limit::suppressed()),
        ("lost", log_writer::lost()),
    ]
}

const LOST: &str = "log lines lost: stderr was not read";
const TARGET: &str = "dashgate::telemetry::log";

/// The writer of JSON lines, if that is the format.
pub(super) fn json_lines() -> Option<&'static Lines> {
    JSON_LINES.get()
}

thread_local! {
    /// The second of the last line, and its formatted text up to the dot.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// The current time in the format of log lines.
fn timestamp() -> String {
    let mut text = Vec::new();
    push_timestamp(&mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends the current time.
pub(super) fn push_timestamp(line: &mut Vec<u8>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        // The date is formatted once per second.
        if *second != since.as_secs() {
            text.clear();
            *second = since.as_secs();
            let _ = Clock.format_time(&mut Writer::new(text));
            // The second may have just ended; then the next line formats again.
            text.truncate(text.find('.').unwrap_or(text.len()));
        }
        line.extend_from_slice(text.as_bytes());
        let (mut left, mut micros) = (since.subsec_micros(), *b"000000");
        for digit in micros.iter_mut().rev() {
            *digit += u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
        }
        line.push(b'.');
        line.extend_from_slice(&micros);
        line.push(b'Z');
    })
}

/// Waits until all lines are written, for the end of a process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

fn read(filter: &str) -> Targets {
    let default = Targets::new().with_default(LevelFilter::INFO);
    filter.parse().unwrap_or(default)
}

/// Logs the location of a panic without its message, which may contain message content or a key.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(%place, "task panicked: this is a bug in the gateway");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_lines_are_reported_in_the_format_of_the_log() {
        let json = lost_as_json(7);
        let read = serde_json::from_str::<serde::de::IgnoredAny>(&json);
        assert!(read.is_ok() && json.contains(r#""lines":7"#), "{json}");
        assert!(lost_as_text(7).ends_with("lines=7"));
        let suppressed = Suppressed {
            target: "h2::proto",
            place: "event a\\b.rs:1",
            lines: 7,
        };
        let json = suppressed_as_json(suppressed);
        let read = serde_json::from_str::<serde::de::IgnoredAny>(&json);
        assert!(read.is_ok() && json.contains(r#""lines":7"#), "{json}");
        let text = suppressed_as_text(suppressed);
        assert!(
            text.contains("h2::proto: suppressed 7 similar lines"),
            "{text}"
        );
    }
}
