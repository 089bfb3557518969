//! The log of the calls, for people: `DASHGATE_LOG`.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::error::{Error, code_name};

/// How much is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Off,
    /// One line for each call.
    Info,
    /// Retries, resumes and connections too.
    Debug,
}

impl Level {
    /// The level of the environment variable `DASHGATE_LOG`.
    pub(crate) fn from_environment() -> Self {
        match std::env::var("DASHGATE_LOG").as_deref() {
            Ok("info") => Self::Info,
            Ok("debug") => Self::Debug,
            _ => Self::Off,
        }
    }

    /// Writes a line about a connection.
    pub(crate) fn connection(self, number: usize, target: &str) {
        let target = printable(target);
        self.debug(format_args!("connection {number} opened, {target}"));
    }

    fn debug(self, line: fmt::Arguments<'_>) {
        if self == Self::Debug {
            write(line);
        }
    }
}

/// The most characters that are written of a text from elsewhere.
const MAX_CHARACTERS: usize = 200;

/// Returns a text from elsewhere as a part of one line.
pub(crate) fn printable(text: &str) -> String {
    let is_plain = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    let letters = text.chars().take(MAX_CHARACTERS);
    let plain = letters.map(|letter| if is_plain(letter) { letter } else { '?' });
    plain.collect()
}

/// Writes a line at once, so that those of several threads do not mix. Errors are ignored: a closed
/// standard error must not fail a call.
fn write(line: fmt::Arguments<'_>) {
    let line = format!("dashgate: {line}\n");
    let _written = std::io::stderr().write_all(line.as_bytes());
}

/// What the lines of a call have in common.
#[derive(Clone, Debug)]
pub(crate) struct CallName {
    pub(crate) level: Level,
    pub(crate) method: &'static str,
    pub(crate) request_id: String,
    pub(crate) target: String,
}

impl CallName {
    /// Writes that a call is made again after a delay.
    pub(crate) fn retry(&self, delay: Duration, error: &Error) {
        let code = code_name(error.code());
        self.debug(format_args!("after {code}: retry in {}", millis(delay)));
    }

    /// Writes that a stream is resumed after a delay.
    pub(crate) fn resume(&self, delay: Duration, sequence: i32) {
        let delay = millis(delay);
        self.debug(format_args!("resume in {delay} after event {sequence}"));
    }

    fn debug(&self, text: fmt::Arguments<'_>) {
        let (method, id) = (self.method, &self.request_id);
        let target = &self.target;
        self.level
            .debug(format_args!("{method} {text}, request id {id}, {target}"));
    }
}

/// Writes the line of a call when it ends. A call that is dropped was cancelled.
#[derive(Debug)]
pub(crate) struct CallLog {
    name: CallName,
    begun: Instant,
    has_ended: bool,
}

impl CallLog {
    pub(crate) fn begin(name: CallName) -> Self {
        Self {
            name,
            begun: Instant::now(),
            has_ended: false,
        }
    }

    /// The call ended with this result.
    pub(crate) fn end<T>(&mut self, result: Result<&T, &Error>) {
        match result {
            Ok(_) => self.write("OK"),
            Err(error) => {
                let (code, reason) = (code_name(error.code()), error.raw_reason());
                match reason.is_empty() || reason == code {
                    true => self.write(code),
                    false => self.write(&format!("{code} {}", printable(reason))),
                }
            }
        }
    }

    fn write(&mut self, outcome: &str) {
        if std::mem::replace(&mut self.has_ended, true) || self.name.level == Level::Off {
            return;
        }
        let CallName {
            method,
            request_id,
            target,
            ..
        } = &self.name;
        let time = millis(self.begun.elapsed());
        write(format_args!(
            "{method} {outcome} {time}, request id {request_id}, {target}"
        ));
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        self.write("CANCELLED");
    }
}

fn millis(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_is_a_part_of_one_line() {
        assert_eq!(printable("order-4711 ~"), "order-4711 ~");
        assert_eq!(printable("a\r\n\x1b[31m\u{202e}你\u{7f}"), "a???[31m???");
        assert_eq!(printable(&"é".repeat(300)), "?".repeat(200));
    }
}
