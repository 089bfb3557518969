//! Stdin as bytes, in the pieces in which they arrive.

use std::io;

use tokio::fs::File;

/// Opens stdin. The reader does not share the buffer of `std::io::stdin`.
#[cfg(unix)]
pub(crate) fn open() -> io::Result<File> {
    use std::os::fd::AsFd as _;
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(File::from_std(descriptor.into()))
}

/// Opens stdin. The reader does not share the buffer of `std::io::stdin`.
#[cfg(windows)]
pub(crate) fn open() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    let handle = io::stdin().as_handle().try_clone_to_owned()?;
    Ok(File::from_std(handle.into()))
}
