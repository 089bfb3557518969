//! `dashgate completions`: shell completions.

use clap::{Args, Command};
use clap_complete::Shell;

use super::error::Failure;
use super::exit::Exit;
use super::terminal::Terminal;

/// Text below the help of `completions`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate completions bash > ~/.local/share/bash-completion/completions/dashgate
  dashgate completions zsh > ~/.zfunc/_dashgate
  dashgate completions fish > ~/.config/fish/completions/dashgate.fish";

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the completions.
pub(crate) fn run(
    arguments: &Arguments,
    mut command: Command,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "dashgate", &mut script);
    terminal.answer(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
