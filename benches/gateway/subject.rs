//! What is measured: processes that are started anew for each row, each on a core of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Result;
use crate::proc::{self, Cpu, Memory};

/// Who stands between the load and the fake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Variant {
    /// The reference: the bare gateway, or a bare copy of bytes.
    Bare,
    /// The same a second time: what differs from the first is noise.
    Again,
    /// dashgate, as this build made it.
    Dashgate,
    /// Another binary of dashgate.
    Other,
    /// Nobody.
    Direct,
}

impl Variant {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Again => "again",
            Self::Dashgate => "dashgate",
            Self::Other => "other",
            Self::Direct => "direct",
        }
    }

    /// Whether it is dashgate, of whichever build.
    pub(crate) fn is_dashgate(self) -> bool {
        matches!(self, Self::Dashgate | Self::Other)
    }
}

/// Where processes run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// What is measured.
    pub(crate) subject: usize,
    /// The load and the fake.
    pub(crate) load: usize,
}

impl Cores {
    /// Two cores that differ, and this process on the second; or nothing, and the reason.
    pub(crate) fn divide() -> std::result::Result<Self, &'static str> {
        let [subject, load, ..] = *proc::cores() else {
            return Err(
                "there is one core only, or it is not known how many: all processes share \
                        what there is, and disturb each other",
            );
        };
        let moved = Command::new("taskset")
            .args(["-a", "-c", "-p", &load.to_string()])
            .arg(std::process::id().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !moved.is_ok_and(|status| status.success()) {
            return Err("taskset is not there or may not be used: no process is bound to a core");
        }
        Ok(Self { subject, load })
    }
}

/// How processes are started.
pub(crate) struct Starter {
    /// The cores, if processes are bound to them.
    pub(crate) cores: Option<Cores>,
    /// The binary of this build.
    pub(crate) dashgate: PathBuf,
    /// The other one.
    pub(crate) other: Option<PathBuf>,
    /// Where files go.
    pub(crate) folder: PathBuf,
    /// The upstream's address.
    pub(crate) fake: SocketAddr,
    /// Where bytes that are copied go.
    pub(crate) sink: SocketAddr,
    /// The key that callers show.
    pub(crate) key: String,
}

impl Starter {
    /// Makes the key. Everything else is kept as it is.
    pub(crate) fn make_key(&mut self) -> Result<()> {
        let keys = self.keys();
        if keys.exists() {
            std::fs::remove_file(&keys)?;
        }
        let made = Command::new(&self.dashgate)
            .args(["keys", "new", "--name", "bench", "--file"])
            .arg(&keys)
            .output()?;
        if !made.status.success() {
            let words = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(format!("no key could be made: {words}").into());
        }
        String::from_utf8(made.stdout)?
            .trim()
            .clone_into(&mut self.key);
        Ok(())
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("keys.toml")
    }

    /// The file of a variant that is dashgate.
    pub(crate) fn binary(&self, variant: Variant) -> Option<&Path> {
        match variant {
            Variant::Dashgate => Some(&self.dashgate),
            Variant::Other => self.other.as_deref(),
            Variant::Bare | Variant::Again | Variant::Direct => None,
        }
    }

    /// Starts a process and waits until it says where it listens. `settings` differ from the
    /// defaults, and are told to dashgate alone.
    pub(crate) fn start(&self, variant: Variant, settings: &[&str]) -> Result<Subject> {
        if let Some(binary) = self.binary(variant) {
            let mut command = self.bound(binary);
            command
                .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
                .arg("--set")
                .arg(format!("callers.keys_file={}", self.keys().display()));
            for setting in settings {
                // It is a secret, which is not accepted where every process sees it.
                match setting.strip_prefix("store.url=") {
                    Some(url) => command.env("DASHGATE_STORE_URL", url),
                    None => command.args(["--set", setting]),
                };
            }
            let base = format!("http://{}/api/v1", self.fake);
            command.env("DASHSCOPE_HTTP_BASE_URL", base);
            command.env("DASHSCOPE_API_KEY", "sk-bench");
            return self.run(command, Some(self.key.clone()));
        }
        if variant == Variant::Direct {
            return self.ours(&["__fake"]);
        }
        self.ours(&["__bare", &self.fake.to_string()])
    }

    /// Starts the copy of bytes that uploads are compared with.
    pub(crate) fn start_copy(&self) -> Result<Subject> {
        self.ours(&["__copy", &self.sink.to_string()])
    }

    fn ours(&self, arguments: &[&str]) -> Result<Subject> {
        let mut command = self.bound(&std::env::current_exe()?);
        command.args(arguments);
        self.run(command, None)
    }

    /// A command on its core. Nothing of the surroundings may change what is measured; `PATH` leads
    /// to taskset.
    fn bound(&self, program: &Path) -> Command {
        let mut command = match self.cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cores.subject.to_string()]);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command.env_clear();
        #[expect(
            clippy::disallowed_methods,
            reason = "it is handed on as it is, and is no setting"
        )]
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    fn run(&self, mut command: Command, key: Option<String>) -> Result<Subject> {
        let log = self.folder.join("subject.log");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let begun = Instant::now();
        let mut child = Guarded(command.spawn()?);
        let stdout = child.0.stdout.take().ok_or("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            let words = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("a process did not start: {line}{words}").into());
        };
        let took = begun.elapsed();
        Ok(Subject {
            address: address.parse()?,
            process: child.0.id(),
            key,
            started_in: took,
            _child: child,
        })
    }
}

/// A child that is ended when it is dropped.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that serves.
pub(crate) struct Subject {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Its id.
    pub(crate) process: u32,
    /// What callers must show.
    pub(crate) key: Option<String>,
    /// How long it took until it said so.
    pub(crate) started_in: Duration,
    _child: Guarded,
}

impl Subject {
    /// Its time on a core, so far.
    pub(crate) fn cpu(&self) -> Option<Cpu> {
        Cpu::of(self.process)
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> Option<Memory> {
        Memory::of(self.process)
    }
}
