//! The `dashgate` command.

use std::process::ExitCode;

/// The system's own gives the memory of each medium back and asks for it again, page by page: a
/// quarter more for a sound of a megabyte, and a half more for one of eight.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match dashgate::cli::parse(std::env::args_os()) {
        Ok(command) => command.run(),
        Err(code) => code,
    }
}
