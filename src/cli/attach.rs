//! Attachments: URLs, which DashScope fetches, and files, which are read here. A message never
//! contains a path.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dashgate_client::v1 as pb;
use dashgate_client::v1::content::Kind;

use crate::chat::sniffing::{self, HEAD_BYTES, Modality};
use crate::config;

use super::error::Failure;

/// The most bytes read from a pipe, which cannot be read twice.
const MAX_PIPED_BYTES: u64 = 256 << 20;

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Its kind.
    pub(crate) modality: Modality,
    /// Its source.
    pub(crate) source: Source,
}

/// The source of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A URL that DashScope can fetch.
    Uri(String),
    /// Data from a pipe.
    Read {
        /// The data.
        data: Bytes,
        /// The MIME type.
        mime_type: &'static str,
    },
    /// A local file.
    File {
        /// Its path, which is not sent.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The MIME type, from its first bytes or its name.
        mime_type: &'static str,
    },
}

impl Attachment {
    /// Opens an argument: a URL is passed on, a file is opened and its type recognised.
    pub(crate) fn open(modality: Modality, text: &str) -> Result<Self, Failure> {
        if text == "-" {
            let source = Self::read("stdin", modality, io::stdin().lock())?;
            return Ok(Self { modality, source });
        }
        let scheme = text
            .split_once(':')
            .map(|(scheme, rest)| (scheme.to_lowercase(), rest));
        let source = match scheme
            .as_ref()
            .map(|(scheme, rest)| (scheme.as_str(), *rest))
        {
            Some((scheme @ ("http" | "https" | "oss" | "data"), rest)) => {
                Source::Uri(format!("{scheme}:{rest}"))
            }
            Some(("file", _)) => {
                return Err(Failure::usage(format!("unsupported URL {text:?}"))
                    .with_advice("give the path of the file itself"));
            }
            Some((_, rest)) if rest.starts_with("//") => {
                return Err(Failure::usage(format!("unsupported URL scheme: {text:?}"))
                    .with_advice("give a path, or a URL with http, https, oss or data"));
            }
            Some(_) | None => Self::file(modality, &at_home(text))?,
        };
        Ok(Self { modality, source })
    }

    /// Reads a source of unknown size that can be read once: stdin, a pipe, a process substitution.
    fn read(shown: &str, modality: Modality, from: impl Read) -> Result<Source, Failure> {
        let mut data = Vec::new();
        let read = from.take(MAX_PIPED_BYTES + 1).read_to_end(&mut data);
        read.map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        if data.len() as u64 > MAX_PIPED_BYTES {
            let message = format!("{shown} has more than 256 MiB");
            return Err(Failure::usage(message).with_advice("save it to a file and give its path"));
        }
        let head = data.get(..HEAD_BYTES).unwrap_or(&data);
        let mime_type = judged(shown, data.len() as u64, head, modality)?;
        let data = Bytes::from(data);
        Ok(Source::Read { data, mime_type })
    }

    fn file(modality: Modality, path: &Path) -> Result<Source, Failure> {
        if let Some(pipe) = pipe(path) {
            return Self::read(&path.display().to_string(), modality, pipe);
        }
        let (bytes, head) = look(path).map_err(|error| {
            let flag = modality.name();
            let message = format!("cannot read {}: {error}", path.display());
            Failure::usage(message).with_advice(format!("--{flag} takes a file or a URL"))
        })?;
        let name = path.display().to_string();
        let mime_type = judged(&name, bytes, &head, modality)?;
        Ok(Source::File {
            path: path.to_owned(),
            bytes,
            mime_type,
        })
    }

    /// The bytes that it adds to a message when sent inline.
    pub(crate) fn inline_bytes(&self) -> usize {
        match &self.source {
            Source::Uri(uri) => uri.len(),
            Source::Read { data, .. } => data.len(),
            Source::File { bytes, .. } => usize::try_from(*bytes).unwrap_or(usize::MAX),
        }
    }

    /// The content part with the file's data, at most `limit` bytes.
    pub(crate) async fn inline(&self, limit: usize) -> Result<pb::Content, Failure> {
        let (path, mime_type) = match &self.source {
            Source::Uri(uri) => return Ok(self.linked(uri.clone())),
            Source::Read { data, mime_type } => {
                return Ok(content(self.kind(mime_type, Place::Data(data.clone()))));
            }
            Source::File {
                path, mime_type, ..
            } => (path.clone(), *mime_type),
        };
        let name = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || {
            let mut data = Vec::new();
            let limit = limit as u64;
            File::open(path)?.take(limit + 1).read_to_end(&mut data)?;
            match data.len() as u64 > limit {
                true => Err(io::Error::other("the file grew while it was read")),
                false => Ok(Bytes::from(data)),
            }
        });
        let read = read
            .await
            .unwrap_or_else(|_| Err(io::Error::other("reading failed")));
        let data = read.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
        Ok(content(self.kind(mime_type, Place::Data(data))))
    }

    /// The content part with a URI.
    pub(crate) fn linked(&self, uri: String) -> pb::Content {
        content(self.kind("", Place::Uri(uri)))
    }

    fn kind(&self, mime_type: &str, place: Place) -> Kind {
        let mime_type = mime_type.to_owned();
        match self.modality {
            Modality::Audio => Kind::Audio(pb::Audio {
                mime_type,
                source: Some(match place {
                    Place::Uri(uri) => pb::audio::Source::Uri(uri),
                    Place::Data(data) => pb::audio::Source::Data(data),
                }),
                ..pb::Audio::default()
            }),
            Modality::Image => Kind::Image(pb::Image {
                mime_type,
                source: Some(match place {
                    Place::Uri(uri) => pb::image::Source::Uri(uri),
                    Place::Data(data) => pb::image::Source::Data(data),
                }),
                ..pb::Image::default()
            }),
            Modality::Video => Kind::Video(pb::Video {
                mime_type,
                source: Some(match place {
                    Place::Uri(uri) => pb::video::Source::Uri(uri),
                    Place::Data(data) => pb::video::Source::Data(data),
                }),
                ..pb::Video::default()
            }),
        }
    }
}

enum Place {
    Uri(String),
    Data(Bytes),
}

/// A content part.
pub(crate) fn content(kind: Kind) -> pb::Content {
    pb::Content {
        kind: Some(kind),
        ..pb::Content::default()
    }
}

/// Selects the files to upload so that the others fit into a message: the largest ones.
pub(crate) fn too_large(sizes: &[usize], room: usize) -> Vec<bool> {
    let mut uploaded = vec![false; sizes.len()];
    let mut order: Vec<_> = sizes.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    for (at, _) in order {
        let rest = sizes.iter().zip(&uploaded).filter(|(_, gone)| !**gone);
        let rest = rest.fold(0, |sum: usize, (size, _)| sum.saturating_add(*size));
        if rest <= room {
            break;
        }
        if let Some(mark) = uploaded.get_mut(at) {
            *mark = true;
        }
    }
    uploaded
}

fn look(path: &Path) -> io::Result<(u64, Vec<u8>)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok((about.len(), head))
}

/// A pipe, a socket or a device, which has no size; `None` for other files.
fn pipe(path: &Path) -> Option<File> {
    let about = std::fs::metadata(path).ok()?;
    match about.is_file() || about.is_dir() {
        true => None,
        false => File::open(path).ok(),
    }
}

/// Expands `~` to the home directory, where no shell has done it.
fn at_home(text: &str) -> PathBuf {
    let below = text
        .strip_prefix("~/")
        .filter(|_| !Path::new(text).exists());
    match (below, config::home(&config::ProcessEnvironment)) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(text),
    }
}

/// The MIME type of data with these first bytes, or why they cannot be attached as this kind.
fn judged(
    shown: &str,
    bytes: u64,
    head: &[u8],
    modality: Modality,
) -> Result<&'static str, Failure> {
    if bytes == 0 {
        return Err(Failure::usage(format!("{shown} is empty")));
    }
    if let Some(found) = sniffing::contradiction(head, modality) {
        let is_no_medium = sniffing::is_no_medium(found);
        let problem = match Modality::of(found) {
            Some(_) if is_no_medium => ", which no model decodes".to_owned(),
            _ => format!(", not {}", article(modality)),
        };
        let failure = Failure::usage(format!("{shown} is {found}{problem}"));
        return Err(match Modality::of(found) {
            Some(_) if is_no_medium => {
                failure.with_advice("convert it to a format that the models take")
            }
            Some(other) => failure.with_advice(format!("--{} {shown}", other.name())),
            None => failure.with_advice("check the file: it is no media file"),
        });
    }
    let signed = sniffing::mime_type(head, "", Some(modality)).is_some();
    let known = |found: &&str| {
        let told = signed || sniffing::may_begin_with_anything(found);
        told && sniffing::fits(found, modality)
    };
    let found = sniffing::mime_type(head, shown, Some(modality)).filter(known);
    found.ok_or_else(|| {
        let kind = article(modality).rsplit(' ').next().unwrap_or_default();
        Failure::usage(format!("{shown}: unrecognised {kind} format"))
            .with_advice("pass a URL that DashScope can fetch, or convert the file")
    })
}

fn article(modality: Modality) -> &'static str {
    match modality {
        Modality::Audio => "audio",
        Modality::Image => "an image",
        Modality::Video => "a video",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WAV: &[u8] = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0";
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    fn written(name: &str, bytes: &[u8]) -> String {
        let folder = std::env::temp_dir().join(format!("dashgate-attach-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn addresses_pass_and_files_are_looked_at() {
        for uri in [
            "https://h/a.wav",
            "http://h/a",
            "oss://k",
            "data:audio/wav;base64,AA==",
        ] {
            let attachment = Attachment::open(Modality::Audio, uri).unwrap();
            assert_eq!(attachment.source, Source::Uri(uri.to_owned()));
        }
        let upper = Attachment::open(Modality::Audio, "HTTPS://H/A.wav").unwrap();
        assert_eq!(upper.source, Source::Uri("https://H/A.wav".to_owned()));
        let path = written("sound.bin", WAV);
        let Source::File {
            bytes, mime_type, ..
        } = Attachment::open(Modality::Audio, &path).unwrap().source
        else {
            panic!("it is a file");
        };
        assert_eq!((bytes, mime_type), (WAV.len() as u64, "audio/wav"));
    }

    #[test]
    fn an_argument_that_is_not_media_is_reported_with_advice() {
        let picture = written("picture.wav", PNG);
        let empty = written("empty.wav", b"");
        let text = written("notes.wav", b"they met at noon");
        let page = written("page.wav", b"<!DOCTYPE html><html></html>");
        for (text, expected) in [
            (picture.as_str(), "--image"),
            (empty.as_str(), "is empty"),
            (text.as_str(), "unrecognised audio format"),
            (page.as_str(), "is text/html, not audio"),
            ("no-such-file.wav", "cannot read no-such-file.wav"),
            ("file:///a.wav", "give the path"),
            ("ftp://host/a.wav", "unsupported URL scheme"),
            (".", "it is not a file"),
        ] {
            let told = Attachment::open(Modality::Audio, text).unwrap_err().text();
            assert!(told.contains(expected), "{expected} in {told}");
        }
    }

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end() {
        let source = Attachment::read("a pipe", Modality::Audio, WAV).unwrap();
        let attachment = Attachment {
            modality: Modality::Audio,
            source,
        };
        assert_eq!(attachment.inline_bytes(), WAV.len());
        let Some(Kind::Audio(audio)) = attachment.inline(0).await.unwrap().kind else {
            panic!("it is audio");
        };
        assert_eq!(audio.mime_type, "audio/wav");
        for (bytes, told) in [(&b""[..], "is empty"), (PNG, "--image")] {
            let failure = Attachment::read("a pipe", Modality::Audio, bytes).unwrap_err();
            assert!(failure.text().contains(told), "{}", failure.text());
        }
    }

    #[tokio::test]
    async fn the_bytes_of_a_file_are_in_the_message_and_its_path_is_not() {
        let path = written("told.pcm", &[1, 2, 3]);
        let attachment = Attachment::open(Modality::Audio, &path).unwrap();
        let part = attachment.inline(3).await.unwrap();
        assert!(!format!("{part:?}").contains("told"));
        let Some(Kind::Audio(audio)) = part.kind else {
            panic!("it is a sound");
        };
        assert_eq!(audio.mime_type, "audio/pcm");
        let expected = pb::audio::Source::Data(Bytes::from_static(&[1, 2, 3]));
        assert_eq!(audio.source, Some(expected));
        assert!(attachment.inline(2).await.is_err());
    }

    #[test]
    fn the_largest_files_are_uploaded_until_the_rest_fits() {
        for (sizes, room, expected) in [
            (vec![1, 2, 3], 6, vec![false, false, false]),
            (vec![1, 2, 3], 5, vec![false, false, true]),
            (vec![3, 1, 2], 2, vec![true, false, true]),
            (vec![1], 0, vec![true]),
            (vec![usize::MAX, 5], 9, vec![true, false]),
            (vec![], 0, vec![]),
        ] {
            assert_eq!(too_large(&sizes, room), expected, "{sizes:?} {room}");
        }
    }
}
