//! The `dashgate` command.

use std::process::ExitCode;

/// The system's own gives the memory of each medium back and asks for it again, page by page: that
/// is half of what a sound of a megabyte costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match dashgate::cli::parse(std::env::args_os()) {
        Ok(command) => command.run(),
        Err(code) => code,
    }
}
