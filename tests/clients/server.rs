//! The real binary, serving on a port of its own until it is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::place;
use super::process::end;

/// Far longer than a start takes, on a machine that is busy with something else.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Enough to see why it failed.
const LOG_LIMIT: usize = 64 * 1024;

/// The key that the gateway shows to the emulator. Any that begins like this is good.
const UPSTREAM_KEY: &str = "sk-of-the-suite";

/// A running `dashgate`.
pub(crate) struct Server {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// `dashgate serve`, answered by its embedded DashScope.
    pub(crate) fn embedded() -> Result<Self, String> {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--upstream", "embedded"];
        Self::start(&arguments.map(str::to_owned), &[])
    }

    /// `dashgate serve` at this address with this upstream, more arguments and variables.
    pub(crate) fn gateway(
        upstream: &str,
        listen: &str,
        more: &[String],
        variables: &[(&str, String)],
    ) -> Result<Self, String> {
        let arguments = ["serve", "--listen", listen, "--upstream", upstream];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.extend_from_slice(more);
        Self::start(&arguments, variables)
    }

    fn start(arguments: &[String], variables: &[(&str, String)]) -> Result<Self, String> {
        // An empty home and no variables: what this machine's user has set up must not matter.
        let home = empty_home().map_err(|error| format!("no home: {error}"))?;
        let mut child = Command::new(place::gateway())
            .args(arguments)
            .env_clear()
            .env("HOME", &home)
            .env("DASHSCOPE_API_KEY", UPSTREAM_KEY)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("dashgate {arguments:?}: {error}"))?;
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = mpsc::sync_channel(1);
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            watch_out(out, sender);
            watch_err(err, Arc::clone(&log));
        }
        let mut server = Self {
            child,
            address: String::new(),
            log,
        };
        let first = receiver.recv_timeout(START_LIMIT).unwrap_or_default();
        match first.trim_end().strip_prefix("listening on ") {
            Some(address) => address.clone_into(&mut server.address),
            None => {
                let log = server.log();
                return Err(format!(
                    "dashgate {arguments:?} said {first:?} first\n{log}"
                ));
            }
        }
        Ok(server)
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn empty_home() -> std::io::Result<PathBuf> {
    let home = place::made().join("home");
    fs::create_dir_all(&home)?;
    Ok(home)
}

/// Passes the first line on, and reads the rest so that the pipe never fills.
fn watch_out(out: ChildStdout, sender: SyncSender<String>) {
    thread::spawn(move || {
        let mut lines = BufReader::new(out);
        let mut first = String::new();
        // Nothing but a failed start ends without a line; the empty text says so.
        let _read = lines.read_line(&mut first);
        let _heard = sender.send(first);
        let _rest = std::io::copy(&mut lines, &mut std::io::sink());
    });
}

fn watch_err(err: ChildStderr, log: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(err).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() < LOG_LIMIT {
                log.push_str(&line);
                log.push('\n');
            }
        }
    });
}
