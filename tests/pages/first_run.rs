//! The run that the READMEs begin with prints what stands there.

use std::collections::BTreeSet;
use std::process::Command;

use super::certificates::Folder;
use super::{READMES, read};

const BEGIN: &str = "$ cargo run --release -- ";

#[test]
fn the_first_run_of_the_readmes_prints_what_they_show() {
    for readme in READMES {
        let text = read(readme);
        let (_, run) = text.split_once(BEGIN).expect("there is a first run");
        let (run, _) = run.split_once("\n```").expect("the block ends");
        let (command, shown) = run.split_once('\n').expect("it has an output");
        let home = Folder::new();
        let output = Command::new(env!("CARGO_BIN_EXE_dashgate"))
            .args(arguments(command))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("HOME", home.path(""))
            .output()
            .expect("the program runs");
        let printed = [output.stderr, output.stdout].concat();
        let printed = String::from_utf8(printed).expect("it is text");
        assert_eq!(lines(&printed), lines(shown), "{readme}");
    }
}

/// The words of a command, some of them in quotation marks.
fn arguments(command: &str) -> Vec<&str> {
    let mut arguments = Vec::new();
    for (at, part) in command.split('"').enumerate() {
        match at % 2 {
            0 => arguments.extend(part.split_whitespace()),
            _ => arguments.push(part),
        }
    }
    arguments
}

/// The lines in any order, because two outputs are one on a terminal; without the times.
fn lines(text: &str) -> BTreeSet<&str> {
    text.lines()
        .map(|line| line.split("; first event ").next().unwrap_or_default())
        .collect()
}
