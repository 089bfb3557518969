//! Opens the files that the configuration names. A path may come to refer to a named pipe, a device
//! or a directory while the gateway runs: opening a pipe without a writer would block forever, and
//! a device may return endless data. Only regular files are opened; the caller limits how much is
//! read.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a regular file for reading. Never waits for a writer.
pub fn open(path: &Path) -> io::Result<File> {
    // Before it is opened, because opening some devices does something.
    check(std::fs::metadata(path)?.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // It may have been replaced in between. For regular files this changes nothing.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        options.custom_flags(flags);
    }
    let file = options.open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

fn check(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    let what = match kind.is_dir() {
        true => "a directory",
        false => special(kind),
    };
    let message = format!("it is {what}, not a regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "a device"
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::Read as _;
    use std::path::PathBuf;

    use super::*;

    fn path(name: &str) -> PathBuf {
        let name = format!("dashgate-regular-file-{name}-{}", std::process::id());
        std::env::temp_dir().join(name)
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let pipe = path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let socket = path("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = path("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for (path, what) in [
            (pipe.as_path(), "a named pipe"),
            (&link, "a named pipe"),
            (&socket, "a socket"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/"), "a directory"),
        ] {
            let error = open(path).unwrap_err().to_string();
            assert_eq!(error, format!("it is {what}, not a regular file"));
        }
        for path in [pipe, socket, link] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_regular_file_is_read_through_links_too() {
        let (file, link) = (path("file"), path("link-to-file"));
        std::fs::write(&file, "x = 1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let mut text = String::new();
            open(path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "x = 1");
        }
        let missing = open(&path("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        for path in [file, link] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
