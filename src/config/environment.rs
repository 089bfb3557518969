//! The environment that settings are read from, as a trait, so that tests can replace it.

use std::io::{self, Read};
use std::path::Path;

use crate::regular_file;

/// The largest settings or key file; anything larger is a mistake in the path.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The environment that settings are read from, in addition to the command line.
pub trait Environment {
    /// The value of an environment variable. `Err` if it is not UTF-8.
    fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode>;

    /// The names of all environment variables that are UTF-8; none if unknown variables are not to
    /// be reported.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// The text of a file in which the system describes this process. It has no settings, so
    /// changes of it are not watched. Empty on systems without such files.
    fn system(&self, _path: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The value of a variable is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnicode;

/// The environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
        std::env::var_os(name)
            .map(|value| value.into_string().map_err(|_| NotUnicode))
            .transpose()
    }

    fn names(&self) -> Vec<String> {
        let names = std::env::vars_os().map(|(name, _)| name.into_string());
        names.filter_map(Result::ok).collect()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        regular_file::open(path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(text)
    }

    fn system(&self, path: &Path) -> io::Result<String> {
        self.file(path)
    }
}

/// An environment for tests.
#[cfg(test)]
pub(crate) mod fake {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{Environment, NotUnicode};

    /// An environment of two maps.
    #[derive(Default)]
    pub(crate) struct FakeEnvironment {
        variables: BTreeMap<String, String>,
        files: BTreeMap<PathBuf, String>,
    }

    impl FakeEnvironment {
        /// Sets a variable; the replacement character marks a value that is not UTF-8.
        pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.to_owned(), value.to_owned());
            self
        }

        /// Adds a file.
        pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
            self.files.insert(PathBuf::from(path), text.to_owned());
            self
        }
    }

    impl Environment for FakeEnvironment {
        fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
            match self.variables.get(name) {
                Some(value) if value == "\u{fffd}" => Err(NotUnicode),
                value => Ok(value.cloned()),
            }
        }

        fn names(&self) -> Vec<String> {
            self.variables.keys().cloned().collect()
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            let missing = || io::Error::new(io::ErrorKind::NotFound, "no such file");
            self.files.get(path).cloned().ok_or_else(missing)
        }

        fn system(&self, path: &Path) -> io::Result<String> {
            self.file(path)
        }
    }
}
