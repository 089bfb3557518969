//! The only module that writes to stdout and stderr.
//!
//! Output may come from a model or a server. On a terminal, its control characters are removed, so
//! that an answer cannot move the cursor or rename the window. A closed pipe (`dashgate ask ... |
//! head -1`) ends the command without a panic.

use std::io::{self, IsTerminal, Write};

use crate::config;

use super::nonblocking_write::Patient;

/// Why stdout could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// The reader closed it.
    Closed,
    /// Another error, as a full disk, with the system's message.
    Failed(String),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        match error.kind() == io::ErrorKind::BrokenPipe {
            true => Self::Closed,
            false => Self::Failed(error.to_string()),
        }
    }
}

/// Stdout for answers, stderr for everything else.
pub(crate) struct Terminal {
    out: Stream,
    err: Stream,
}

impl Terminal {
    /// The streams of the process.
    pub(crate) fn process() -> Self {
        let color = config::color(&config::ProcessEnvironment);
        let (out, err) = (io::stdout(), io::stderr());
        Self {
            out: Stream {
                terminal: out.is_terminal(),
                color,
                writer: Box::new(out),
            },
            err: Stream {
                terminal: err.is_terminal(),
                color,
                writer: Box::new(err),
            },
        }
    }

    /// Limits the time that writes wait for a slow reader, for servers, which must keep running and
    /// shut down in time.
    pub(crate) fn be_patient(&mut self) {
        self.out.writer = Box::new(Patient::new(io::stdout()));
        self.err.writer = Box::new(Patient::new(io::stderr()));
    }

    /// Writes a line to stderr without waiting, if [`Self::be_patient`] was called.
    pub(crate) fn note_later(&mut self, line: &str) {
        let line = format!("{line}\n");
        let _ = self.err.writer.write_all(line.as_bytes());
    }

    /// Waits until queued output is written, with a timeout.
    pub(crate) fn flush(&mut self) {
        let _ = self.err.writer.flush();
    }

    /// Writes a part of the answer, unbuffered.
    pub(crate) fn answer(&mut self, text: &str) -> Result<(), Unwritten> {
        self.out.write(text).map_err(Unwritten::from)
    }

    /// Writes to the screen of stdout, including escape sequences. The text must be sanitised.
    pub(crate) fn paint(&mut self, text: &str) -> Result<(), Unwritten> {
        self.out.raw(text).map_err(Unwritten::from)
    }

    /// Writes a line to stderr. A failure cannot be reported and is ignored.
    pub(crate) fn note(&mut self, line: &str) {
        let _ = self.err.write(&format!("{line}\n"));
    }

    /// Writes secondary text to stderr: grey if there are colours.
    pub(crate) fn aside(&mut self, text: &str) {
        let _ = self.err.write_dim(text);
    }

    /// Overwrites the current line of stderr. For terminals only.
    pub(crate) fn progress(&mut self, text: &str) {
        if self.err.terminal {
            let _ = self.err.raw(&format!("\r{text}\x1b[K"));
        }
    }

    /// Stdout for raw bytes, which another thread writes. It must not be written otherwise.
    pub(crate) fn bytes() -> Box<dyn Write + Send> {
        Box::new(io::stdout())
    }

    /// Whether stdout is a terminal.
    pub(crate) fn shows_answers(&self) -> bool {
        self.out.terminal
    }

    /// Whether stderr is a terminal.
    pub(crate) fn is_watched(&self) -> bool {
        self.err.terminal
    }
}

struct Stream {
    writer: Box<dyn Write + Send>,
    terminal: bool,
    color: bool,
}

impl Stream {
    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.terminal && text.contains(is_control) {
            let clean: String = text.chars().filter(|letter| !is_control(*letter)).collect();
            return self.raw(&clean);
        }
        self.raw(text)
    }

    fn write_dim(&mut self, text: &str) -> io::Result<()> {
        if !(self.terminal && self.color) {
            return self.write(text);
        }
        self.raw("\x1b[2m")?;
        self.write(text)?;
        self.raw("\x1b[0m")
    }

    fn raw(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}

fn is_control(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
}

/// Terminals for tests, which record the output.
#[cfg(test)]
pub(crate) mod fake {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::{Stream, Terminal};

    /// Recorded output.
    #[derive(Clone, Default)]
    pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        /// All of it.
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A stdout on which every write fails with this error.
    pub(crate) struct Gone(io::ErrorKind);

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A terminal with its two outputs. `watched`: stderr is a terminal.
    pub(crate) fn terminal(watched: bool, color: bool) -> (Terminal, Page, Page) {
        let (out, err) = (Page::default(), Page::default());
        let stream = |page: &Page| Stream {
            writer: Box::new(page.clone()),
            terminal: watched,
            color,
        };
        let terminal = Terminal {
            out: stream(&out),
            err: stream(&err),
        };
        (terminal, out, err)
    }

    /// A terminal whose stdout is closed.
    pub(crate) fn gone() -> (Terminal, Page) {
        broken(io::ErrorKind::BrokenPipe)
    }

    /// A terminal whose stdout fails.
    pub(crate) fn broken(why: io::ErrorKind) -> (Terminal, Page) {
        let (mut terminal, _, err) = terminal(false, false);
        terminal.out.writer = Box::new(Gone(why));
        (terminal, err)
    }
}

#[cfg(test)]
mod tests {
    use super::Unwritten;

    #[test]
    fn control_characters_reach_a_file_but_no_terminal() {
        let text = "a\x1b[2J\u{9b}b\r\n\tc";
        let (mut screen, out, _) = super::fake::terminal(true, true);
        screen.answer(text).unwrap();
        assert_eq!(out.text(), "a[2Jb\n\tc");
        let (mut file, out, _) = super::fake::terminal(false, true);
        file.answer(text).unwrap();
        assert_eq!(out.text(), text);
    }

    #[test]
    fn only_a_terminal_with_colours_is_dimmed() {
        for (watched, color, expected) in [
            (true, true, "\x1b[2mx\x1b[0m"),
            (true, false, "x"),
            (false, true, "x"),
        ] {
            let (mut terminal, _, err) = super::fake::terminal(watched, color);
            terminal.aside("x");
            assert_eq!(err.text(), expected);
        }
    }

    #[test]
    fn a_reader_that_went_away_is_told_of_and_no_panic() {
        let (mut terminal, _) = super::fake::gone();
        assert_eq!(terminal.answer("x"), Err(Unwritten::Closed));
        let full = std::io::ErrorKind::StorageFull;
        let (mut terminal, _) = super::fake::broken(full);
        let told = std::io::Error::from(full).to_string();
        assert_eq!(terminal.answer("x"), Err(Unwritten::Failed(told)));
    }
}
