//! A file that is read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::Error;

use super::file;
use super::key::Digest;

/// How often a file is looked at: a key that was taken back still opens the door for so long. A
/// look is one `stat`; a watch by the kernel would miss files that are mounted or linked anew.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that is younger than this may change once more without a change of its time.
const YOUNG: Duration = Duration::from_secs(2);

/// A file, and what of it was seen last.
pub(super) struct Watched {
    /// Where it is.
    pub(super) path: PathBuf,
    seen: Mutex<Seen>,
}

/// What of the file was read last.
struct Seen {
    /// `None`: look into it again, whatever its stamp.
    stamp: Option<Stamp>,
    content: Option<Digest>,
}

/// What tells one state of a file from the next, without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// A link that leads elsewhere now, as Kubernetes changes its mounts.
    inode: u64,
}

impl Watched {
    /// Reads a file for the first time.
    pub(super) fn open(path: PathBuf) -> Result<(Self, String), Error> {
        let stamp = stamp(&path).filter(Stamp::is_old);
        let text = file::text(&path)?;
        let content = Some(Digest::of(&text));
        let seen = Mutex::new(Seen { stamp, content });
        Ok((Self { path, seen }, text))
    }

    /// The text, or why there is none, if that is another than before.
    pub(super) async fn changed(&self) -> Option<Result<String, Error>> {
        let path = self.path.clone();
        let seen = self.seen().stamp;
        // A disk that hangs must not hang the calls.
        let looking = tokio::task::spawn_blocking(move || {
            let stamp = stamp(&path);
            let same = stamp.is_some() && stamp == seen;
            (!same).then(|| (stamp, file::text(&path)))
        });
        // Only a runtime that ends lets go of a look.
        let (stamp, text) = looking.await.ok()??;
        let content = text.as_ref().ok().map(|text| Digest::of(text));
        self.is_news(stamp, content).then_some(text)
    }

    /// Keeps what was seen, and says whether its content is new.
    fn is_news(&self, stamp: Option<Stamp>, content: Option<Digest>) -> bool {
        let mut seen = self.seen();
        seen.stamp = stamp.filter(Stamp::is_old);
        let same = match (&seen.content, &content) {
            (Some(old), Some(new)) => old.matches(new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        seen.content = content;
        !same
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    fn is_old(&self) -> bool {
        let age = self.modified.map(|modified| modified.elapsed());
        matches!(age, Some(Ok(age)) if age >= YOUNG)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        inode,
    })
}
