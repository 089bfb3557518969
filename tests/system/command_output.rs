//! What the commands do when their output cannot be written, and what they say of themselves: the
//! real program.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs `dashgate` with nothing of this machine's settings, and with this as its stdout.
fn run(arguments: &[&str], stdout: Stdio) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dashgate"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn piped(arguments: &[&str]) -> (Option<i32>, String, String) {
    run(arguments, Stdio::piped())
}

/// A stdout on a disk that is full.
fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

/// A stdout whose reader went away.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A path in a folder of its own.
fn path(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dashgate-output-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn output_that_cannot_be_written_is_a_failure_of_every_command() {
    let keys = path("list.toml");
    let keys = keys.to_str().unwrap();
    assert_eq!(
        piped(&["keys", "new", "--name", "a", "--file", keys]).0,
        Some(0)
    );
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help", "ask"],
        &["ask", "hello"],
        &["ask", "--no-stream", "hello"],
        &["ask", "--json", "hello"],
        // The failure itself cannot be written either.
        &["ask", "--json", "-m", "qwen-plus", "hello"],
        &["config", "check"],
        &["config", "show"],
        &["config", "schema"],
        &["config", "reference"],
        &["completions", "bash"],
        &["keys", "list", "--file", keys],
        &["keys", "new", "--name", "b", "--file", keys],
    ] {
        let (code, _, err) = run(arguments, full());
        assert_eq!(code, Some(1), "{arguments:?}: {err}");
        assert!(
            err.contains("cannot write to stdout"),
            "{arguments:?}: {err}"
        );
        assert!(err.contains("No space left"), "{arguments:?}: {err}");
        if arguments.first() != Some(&"keys") {
            let (code, _, err) = run(arguments, gone());
            assert_eq!(code, Some(0), "{arguments:?}: {err}");
        }
    }
}

#[test]
fn a_key_that_was_not_shown_is_not_stored() {
    let file = path("keys.toml");
    let name = file.to_str().unwrap();
    let new = ["keys", "new", "--name", "a", "--file", name];
    for stdout in [full(), gone(), Stdio::null()] {
        let (code, _, err) = run(&new, stdout);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("the key was not stored"), "{err}");
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(!stored.contains("sha256"), "{stored}");
    }
    let (code, key, err) = piped(&new);
    assert_eq!(code, Some(0), "{err}");
    let (_, listed, _) = piped(&["keys", "list", "--file", name]);
    let id = key.trim().split('_').nth(1).unwrap();
    assert!(listed.contains(id), "{key} in {listed}");
    // A file that takes no key is known before one is shown.
    std::fs::write(&file, "[[key]]\nid = 1\n").unwrap();
    let (code, out, _) = piped(&new);
    assert_eq!((code, out.as_str()), (Some(2), ""));
}

#[test]
fn every_command_refuses_to_wait_for_no_time() {
    for arguments in [
        ["health", "--timeout", "0s"],
        ["ask", "--timeout", "0s"],
        ["top", "--every", "0s"],
    ] {
        let (code, _, err) = piped(&arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        assert!(err.contains("longer than 0s"), "{arguments:?}: {err}");
    }
}

#[test]
fn options_that_would_be_sent_as_something_else_are_refused_with_their_path() {
    for (option, words) in [
        (
            "extra_parameters.n=9007199254740993",
            "extra_parameters.n: 9007199254740993 cannot",
        ),
        (
            "extra_parameters.n=12345678901234567890",
            "extra_parameters.n='\"12345678901234567890\"'",
        ),
        ("stop=[\"a\"", "stop: "),
        ("extra_parameters.x={\"a\":", "extra_parameters.x: "),
    ] {
        let (code, _, err) = piped(&["ask", "--option", option, "hello"]);
        assert_eq!(code, Some(2), "{option}: {err}");
        assert!(err.contains(words), "{words} in {err}");
    }
    for option in ["long_audio=fail", "stop_token_ids=[[1,2],[3]]"] {
        let (code, _, err) = piped(&["ask", "--option", option, "hello"]);
        assert_eq!(code, Some(0), "{option}: {err}");
    }
}
