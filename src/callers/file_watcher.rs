//! A file that is read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::Error;

use super::api_key::Digest;
use super::key_file;

/// The interval of checks, and so the longest time that a revoked key is still accepted. A check is
/// one `stat`; inotify would miss files that are mounted or linked again.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A file younger than this may change again without a change of its modification time.
const YOUNG: Duration = Duration::from_secs(2);

/// A file, and its last known state.
pub(super) struct WatchedFile {
    /// Path of the file.
    pub(super) path: PathBuf,
    state: Mutex<FileState>,
}

/// The last known state of a file.
struct FileState {
    /// `None`: read the file at the next check, whatever its metadata.
    stamp: Option<FileStamp>,
    content: Option<Digest>,
}

/// What identifies a state of a file without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Changes when a symbolic link changes its target, as in Kubernetes mounts.
    inode: u64,
}

impl WatchedFile {
    /// Opens and reads a file.
    pub(super) fn open(path: PathBuf) -> Result<(Self, String), Error> {
        let stamp = stamp(&path).filter(FileStamp::is_old);
        let text = key_file::text(&path)?;
        let content = Some(Digest::of(&text));
        let state = Mutex::new(FileState { stamp, content });
        Ok((Self { path, state }, text))
    }

    /// The text, or why there is none, if it differs from the last one.
    pub(super) async fn changed(&self) -> Option<Result<String, Error>> {
        let path = self.path.clone();
        let state = self.state().stamp;
        // A disk that hangs must not block the calls.
        let looking = tokio::task::spawn_blocking(move || {
            let stamp = stamp(&path);
            let same = stamp.is_some() && stamp == state;
            (!same).then(|| (stamp, key_file::text(&path)))
        });
        // Only a runtime that shuts down cancels a check.
        let (stamp, text) = looking.await.ok()??;
        let content = text.as_ref().ok().map(|text| Digest::of(text));
        self.is_new(stamp, content).then_some(text)
    }

    /// Stores the state, and returns whether the content is new.
    fn is_new(&self, stamp: Option<FileStamp>, content: Option<Digest>) -> bool {
        let mut state = self.state();
        state.stamp = stamp.filter(FileStamp::is_old);
        let same = match (&state.content, &content) {
            (Some(old), Some(new)) => old.matches(new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        state.content = content;
        !same
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileStamp {
    fn is_old(&self) -> bool {
        let age = self.modified.map(|modified| modified.elapsed());
        matches!(age, Some(Ok(age)) if age >= YOUNG)
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(FileStamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        inode,
    })
}
