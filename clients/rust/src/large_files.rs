//! Large files that are attached to messages. A message has a URI that only this process can
//! resolve, so that one from somewhere else can never name a file of this machine.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use tokio::fs::File;
use uuid::Uuid;

use crate::files::{self, Identity};

const SCHEME: &str = "dashgate-file:";
/// How many files are known; the oldest is forgotten first.
const MAX_FILES: usize = 10_000;

/// A file that is attached to a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attached {
    pub(crate) path: PathBuf,
    identity: Identity,
}

/// Why an attached file cannot be sent.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// The path names another file, or its content is another.
    Changed,
    Unreadable(io::Error),
}

impl Attached {
    /// Opens the file, if it is the one that was attached.
    pub(crate) async fn open(&self) -> Result<(File, u64), NotSent> {
        match files::open(&self.path).await {
            Ok((file, metadata)) if self.identity == Identity::of(&metadata) => {
                Ok((file, metadata.len()))
            }
            Ok(_) => Err(NotSent::Changed),
            Err(error) if files::is_not_regular(&error) => Err(NotSent::Changed),
            Err(error) => Err(NotSent::Unreadable(error)),
        }
    }

    /// Whether an open file is still the one that was attached.
    pub(crate) async fn is_still(&self, file: &File) -> bool {
        let metadata = file.metadata().await;
        metadata.is_ok_and(|metadata| self.identity == Identity::of(&metadata))
    }
}

#[derive(Default)]
struct Files {
    files: HashMap<String, Attached>,
    oldest: VecDeque<String>,
}

static FILES: LazyLock<Mutex<Files>> = LazyLock::new(Mutex::default);

/// Returns a URI for a file.
pub(crate) fn register(path: &Path, identity: Identity) -> io::Result<String> {
    // The working directory may change before the file is uploaded.
    let path = std::path::absolute(path)?;
    let file = Attached { path, identity };
    let uri = format!("{SCHEME}{}", Uuid::new_v4());
    FILES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(uri.clone(), file);
    Ok(uri)
}

/// Whether a URI is one of a file of some process.
pub(crate) fn is_file(uri: &str) -> bool {
    uri.starts_with(SCHEME)
}

/// Returns the file of a URI; `None` if it is not one of this process, or was forgotten.
pub(crate) fn find(uri: &str) -> Option<Attached> {
    let files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.files.get(uri).cloned()
}

impl Files {
    fn add(&mut self, uri: String, file: Attached) {
        if self.oldest.len() >= MAX_FILES
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.files.remove(&oldest);
        }
        self.oldest.push_back(uri.clone());
        self.files.insert(uri, file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Attached {
        let path = std::env::current_exe().unwrap();
        let identity = Identity::of(&path.metadata().unwrap());
        Attached { path, identity }
    }

    #[test]
    fn the_oldest_file_is_forgotten_first() {
        let mut files = Files::default();
        for number in 0..=MAX_FILES {
            files.add(number.to_string(), file());
        }
        assert!(!files.files.contains_key("0"));
        assert!(files.files.contains_key("1"));
        assert_eq!(files.files.len(), MAX_FILES);
    }

    #[test]
    fn only_uris_of_this_process_have_a_file() {
        let uri = register(Path::new("a.wav"), file().identity).unwrap();
        assert!(is_file(&uri));
        assert!(find(&uri).unwrap().path.is_absolute());
        assert_eq!(find("dashgate-file:a"), None);
    }
}
