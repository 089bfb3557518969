//! Large files that are attached to messages. A message has a URI that only this process can
//! resolve, so that one from somewhere else can never name a file of this machine.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use uuid::Uuid;

const SCHEME: &str = "dashgate-file:";
/// How many files are known; the oldest is forgotten first.
const MAX_FILES: usize = 10_000;

#[derive(Default)]
struct Files {
    paths: HashMap<String, PathBuf>,
    oldest: VecDeque<String>,
}

static FILES: LazyLock<Mutex<Files>> = LazyLock::new(Mutex::default);

/// Returns a URI for a file.
pub(crate) fn register(path: &Path) -> io::Result<String> {
    // The working directory may change before the file is uploaded.
    let path = std::path::absolute(path)?;
    let uri = format!("{SCHEME}{}", Uuid::new_v4());
    FILES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(uri.clone(), path);
    Ok(uri)
}

/// Whether a URI is one of a file of some process.
pub(crate) fn is_file(uri: &str) -> bool {
    uri.starts_with(SCHEME)
}

/// Returns the path of a URI; `None` if it is not one of this process, or was forgotten.
pub(crate) fn path(uri: &str) -> Option<PathBuf> {
    let files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.paths.get(uri).cloned()
}

impl Files {
    fn add(&mut self, uri: String, path: PathBuf) {
        if self.oldest.len() >= MAX_FILES
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.paths.remove(&oldest);
        }
        self.oldest.push_back(uri.clone());
        self.paths.insert(uri, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_file_is_forgotten_first() {
        let mut files = Files::default();
        for number in 0..=MAX_FILES {
            files.add(number.to_string(), PathBuf::new());
        }
        assert!(!files.paths.contains_key("0"));
        assert!(files.paths.contains_key("1"));
        assert_eq!(files.paths.len(), MAX_FILES);
    }

    #[test]
    fn only_uris_of_this_process_have_a_path() {
        let uri = register(Path::new("a.wav")).unwrap();
        assert!(is_file(&uri));
        assert!(path(&uri).unwrap().is_absolute());
        assert_eq!(path("dashgate-file:a"), None);
    }
}
