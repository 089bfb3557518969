//! Runners that stay: a process that plays one case after the other, in Python each in a fork of
//! itself.
//!
//! The start of the interpreter and its imports are shared. Each case has its own exit code and
//! output.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::process::{OUTPUT_LIMIT, Said, end};

/// Those that play nothing now, with the runner that each is. There are never more than threads.
static IDLE: Mutex<Vec<(&str, Runners)>> = Mutex::new(Vec::new());

struct Runners {
    child: Child,
    jobs: ChildStdin,
    results: Receiver<String>,
}

/// Plays one job, in a process that may have played others before.
pub(crate) fn ask(
    runner: &'static str,
    command: impl FnOnce() -> Command,
    job: &Value,
    limit: Duration,
) -> Result<Said, String> {
    let mut runners = match idle(runner) {
        Some(runners) => runners,
        None => Runners::start(command())?,
    };
    // One that failed is ended, and not used again.
    let said = runners.play(job, limit)?;
    let mut all = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    all.push((runner, runners));
    Ok(said)
}

fn idle(runner: &str) -> Option<Runners> {
    let mut all = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let at = all.iter().position(|(name, _)| *name == runner)?;
    Some(all.swap_remove(at).1)
}

impl Runners {
    fn start(mut command: Command) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("./dev runners: {error}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(told)?;
        let (Some(jobs), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            end(&mut child);
            return Err("there are no pipes".to_owned());
        };
        Ok(Self {
            child,
            jobs,
            results: lines(out),
        })
    }

    fn play(&mut self, job: &Value, limit: Duration) -> Result<Said, String> {
        let line = format!("{job}\n");
        let written = self.jobs.write_all(line.as_bytes());
        written.map_err(|error| format!("./dev runners does not read: {error}"))?;
        let line = self
            .results
            .recv_timeout(limit)
            .map_err(|why| format!("./dev runners: no result within {limit:?}: {why}"))?;
        let result: Value = serde_json::from_str(&line).map_err(|why| format!("{why}: {line}"))?;
        let text = |name: &str| result.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = result.get("code").and_then(Value::as_i64);
        match (code, text("out"), text("err")) {
            (Some(code), Some(out), Some(err)) => Ok(Said {
                code: i32::try_from(code).ok(),
                out,
                err,
            }),
            _ => Err(format!("no code, out and err: {line}")),
        }
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn lines(out: ChildStdout) -> Receiver<String> {
    // One result at a time is waited for.
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut out = BufReader::new(out);
        loop {
            let mut line = String::new();
            match out.by_ref().take(OUTPUT_LIMIT).read_line(&mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) if sender.send(line).is_err() => break,
                Ok(_) => {}
            }
        }
    });
    receiver
}
