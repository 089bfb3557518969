//! The parts of a message: text, audio, images and video.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::Error;
use crate::sniff;
use crate::v1::content::Kind;
use crate::v1::{self, Content, VideoFrames};

/// Returns a text part.
pub fn text(text: impl Into<String>) -> Content {
    Content::from(text.into())
}

/// Returns an audio part: `audio("sentence.wav")`, `audio("https://...")`, `audio(bytes)`. A file
/// is read immediately.
pub async fn audio(media: impl Into<Media>) -> Result<Content, Error> {
    let (source, mime_type) = media.into().read("audio").await?;
    let source = Some(match source {
        Read::Uri(uri) => v1::audio::Source::Uri(uri),
        Read::Bytes(bytes) => v1::audio::Source::Data(bytes),
    });
    Ok(of(Kind::Audio(v1::Audio {
        mime_type,
        source,
        file: None,
    })))
}

/// Returns an image part: `image("cat.png")`, `image("https://...")`, `image(bytes)`. A file is
/// read immediately.
pub async fn image(media: impl Into<Media>) -> Result<Content, Error> {
    Ok(of(Kind::Image(picture(media.into()).await?)))
}

/// Returns a video part: `video("video.mp4")`, `video("https://...")`, `video(bytes)`. A file is
/// read immediately.
pub async fn video(media: impl Into<Media>) -> Result<Content, Error> {
    let (source, mime_type) = media.into().read("video").await?;
    let source = Some(match source {
        Read::Uri(uri) => v1::video::Source::Uri(uri),
        Read::Bytes(bytes) => v1::video::Source::Data(bytes),
    });
    Ok(of(Kind::Video(v1::Video {
        mime_type,
        source,
        ..v1::Video::default()
    })))
}

/// Returns a video part that is a list of frames.
pub async fn video_frames<M: Into<Media>>(
    pictures: impl IntoIterator<Item = M>,
) -> Result<Content, Error> {
    let mut frames = Vec::new();
    for media in pictures {
        frames.push(picture(media.into()).await?);
    }
    let source = Some(v1::video::Source::Frames(VideoFrames { frames }));
    Ok(of(Kind::Video(v1::Video {
        source,
        ..v1::Video::default()
    })))
}

/// The source of audio, an image or a video: a file, bytes, or a URI that DashScope can fetch.
///
/// A string that begins with `http:`, `https:`, `oss:` or `data:` is a URI, any other string a
/// path.
#[derive(Clone, Debug)]
pub struct Media {
    place: Place,
    mime_type: Option<String>,
}

#[derive(Clone, Debug)]
enum Place {
    Path(PathBuf),
    Bytes(Bytes),
    Uri(String),
}

enum Read {
    Bytes(Bytes),
    Uri(String),
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

    /// A URI (`https:`, `http:`, `oss:` or `data:`), which DashScope fetches.
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

    async fn read(self, kind: &str) -> Result<(Read, String), Error> {
        let (bytes, name) = match self.place {
            Place::Uri(uri) => return Ok((Read::Uri(uri), self.mime_type.unwrap_or_default())),
            Place::Bytes(bytes) => (bytes, String::new()),
            Place::Path(path) => {
                let bytes = tokio::fs::read(&path)
                    .await
                    .map_err(|error| unreadable(&path, error))?;
                (bytes.into(), path.to_string_lossy().into_owned())
            }
        };
        let given = self.mime_type;
        let mime_type = given.unwrap_or_else(|| sniff::mime_type(&bytes, &name, kind).to_owned());
        Ok((Read::Bytes(bytes), mime_type))
    }
}

pub(crate) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::caused(format!("{} cannot be read: {error}", path.display()), error)
}

impl From<&str> for Media {
    fn from(place: &str) -> Self {
        let schemes = ["http:", "https:", "oss:", "data:"];
        match schemes.iter().any(|scheme| place.starts_with(scheme)) {
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

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        of(Kind::Text(text))
    }
}

/// The content of a message: a string, one part, or several.
pub trait Contents {
    /// Returns the parts, in order.
    fn contents(self) -> Vec<Content>;
}

impl Contents for &str {
    fn contents(self) -> Vec<Content> {
        vec![self.into()]
    }
}

impl Contents for String {
    fn contents(self) -> Vec<Content> {
        vec![self.into()]
    }
}

impl Contents for Content {
    fn contents(self) -> Vec<Content> {
        vec![self]
    }
}

impl Contents for Vec<Content> {
    fn contents(self) -> Vec<Content> {
        self
    }
}

impl<const N: usize> Contents for [Content; N] {
    fn contents(self) -> Vec<Content> {
        self.into()
    }
}

impl<A: Into<Content>, B: Into<Content>> Contents for (A, B) {
    fn contents(self) -> Vec<Content> {
        vec![self.0.into(), self.1.into()]
    }
}

impl<A: Into<Content>, B: Into<Content>, C: Into<Content>> Contents for (A, B, C) {
    fn contents(self) -> Vec<Content> {
        vec![self.0.into(), self.1.into(), self.2.into()]
    }
}

async fn picture(media: Media) -> Result<v1::Image, Error> {
    let (source, mime_type) = media.read("image").await?;
    let source = Some(match source {
        Read::Uri(uri) => v1::image::Source::Uri(uri),
        Read::Bytes(bytes) => v1::image::Source::Data(bytes),
    });
    Ok(v1::Image {
        mime_type,
        source,
        ..v1::Image::default()
    })
}

fn of(kind: Kind) -> Content {
    Content {
        kind: Some(kind),
        ..Content::default()
    }
}
