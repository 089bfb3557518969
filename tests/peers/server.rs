//! The real binary, serving on a port of its own until it is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::http_get::fetch;
use super::process::{ask, end};

/// Far longer than a start takes, on a machine that is busy with something else.
const START_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Enough to see why it failed.
const LOG_LIMIT: usize = 64 * 1024;

/// A running `dashgate`.
pub(crate) struct Server {
    child: Child,
    address: String,
    admin: String,
    log: Arc<Mutex<String>>,
    /// Says the first line of standard output, and is gone when that is closed.
    out: Receiver<String>,
}

impl Server {
    /// `dashgate serve`, answered by its embedded DashScope.
    pub(crate) fn gateway() -> Result<Self, String> {
        Self::start(&["serve", "--listen", "127.0.0.1:0", "--upstream", "embedded"])
    }

    /// The same with other settings, `KEY=VALUE`.
    pub(crate) fn gateway_with(listen: &str, settings: &[String]) -> Result<Self, String> {
        let mut arguments = vec!["serve", "--listen", listen, "--upstream", "embedded"];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        Self::start(&arguments)
    }

    /// The same with a port for the operator.
    pub(crate) fn watched() -> Result<Self, String> {
        let admin = free_address().map_err(|error| format!("no free port: {error}"))?;
        let listen = ["serve", "--listen", "127.0.0.1:0", "--upstream", "embedded"];
        let mut server = Self::start(&[&listen[..], &["--admin", &admin]].concat())?;
        server.admin = admin;
        Ok(server)
    }

    /// `dashgate emulate`.
    pub(crate) fn emulator() -> Result<Self, String> {
        Self::start(&["emulate", "--listen", "127.0.0.1:0"])
    }

    /// The same with other arguments.
    pub(crate) fn emulator_of(arguments: &[&str]) -> Result<Self, String> {
        Self::start(&[&["emulate", "--listen", "127.0.0.1:0"], arguments].concat())
    }

    /// The same with a script.
    pub(crate) fn emulator_with(script: &Path) -> Result<Self, String> {
        let script = script.display().to_string();
        Self::start(&["emulate", "--listen", "127.0.0.1:0", "--script", &script])
    }

    /// `dashgate serve` before that emulator.
    pub(crate) fn before(
        upstream: &str,
        listen: &str,
        settings: &[String],
    ) -> Result<Self, String> {
        let mut arguments = vec!["serve", "--listen", listen, "--upstream", upstream];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        Self::start(&arguments)
    }

    /// Sends SIGTERM, and does not wait.
    pub(crate) fn terminate(&self) -> Result<(), String> {
        let id = self.child.id().to_string();
        let said = ask(Command::new("kill").args(["-TERM", &id]), ANSWER_LIMIT)?;
        if said.code == Some(0) {
            return Ok(());
        }
        Err(format!("kill -TERM {id}: {}", said.err))
    }

    /// Waits until it has ended by itself, and says how.
    pub(crate) fn ended(&mut self, limit: Duration) -> Result<Option<i32>, String> {
        match self.out.recv_timeout(limit) {
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().map_err(|error| error.to_string())?;
                Ok(status.code())
            }
            still => Err(format!(
                "still there after {limit:?}: {still:?}\n{}",
                self.log()
            )),
        }
    }

    fn start(arguments: &[&str]) -> Result<Self, String> {
        // An empty home and no variables: what this machine's user has set up must not matter.
        let home = empty_home().map_err(|error| format!("no home: {error}"))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_dashgate"))
            .args(arguments)
            .env_clear()
            .env("HOME", &home)
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
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
            admin: String::new(),
            log,
            out: receiver,
        };
        let first = server.out.recv_timeout(START_LIMIT).unwrap_or_default();
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

    /// The body that a plain GET brings.
    pub(crate) fn fetch(&self, path: &str) -> Result<String, String> {
        fetch(&self.address, path)
    }

    /// The same from the operator's port.
    pub(crate) fn look(&self, path: &str) -> Result<String, String> {
        fetch(&self.admin, path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// An address that nobody listens on just now.
fn free_address() -> std::io::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.local_addr().map(|address| address.to_string())
}

fn empty_home() -> std::io::Result<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
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
