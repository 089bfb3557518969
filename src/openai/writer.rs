//! The state of a request that is being written.

use super::dialect::Dialect;
use super::parameters::warning;
use crate::chat::document::Real;
use crate::chat::warning::Warning;
use crate::dashscope::json_writer::JsonWriter;
use crate::dashscope::media_transfer::MediaTransfer;

/// The maximum number of warnings about one request. A conversation may have thousands of parts.
const MAX_WARNINGS: usize = 64;

/// Writes one request.
pub(super) struct RequestWriter<'a, 'w> {
    pub(super) json: JsonWriter<'a, 'w>,
    pub(super) dialect: &'static Dialect,
    pub(super) warnings: Vec<Warning>,
    pub(super) processor: ProcessorOptions,
    pub(super) beside: MediaLists<'a, 'w>,
}

/// Media that are written beside the messages.
#[derive(Debug, Default)]
pub(super) struct MediaLists<'a, 'w> {
    pub(super) audios: Vec<&'w MediaTransfer<'a>>,
    pub(super) images: Vec<&'w MediaTransfer<'a>>,
    pub(super) videos: Vec<&'w MediaTransfer<'a>>,
}

/// Processing options of images and videos that apply to the whole request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProcessorOptions {
    pub(super) min_pixels: Option<i32>,
    pub(super) max_pixels: Option<i32>,
    pub(super) fps: Option<Real>,
    pub(super) max_frames: Option<i32>,
    pub(super) total_pixels: Option<i32>,
}

impl RequestWriter<'_, '_> {
    /// Adds a warning about a field that the dialect does not have.
    pub(super) fn ignore(&mut self, field: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning(field, self.dialect));
        }
    }
}
