//! The languages, and the one script by which each is built, run, linted and packaged.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::place;
use super::process::{Said, ask};
use super::schedule::Build;

/// Longer than the slowest of them takes on two cores with nothing cached.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_secs(1200);

/// What a `dev` script ends with when a toolchain is missing.
const MISSING: i32 = 3;

/// All of them. Java and C++ make their generated code at each build.
const ALL: [Language; 6] = [
    Language::new(0, "rust", &[("rust", "")]),
    Language {
        forks: true,
        ..Language::new(
            1,
            "python",
            &[("python", ""), ("python-asyncio", "asyncio")],
        )
    },
    Language::new(2, "go", &[("go", "")]),
    Language {
        forks: true,
        ..Language::new(3, "typescript", &[("typescript", "")])
    },
    Language {
        commits_generated_code: false,
        forks: true,
        ..Language::new(4, "java", &[("java", "")])
    },
    Language {
        commits_generated_code: false,
        ..Language::new(5, "cpp", &[("cpp", "")])
    },
];

static READY: [OnceLock<Result<(), Lack>>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];

/// Why a language cannot be tried.
#[derive(Clone, Debug)]
pub(crate) enum Lack {
    /// It is not on this machine.
    Missing(String),
    /// It is broken.
    Broken(String),
}

/// One language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Language {
    number: usize,
    /// Its folder's name.
    pub(crate) name: &'static str,
    /// The names of its runners, each with the argument that it takes.
    pub(crate) runners: &'static [(&'static str, &'static str)],
    /// Whether its generated code is committed, and so may differ from the schema.
    pub(crate) commits_generated_code: bool,
    /// Whether its script has `runners`, a process that plays many cases.
    pub(crate) forks: bool,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Language> {
    ALL.into_iter()
}

impl Language {
    /// As most are.
    const fn new(
        number: usize,
        name: &'static str,
        runners: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            number,
            name,
            runners,
            commits_generated_code: true,
            forks: false,
        }
    }

    /// Where it lives.
    pub(crate) fn folder(self) -> PathBuf {
        place::clients().join(self.name)
    }

    /// Its script.
    pub(crate) fn dev(self, arguments: &[&str]) -> Command {
        let mut command = Command::new("./dev");
        command
            .args(arguments)
            .current_dir(self.folder())
            .env("DASHGATE_CLIENTS_TARGET", place::target());
        // What this machine's user has set up must not matter.
        for variable in ["DASHGATE_ADDR", "DASHGATE_API_KEY"] {
            command.env_remove(variable);
        }
        command
    }

    /// Its script as this runner: `runner` plays one case, `runners` many.
    pub(crate) fn runner(self, command: &str, runner: &str) -> Command {
        let words: Vec<&str> = [command, runner]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        self.dev(&words)
    }

    /// One run of its script that must end well.
    pub(crate) fn does(self, arguments: &[&str], address: Option<&str>) -> Result<Said, String> {
        let mut command = self.dev(arguments);
        if let Some(address) = address {
            command.env("DASHGATE_ADDR", address);
        }
        let said = ask(&mut command, b"", BUILD_LIMIT)?;
        match said.code {
            Some(0) => Ok(said),
            _ => Err(format!(
                "{}: ./dev {arguments:?}: {}",
                self.name,
                said.told()
            )),
        }
    }

    /// The same, where a compiler or an installer does the work.
    pub(crate) fn builds(self, arguments: &[&str], address: Option<&str>) -> Result<Said, String> {
        let _build = Build::begin();
        self.does(arguments, address)
    }

    /// Builds it, once for all tests of this process.
    pub(crate) fn ready(self) -> Result<(), Lack> {
        let ready = READY.get(self.number);
        ready.map_or(Ok(()), |ready| ready.get_or_init(|| self.prepare()).clone())
    }

    fn prepare(self) -> Result<(), Lack> {
        if !self.folder().join("dev").exists() {
            let folder = self.folder();
            return Err(Lack::Missing(format!(
                "there is no {}/dev",
                folder.display()
            )));
        }
        let _lock = self.lock().map_err(Lack::Broken)?;
        let _build = Build::begin();
        let said = ask(&mut self.dev(&["prepare"]), b"", BUILD_LIMIT).map_err(Lack::Broken)?;
        match said.code {
            Some(0) => Ok(()),
            Some(MISSING) => Err(Lack::Missing(said.err.trim().to_owned())),
            _ => Err(Lack::Broken(format!("./dev prepare: {}", said.told()))),
        }
    }

    /// Two runs of the suite never build the same language at the same time.
    fn lock(self) -> Result<File, String> {
        let folder = place::made();
        let path = folder.join(format!("{}.lock", self.name));
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(&folder).map_err(told)?;
        let lock = File::create(&path).map_err(told)?;
        lock.lock().map_err(told)?;
        Ok(lock)
    }
}
