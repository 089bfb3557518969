//! The programs of docs/other-languages.md: code generated from the schema, and nothing else of
//! dashgate. The others of that page have toolchains that Debian and Maven Central do not bring.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::judge::holds;
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// A virtual machine takes its time to start.
const LIMIT: Duration = Duration::from_secs(120);

/// What the emulator measures in the recording.
const HEARD: &str = "121258 bytes, CRC32 f44c3a80";

pub(crate) const CASES: &[Case] = &[
    ("ruby_asks_with_generated_code", Tool::Ruby, ruby),
    ("kotlin_asks_with_generated_code", Tool::Kotlin, kotlin),
];

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/languages")
}

fn ruby(stubs: &Path) -> Result<(), String> {
    let mut command = Command::new("ruby");
    command
        .arg("-I")
        .arg(stubs)
        .arg(folder().join("ruby/ask.rb"));
    asks(command)
}

fn kotlin(class_path: &Path) -> Result<(), String> {
    let mut command = Command::new("java");
    command.arg(format!("@{}", class_path.display()));
    asks(command)
}

/// Runs a program with a recording and a question, as the page says.
fn asks(mut command: Command) -> Result<(), String> {
    let server = Server::gateway()?;
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sentence-en.wav");
    command
        .arg(recording)
        .arg("What is said?")
        .env("DASHGATE_ADDR", server.address());
    let said = ask(&mut command, LIMIT)?;
    let all = format!("{}\n{}\n{}", said.out, said.err, server.log());
    holds("the program succeeds", said.code == Some(0), &all)?;
    holds("the answer is printed", said.out.contains(HEARD), &all)?;
    holds("so is the usage", said.err.contains("tokens"), &all)
}
