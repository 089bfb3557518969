//! The `dashgate` command.

use std::process::ExitCode;

/// The system allocator returns the memory of each medium to the system page by page: a call with 1
/// MB of audio takes a quarter longer with it, and one with 8 MB a half.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match dashgate::cli::parse(std::env::args_os()) {
        Ok(command) => command.run(),
        Err(code) => code,
    }
}
