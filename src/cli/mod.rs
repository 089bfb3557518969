//! The command line: each command has a file, beside the files that commands share.

mod answer;
mod ask;
mod attach;
mod audio_pipe;
mod audio_sinks;
mod audio_source;
mod completions;
mod config_command;
mod connect;
mod conversation_media;
mod conversation_names;
mod conversation_view;
mod conversations;
mod dialogue;
mod emulate;
mod error;
mod exchange;
mod exit;
mod file_arguments;
mod gateway;
mod gateway_flags;
mod gateway_output;
mod health;
mod hidden_parts;
mod input_lines;
mod interactive;
mod json_values;
mod keys;
mod live;
mod live_events;
mod live_json;
mod live_run;
mod live_summary;
mod live_view;
mod message_json;
mod models;
mod nonblocking_write;
mod option;
mod output_file;
mod printer;
mod probe;
mod prometheus;
mod schema;
mod serve;
mod signals;
mod slash_commands;
mod speak;
mod speech;
mod status;
mod stdin;
mod store;
mod terminal;
mod terminal_text;
mod top;
mod top_view;
mod upload;
mod usage_line;
mod usage_words;
mod wave_header;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};

use crate::config;
use crate::telemetry::log;

use self::error::Failure;
use self::exit::Exit;
use self::terminal::{Terminal, Unwritten};

/// How long threads may take to end after the command. One that remains is waiting for the keyboard
/// or for a disk that hangs.
const END_TIMEOUT: Duration = Duration::from_millis(100);

/// A parsed command.
#[derive(Debug)]
pub struct Command(Verb);

/// Parses the command line. `Err`: help was printed, or the line is invalid.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    match Line::try_parse_from(arguments) {
        Ok(line) => Ok(Command(line.verb)),
        Err(error) => {
            let error = suggested(error);
            let usage = error.use_stderr();
            let printed = error.print().and_then(|()| io::stdout().flush());
            Err(match (usage, printed) {
                // An error that cannot be printed cannot be read either.
                (true, _) => Exit::Usage.into(),
                (false, Ok(())) => Exit::Done.into(),
                (false, Err(error)) => {
                    let failure = Failure::from(Unwritten::from(error));
                    end(Err(failure), &mut Terminal::process()).into()
                }
            })
        }
    }
}

/// Suggests the intended command: clap itself does not recognise transposed letters.
fn suggested(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let line = Line::command();
    let names = line.get_subcommands().map(clap::Command::get_name);
    let Some(near) = config::nearest(wrong, names) else {
        return error;
    };
    let near = ContextValue::Strings(vec![near.to_owned()]);
    error.insert(ContextKind::SuggestedSubcommand, near);
    error
}

impl Command {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let mut terminal = Terminal::process();
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                terminal.note(&format!("error: cannot start: {error}"));
                return Exit::Failed.into();
            }
        };
        let done = runtime.block_on(Box::pin(self.0.run(&mut terminal)));
        runtime.shutdown_timeout(END_TIMEOUT);
        log::flush();
        terminal.flush();
        end(done, &mut terminal).into()
    }
}

/// The exit code. A closed stdout is not reported as an error.
fn end(done: Result<Exit, Failure>, terminal: &mut Terminal) -> Exit {
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            if failure.exit() != Exit::Done {
                terminal.note(&failure.text());
            }
            failure.exit()
        }
    }
}

/// A gRPC gateway in front of DashScope's multimodal models
///
/// It accepts conversations with text, audio, images and video over gRPC and calls DashScope over
/// HTTP. Without a DashScope key, the embedded emulator answers. Start with: dashgate ask --audio
/// FILE "Transcribe this audio."
#[derive(Debug, Parser)]
#[command(name = "dashgate", version, after_help = exit::HELP)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask a question about audio, images and video, or start a conversation
    #[command(after_help = ask::EXAMPLES)]
    Ask(Box<ask::Arguments>),
    /// Converse by voice with a realtime model
    #[command(after_help = live::EXAMPLES)]
    Live(Box<live::Arguments>),
    /// Speak text while it is written
    #[command(after_help = speak::EXAMPLES)]
    Speak(Box<speak::Arguments>),
    /// Run the gateway
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Arguments),
    /// Run the DashScope emulator, to test DashScope clients
    #[command(after_help = emulate::EXAMPLES)]
    Emulate(emulate::Arguments),
    /// Check whether a gateway is serving
    #[command(after_help = health::EXAMPLES)]
    Health(health::Arguments),
    /// List the models that a gateway can be asked for
    #[command(after_help = models::EXAMPLES)]
    Models(models::Arguments),
    /// List, show, export and delete the conversations that a gateway stores
    #[command(after_help = conversations::EXAMPLES)]
    Conversations(Box<conversations::Arguments>),
    /// Create, list and revoke the keys of callers
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::Arguments),
    /// Show the calls, rates, latencies and tokens of a gateway
    #[command(after_help = top::EXAMPLES)]
    Top(top::Arguments),
    /// Check the store, and create or change its tables
    #[command(after_help = store::EXAMPLES)]
    Store(store::Arguments),
    /// Validate or print the settings
    #[command(after_help = config_command::EXAMPLES)]
    Config(config_command::Arguments),
    /// Print shell completions
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Arguments),
}

impl Verb {
    async fn run(self, terminal: &mut Terminal) -> Result<Exit, Failure> {
        match self {
            Self::Ask(arguments) => ask::run(*arguments, terminal).await,
            Self::Live(arguments) => live::run(*arguments, terminal).await,
            Self::Speak(arguments) => speak::run(*arguments, terminal).await,
            Self::Serve(arguments) => serve::run(arguments, terminal).await,
            Self::Emulate(arguments) => emulate::run(arguments, terminal).await,
            Self::Health(arguments) => health::run(arguments, terminal).await,
            Self::Models(arguments) => models::run(arguments, terminal).await,
            Self::Conversations(arguments) => conversations::run(*arguments, terminal).await,
            Self::Keys(arguments) => keys::run(&arguments, terminal),
            Self::Top(arguments) => top::run(arguments, terminal).await,
            Self::Store(arguments) => store::run(arguments, terminal).await,
            Self::Config(arguments) => config_command::run(&arguments, terminal),
            Self::Completions(arguments) => completions::run(&arguments, Line::command(), terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_examples() {
        for command in Line::command().get_subcommands() {
            let help = command.get_after_help().unwrap().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
            assert!(help.contains(&format!("dashgate {}", command.get_name())));
        }
        let help = Line::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:"));
    }

    #[test]
    fn a_wrong_line_is_a_usage_error_and_help_is_none() {
        let parse = |line: &str| {
            let words = line.split(' ').map(str::to_owned);
            Line::try_parse_from(words).map_err(|error| error.use_stderr())
        };
        for line in [
            "dashgate serve --listen",
            "dashgate ask --timeout soon hi",
            "dashgate ask --timeout 0s hi",
            "dashgate ask --no-stream -o a.wav hi",
            "dashgate emulate --listen here",
            "dashgate keys",
            "dashgate keys new",
            "dashgate sing",
            "dashgate store",
            "dashgate store migrate --to new",
            "dashgate serve --set nothing",
            "dashgate live",
            "dashgate live --audio a.wav --text --save b.wav",
            "dashgate live --audio a.pcm --rate 0",
            "dashgate live --audio a.wav --json-audio",
            "dashgate conversations",
            "dashgate conversations delete",
            "dashgate speak hello",
            "dashgate speak -o a.wav",
            "dashgate speak -o a.wav --format flac hello",
        ] {
            assert!(matches!(parse(line), Err(true)), "{line}");
        }
        assert!(matches!(parse("dashgate --help"), Err(false)));
        for line in [
            "dashgate ask --audio a.wav --audio b.wav -m m what is this",
            "dashgate ask -m qwen3-tts-flash --voice Cherry -o hi.wav --option temperature=1 hi",
            "dashgate ask --json --no-stream --thinking --timeout 30s hi",
            "dashgate serve --listen 127.0.0.1:0 --upstream embedded --set a.b=c",
            "dashgate config check --config d.toml",
            "dashgate completions zsh",
            "dashgate serve --listen 0.0.0.0:1 --allow-anyone",
            "dashgate keys new --name a --expires 90d --file keys.toml",
            "dashgate keys list --file keys.toml",
            "dashgate keys revoke 0123456789ab --config d.toml",
            "dashgate health --service s",
            "dashgate live --audio - --output - --save a.wav --manual --gateway unix:/run/d.sock",
            "dashgate live --audio a.pcm --rate 24000 --realtime --json --json-audio",
            "dashgate speak -o - --format opus --rate 48000 --voice Ethan hello you",
            "dashgate ask --conversation birds what is a wren",
            "dashgate conversations list --json",
            "dashgate conversations show birds --turns 3 --server 127.0.0.1:1",
            "dashgate conversations export birds --media folder",
            "dashgate conversations delete a b",
            "dashgate models",
            "dashgate store check --json --config d.toml",
            "dashgate store migrate --to 1 --set store.url=sqlite:a.db",
            "dashgate models qwen-audio-turbo --json --server unix:/run/d.sock",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_command_with_two_letters_changed_is_suggested() {
        let error = Line::try_parse_from(["dashgate", "aks"]).unwrap_err();
        let told = suggested(error).to_string();
        assert!(told.contains("'ask'"), "{told}");
        let error = Line::try_parse_from(["dashgate", "whatever"]).unwrap_err();
        assert!(!suggested(error).to_string().contains("similar"));
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let (mut terminal, err) = terminal::fake::gone();
        let closed = terminal.answer("x").map(|()| Exit::Done);
        let exit = end(closed.map_err(Failure::from), &mut terminal);
        assert_eq!((exit, err.text().as_str()), (Exit::Done, ""));
        let (mut terminal, err) = terminal::fake::broken(io::ErrorKind::StorageFull);
        let full = terminal.answer("x").map(|()| Exit::Done);
        let exit = end(full.map_err(Failure::from), &mut terminal);
        assert_eq!(exit, Exit::Failed);
        let told = err.text();
        assert!(told.contains("cannot write to stdout"), "{told}");
    }
}
