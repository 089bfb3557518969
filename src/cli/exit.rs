//! Exit codes of commands.

use std::process::ExitCode;

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Done,
    /// The call failed, a health check reports not serving, or the store cannot be used.
    Failed,
    /// The command line, a file or the settings are invalid; nothing was done.
    Usage,
    /// The server or the store cannot be reached.
    Unreachable,
    /// Interrupted.
    Cancelled,
}

/// The table of [`Exit`] for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    success; also when the reader of stdout closed the pipe
  1    the call or the check failed, or the output could not be written
  2    the command line, a file or the settings are invalid; nothing was done
  3    the server or the store cannot be reached, or the listen address cannot be used
  130  stopped by Ctrl-C or SIGTERM";

impl Exit {
    /// The exit code.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Cancelled => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, HELP};

    #[test]
    fn every_exit_code_is_in_the_help() {
        use Exit::{Cancelled, Done, Failed, Unreachable, Usage};
        for exit in [Done, Failed, Usage, Unreachable, Cancelled] {
            let line = format!("\n  {:<5}", exit.number());
            assert!(HELP.contains(&line), "{exit:?}");
        }
    }

    #[test]
    fn the_page_of_the_command_line_has_the_same_table() {
        let page = include_str!("../../docs/command-line.md");
        for line in HELP.lines().skip(1) {
            let (number, meaning) = line.trim().split_once(' ').unwrap();
            let row = format!("| {number} | {} |", meaning.trim());
            assert!(page.contains(&row), "{row}");
        }
    }
}
