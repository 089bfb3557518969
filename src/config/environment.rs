//! The world that settings are read from, behind a seam, so that a test brings its own.

use std::io::{self, Read};
use std::path::Path;

use crate::regular_file;

/// A file of settings or of a key is a page or two; anything larger is a mistake in the path.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// What settings are read from beside the command line.
pub trait Surroundings {
    /// The value of an environment variable. `Err` if it is not UTF-8.
    fn variable(&self, name: &str) -> Result<Option<String>, NotText>;

    /// The names of all environment variables that are UTF-8; none where nobody looks for
    /// misspelt ones.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// The text of a file in which the system describes this process. No setting comes from it, so
    /// nobody waits for it to change. Nothing where there is no such system.
    fn system(&self, _path: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The value of a variable is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

/// The real process.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Surroundings for Process {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn variable(&self, name: &str) -> Result<Option<String>, NotText> {
        std::env::var_os(name)
            .map(|value| value.into_string().map_err(|_| NotText))
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

/// A world for tests.
#[cfg(test)]
pub(crate) mod fake {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{NotText, Surroundings};

    /// A world of two maps.
    #[derive(Default)]
    pub(crate) struct Fake {
        variables: BTreeMap<String, String>,
        files: BTreeMap<PathBuf, String>,
    }

    impl Fake {
        /// Sets a variable; the replacement character stands for what is not UTF-8.
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

    impl Surroundings for Fake {
        fn variable(&self, name: &str) -> Result<Option<String>, NotText> {
            match self.variables.get(name) {
                Some(value) if value == "\u{fffd}" => Err(NotText),
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
