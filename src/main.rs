//! The `dashgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    match dashgate::cli::parse(std::env::args_os()) {
        Ok(command) => command.run(),
        Err(code) => code,
    }
}
