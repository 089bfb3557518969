//! Sounds, pictures and films: where they are, and how to look at them.

use bytes::Bytes;

use super::document::{Object, Real};

/// Where a medium is. Never a path: nothing that a caller says is ever opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address that was checked at the door: `https:`, `http:`, `oss:` or `data:`.
    Uri(String),
    /// The bytes themselves, shared with the buffer that they came in.
    Inline(Bytes),
}

/// A medium: what it is and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Medium {
    /// The MIME type; empty when the caller did not say.
    pub mime_type: String,
    /// Where it is.
    pub source: Source,
}

/// A sound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audio {
    /// The sound; none in an answer that has only a file.
    pub medium: Option<Medium>,
    /// DashScope's copy of it. Answers only.
    pub file: Option<AudioFile>,
}

/// A finished sound that DashScope keeps for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AudioFile {
    /// Where to fetch it.
    pub uri: String,
    /// DashScope's name of it.
    pub id: String,
    /// When the address stops to work, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// What no field above covers.
    pub extra: Object,
}

/// A picture and how to look at it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    /// The picture.
    pub medium: Medium,
    /// Scale up to this many pixels.
    pub min_pixels: Option<i32>,
    /// Scale down to this many pixels.
    pub max_pixels: Option<i32>,
    /// Turn it upright first.
    pub enable_rotate: Option<bool>,
}

/// A film and how to sample it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Video {
    /// The film.
    pub source: VideoSource,
    /// Frames per second.
    pub fps: Option<Real>,
    /// The most frames.
    pub max_frames: Option<i32>,
    /// Scale each frame up to this many pixels.
    pub min_pixels: Option<i32>,
    /// Scale each frame down to this many pixels.
    pub max_pixels: Option<i32>,
    /// The most pixels of all frames together.
    pub total_pixels: Option<i32>,
}

/// A film as a file or as pictures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VideoSource {
    /// A file.
    File(Medium),
    /// Pictures in their order.
    Frames(Vec<Medium>),
}
