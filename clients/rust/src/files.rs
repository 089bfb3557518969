//! Opens files by path. A path may name a pipe or a device, whose opening or end may never come: only
//! what was opened shows what it is, and opening must not wait. A thread of the runtime that waits
//! would also keep the process from ending.

use std::error::Error;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use tokio::fs::{File, OpenOptions};

/// Opens a regular file for reading, without waiting.
pub(crate) async fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let error = match options().open(path).await {
        Ok(file) => {
            let metadata = file.metadata().await?;
            if metadata.is_file() {
                return Ok((file, metadata));
            }
            NotRegular.into()
        }
        Err(error) => error,
    };
    // Sockets cannot be opened.
    match tokio::fs::metadata(path).await {
        Ok(metadata) if !metadata.is_file() => Err(NotRegular.into()),
        _ => Err(error),
    }
}

/// Whether a path cannot be opened because it names a pipe, a socket, a device or a folder.
pub(crate) fn is_not_regular(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|cause| cause.is::<NotRegular>())
}

#[derive(Debug)]
struct NotRegular;

impl fmt::Display for NotRegular {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("not a regular file")
    }
}

impl Error for NotRegular {}

impl From<NotRegular> for io::Error {
    fn from(cause: NotRegular) -> Self {
        Self::new(io::ErrorKind::InvalidInput, cause)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    // A terminal does not become that of the process.
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

/// What a path named, and the state of its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The device and the inode.
    file: Option<(u64, u64)>,
    size: u64,
    modified: Option<SystemTime>,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            file: number(metadata),
            size: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn number(_metadata: &Metadata) -> Option<(u64, u64)> {
    None
}
