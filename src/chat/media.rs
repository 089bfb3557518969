//! Audio, images and videos: their sources and processing options.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::document::{Object, Real};

/// The key of an audio file's other keys that names its format.
pub const MIME_TYPE: &str = "mime_type";

/// The source of a media item. Never a path: no file named by a caller is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A validated URI: `https:`, `http:`, `oss:` or `data:`.
    Uri(String),
    /// The bytes, shared with the buffer of the request.
    Inline(Bytes),
}

/// A media item: its type and source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Medium {
    /// The MIME type; empty if not declared.
    pub mime_type: String,
    /// The source.
    pub source: Source,
}

/// Audio.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Audio {
    /// The audio; `None` in an answer that has only a file.
    pub medium: Option<Medium>,
    /// DashScope's file of it, in answers only.
    pub file: Option<AudioFile>,
}

/// A complete audio file that DashScope stores temporarily.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct AudioFile {
    /// The URL.
    pub uri: String,
    /// DashScope's id of the file.
    pub id: String,
    /// The expiry of the URL, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// The unknown keys.
    pub extra: Object,
}

/// An image with its processing options.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// The image.
    pub medium: Medium,
    /// Scale up to this many pixels.
    pub min_pixels: Option<i32>,
    /// Scale down to this many pixels.
    pub max_pixels: Option<i32>,
    /// Whether to rotate it upright first.
    pub enable_rotate: Option<bool>,
}

/// A video with its sampling options.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Video {
    /// The video.
    pub source: VideoSource,
    /// Frames per second.
    pub fps: Option<Real>,
    /// The maximum number of frames.
    pub max_frames: Option<i32>,
    /// Scale each frame up to this many pixels.
    pub min_pixels: Option<i32>,
    /// Scale each frame down to this many pixels.
    pub max_pixels: Option<i32>,
    /// The maximum number of pixels of all frames together.
    pub total_pixels: Option<i32>,
}

/// A video as a file or as frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VideoSource {
    /// A file.
    File(Medium),
    /// Images in order.
    Frames(Vec<Medium>),
}
