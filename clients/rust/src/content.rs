//! The parts of a message: text, audio, images and video.

use std::io;

use crate::media::{Media, Source};
use crate::v1::content::Kind;
use crate::v1::{self, Content, VideoFrames};

/// Returns a text part.
pub fn text(text: impl Into<String>) -> Content {
    Content::from(text.into())
}

/// Returns an audio part: `audio("sentence.wav")`, `audio("https://...")`, `audio(bytes)`. A file
/// is read immediately, but one of more than 4 MiB is uploaded by the calls that need it.
///
/// # Errors
///
/// The file cannot be read; the error has its path.
pub async fn audio(media: impl Into<Media>) -> io::Result<Content> {
    let (source, mime_type) = media.into().read("audio").await?;
    let source = Some(match source {
        Source::Uri(uri) => v1::audio::Source::Uri(uri),
        Source::Bytes(bytes) => v1::audio::Source::Data(bytes),
    });
    Ok(of(Kind::Audio(v1::Audio {
        mime_type,
        source,
        file: None,
    })))
}

/// Returns an image part: `image("cat.png")`, `image("https://...")`, `image(bytes)`. Files are read
/// as by [`audio`].
///
/// # Errors
///
/// The file cannot be read; the error has its path.
pub async fn image(media: impl Into<Media>) -> io::Result<Content> {
    Ok(of(Kind::Image(picture(media.into()).await?)))
}

/// Returns a video part: `video("video.mp4")`, `video("https://...")`, `video(bytes)`. Files are read
/// as by [`audio`].
///
/// # Errors
///
/// The file cannot be read; the error has its path.
pub async fn video(media: impl Into<Media>) -> io::Result<Content> {
    let (source, mime_type) = media.into().read("video").await?;
    let source = Some(match source {
        Source::Uri(uri) => v1::video::Source::Uri(uri),
        Source::Bytes(bytes) => v1::video::Source::Data(bytes),
    });
    Ok(of(Kind::Video(v1::Video {
        mime_type,
        source,
        ..v1::Video::default()
    })))
}

/// Returns a video part that is a list of frames.
///
/// # Errors
///
/// A file cannot be read; the error has its path.
pub async fn video_frames<M: Into<Media>>(
    pictures: impl IntoIterator<Item = M>,
) -> io::Result<Content> {
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

async fn picture(media: Media) -> io::Result<v1::Image> {
    let (source, mime_type) = media.read("image").await?;
    let source = Some(match source {
        Source::Uri(uri) => v1::image::Source::Uri(uri),
        Source::Bytes(bytes) => v1::image::Source::Data(bytes),
    });
    Ok(v1::Image {
        mime_type,
        source,
        ..v1::Image::default()
    })
}

pub(crate) fn of(kind: Kind) -> Content {
    Content {
        kind: Some(kind),
        ..Content::default()
    }
}
