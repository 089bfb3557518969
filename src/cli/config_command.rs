//! `dashgate config`: validates and prints the settings.

use clap::{Args, Subcommand};

use crate::config::{self, Endpoint, ProcessEnvironment};

use super::error::Failure;
use super::exit::Exit;
use super::gateway_flags::Choices;
use super::terminal::Terminal;

/// Text below the help of `config`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate config check --config dashgate.toml      exits with 0, or with 2 and all errors
  dashgate config show                              the effective configuration and its sources
  dashgate config schema > dashgate.schema.json     for editors with JSON Schema

Flags override environment variables, variables override the file. Secrets are never printed.";

/// Arguments of `config`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Validate the settings and report all errors at once
    Check(Choices),
    /// Print the effective configuration and its sources
    Show(Choices),
    /// Print the reference of all settings, as Markdown
    Reference,
    /// Print a JSON Schema of the settings file, for editors
    Schema,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let text = match &arguments.action {
        Action::Check(choices) => {
            let settings = config::load(&choices.flags(), &ProcessEnvironment)?;
            for note in config::unknown_variables(&ProcessEnvironment) {
                terminal.aside(&format!("note: {note}\n"));
            }
            let accounts = settings.upstream.accounts.len();
            let upstream = match settings.upstream.endpoint {
                Endpoint::Embedded if accounts > 0 => format!("{accounts} accounts"),
                Endpoint::Embedded => "the embedded emulator".to_owned(),
                Endpoint::Remote { base_url, .. } => base_url,
                Endpoint::OpenAi { kind, base_url, .. } => format!("{}:{base_url}", kind.name()),
            };
            let listen = &settings.server.listen;
            format!("the settings are valid: {listen}, upstream {upstream}\n")
        }
        Action::Show(choices) => config::show(&choices.flags(), &ProcessEnvironment)?,
        Action::Reference => config::markdown(),
        Action::Schema => config::schema(),
    };
    terminal.answer(&text)?;
    Ok(Exit::Done)
}
