//! The source of audio, an image or a video.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::files::{self, Identity};
use crate::large_files;
use crate::sniff;

/// A larger file is not read into the message, but uploaded.
const LARGE_BYTES: u64 = 4 * 1024 * 1024;
/// The schemes of URIs that the gateway accepts.
pub(crate) const SCHEMES: [&str; 4] = ["http:", "https:", "oss:", "data:"];

/// The source of audio, an image or a video: a file, bytes, a reader, or a URI that DashScope can
/// fetch.
///
/// A string that begins with `http:`, `https:`, `oss:` or `data:` is a URI, any other string a
/// path. A URI that begins with `file:` is the path that it names.
#[derive(Debug)]
pub struct Media {
    place: Place,
    mime_type: Option<String>,
}

enum Place {
    Path(PathBuf),
    Bytes(Bytes),
    Reader(Pin<Box<dyn AsyncRead + Send>>),
    Uri(String),
}

/// What a part of a message has.
pub(crate) enum Source {
    Bytes(Bytes),
    Uri(String),
}

impl fmt::Debug for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(to),
            Self::Bytes(bytes) => write!(to, "{} bytes", bytes.len()),
            Self::Reader(_) => to.write_str("a reader"),
            Self::Uri(uri) => uri.fmt(to),
        }
    }
}

impl Media {
    /// A file. Its bytes are sent; its path is not.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Path(path.into()))
    }

    /// The bytes of a file.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::at(Place::Bytes(bytes.into()))
    }

    /// A reader, for example an open file. It is read to its end.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::at(Place::Reader(Box::pin(reader)))
    }

    /// A URI (`https:`, `http:`, `oss:` or `data:`), which DashScope fetches; or a `file:` URI, whose
    /// file is read.
    pub fn uri(uri: impl Into<String>) -> Self {
        Self::at(Place::Uri(uri.into()))
    }

    /// Sets the MIME type. Default: detected from the first bytes, then from the extension.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            mime_type: None,
        }
    }

    /// Reads the source for a part of this kind; also returns its MIME type.
    pub(crate) async fn read(self, kind: &str) -> io::Result<(Source, String)> {
        let given = self.mime_type;
        let path = match self.place {
            Place::Path(path) => path,
            Place::Uri(uri) => match file_path(&uri) {
                Some(path) => path?,
                None => return Ok((Source::Uri(uri), given.unwrap_or_default())),
            },
            Place::Bytes(bytes) => return Ok(typed(bytes, given, kind)),
            Place::Reader(mut reader) => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).await?;
                return Ok(typed(bytes.into(), given, kind));
            }
        };
        let read = read_file(&path, given, kind).await;
        read.map_err(|error| named(&path, &error))
    }
}

fn typed(bytes: Bytes, given: Option<String>, kind: &str) -> (Source, String) {
    let mime_type = given.unwrap_or_else(|| sniff::mime_type(&bytes, "", kind).to_owned());
    (Source::Bytes(bytes), mime_type)
}

async fn read_file(path: &Path, given: Option<String>, kind: &str) -> io::Result<(Source, String)> {
    let (mut file, metadata) = files::open(path).await?;
    let is_large = metadata.len() > LARGE_BYTES;
    let mut bytes = Vec::new();
    if is_large {
        let start = file.take(sniff::LONGEST as u64);
        { start }.read_to_end(&mut bytes).await?;
    } else {
        file.read_to_end(&mut bytes).await?;
    }
    let name = path.to_string_lossy();
    let mime_type = given.unwrap_or_else(|| sniff::mime_type(&bytes, &name, kind).to_owned());
    let source = match is_large {
        true => Source::Uri(large_files::register(path, Identity::of(&metadata))?),
        false => Source::Bytes(bytes.into()),
    };
    Ok((source, mime_type))
}

/// The error with the path.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The path that a `file:` URI names; `None` for another one.
pub(crate) fn file_path(uri: &str) -> Option<io::Result<PathBuf>> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("file") {
        return None;
    }
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                let message = format!("{uri}: the file is on another host");
                return Some(Err(io::Error::new(io::ErrorKind::InvalidInput, message)));
            }
            path
        }
    };
    // `file:///C:/a` is `C:/a`.
    let path = match cfg!(windows) {
        true => path.strip_prefix('/').unwrap_or(path),
        false => path,
    };
    let decoded = percent_decode_str(path).decode_utf8();
    Some(decoded.map_or_else(
        |_| {
            let message = format!("{uri}: the path is not UTF-8");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        },
        |path| Ok(PathBuf::from(path.as_ref())),
    ))
}

impl From<&str> for Media {
    fn from(place: &str) -> Self {
        let is_uri = SCHEMES.iter().any(|scheme| place.starts_with(scheme));
        match is_uri || place.starts_with("file:") {
            true => Self::uri(place),
            false => Self::path(place),
        }
    }
}

impl From<String> for Media {
    fn from(place: String) -> Self {
        Self::from(place.as_str())
    }
}

impl From<&Path> for Media {
    fn from(path: &Path) -> Self {
        Self::path(path)
    }
}

impl From<PathBuf> for Media {
    fn from(path: PathBuf) -> Self {
        Self::path(path)
    }
}

impl From<Bytes> for Media {
    fn from(bytes: Bytes) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Vec<u8>> for Media {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}

impl From<File> for Media {
    fn from(file: File) -> Self {
        Self::reader(file)
    }
}

impl From<std::fs::File> for Media {
    fn from(file: std::fs::File) -> Self {
        Self::reader(File::from_std(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_uris_are_paths() {
        let path = |uri| file_path(uri).map(|path| path.map_err(|error| error.kind()));
        let found = |path: &str| Some(Ok(PathBuf::from(path)));
        assert_eq!(path("file:///data/a%20b.wav"), found("/data/a b.wav"));
        assert_eq!(path("file://localhost/data/a"), found("/data/a"));
        assert_eq!(path("file:/data/a"), found("/data/a"));
        assert_eq!(path("FILE:/data/a"), found("/data/a"));
        let refused = Some(Err(io::ErrorKind::InvalidInput));
        assert_eq!(path("file://host/data/a"), refused);
        assert_eq!(path("https://host/data/a"), None);
        assert_eq!(path("/data/a"), None);
    }
}
