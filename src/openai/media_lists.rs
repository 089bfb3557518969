//! Media beside the messages, as SGLang-Omni has them: lists of the request, in order.

use super::writer::{MediaLists, RequestWriter};
use crate::chat::document::Real;
use crate::chat::media::{Video, VideoSource};
use crate::chat::message::{Body, Part, Turn};
use crate::error::Error;

impl RequestWriter<'_, '_> {
    /// Writes the texts of a user's message, and keeps its media for the lists.
    pub(super) fn content_beside(&mut self, at: usize, turn: &Turn) -> Result<(), Error> {
        let path = |place: usize| format!("conversation.messages[{at}].content[{place}]");
        let parts = turn.parts.iter().enumerate();
        let (media, texts): (Vec<_>, Vec<_>) = parts.partition(|(_, part)| has_media(part));
        for (place, part) in media {
            self.put_beside(part, &path(place))?;
        }
        match texts.as_slice() {
            [] => self.json.text(""),
            [(_, part)] if is_plain(part) => match &part.body {
                Body::Text(text) => self.json.text(text),
                Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => {}
            },
            texts => {
                self.json.raw("[");
                for (number, (place, part)) in texts.iter().enumerate() {
                    if number > 0 {
                        self.json.raw(",");
                    }
                    self.part(part, &path(*place))?;
                }
                self.json.raw("]");
            }
        }
        Ok(())
    }

    /// Keeps the media of a part for the lists, which have nothing but URLs.
    fn put_beside(&mut self, part: &Part, field: &str) -> Result<(), Error> {
        let kind = match &part.body {
            Body::Audio(_) => "audio",
            Body::Image(_) => "image",
            Body::Video(_) => "video",
            Body::Text(_) | Body::Other => "",
        };
        let mut media = Vec::with_capacity(1);
        for _ in 0..media_count(part) {
            media.push(self.next_medium(|| format!("{field}.{kind}"))?);
        }
        match &part.body {
            Body::Audio(_) => self.beside.audios.extend(media),
            Body::Image(image) => {
                self.beside.images.extend(media);
                let field = format!("{field}.image");
                self.ignored_if(image.min_pixels.is_some(), &field, "min_pixels");
                self.ignored_if(image.max_pixels.is_some(), &field, "max_pixels");
                self.ignored_if(image.enable_rotate.is_some(), &field, "enable_rotate");
            }
            Body::Video(video) => {
                let field = format!("{field}.video");
                if let VideoSource::Frames(_) = video.source {
                    let fix = "must be a video file: the server of this model does not accept \
                               frames";
                    return Err(Error::field(format!("{field}.frames"), fix));
                }
                self.beside.videos.extend(media);
                self.video_options(video, &field);
            }
            Body::Text(_) | Body::Other => {}
        }
        self.ignored_if(part.cache_control.is_some(), field, "cache_control");
        self.ignored_if(!part.extra.is_empty(), field, "extra");
        Ok(())
    }

    /// Records the options of a video for the request, which has one of each.
    pub(super) fn video_options(&mut self, video: &Video, field: &str) {
        self.pixels(video.min_pixels, video.max_pixels, field);
        self.rate(video.fps, field);
        let known = self.processor;
        let (frames, total) = (video.max_frames, video.total_pixels);
        self.ignored_if(differ(known.max_frames, frames), field, "max_frames");
        self.ignored_if(differ(known.total_pixels, total), field, "total_pixels");
        self.processor.max_frames = known.max_frames.or(frames);
        self.processor.total_pixels = known.total_pixels.or(total);
    }

    /// Records the frame rate of a video for the request.
    pub(super) fn rate(&mut self, fps: Option<Real>, field: &str) {
        let known = self.processor.fps;
        self.ignored_if(differ(known, fps), field, "fps");
        self.processor.fps = known.or(fps);
    }

    /// Records the size limits of an image or video for the request.
    pub(super) fn pixels(&mut self, min: Option<i32>, max: Option<i32>, field: &str) {
        let known = self.processor;
        self.ignored_if(differ(known.min_pixels, min), field, "min_pixels");
        self.ignored_if(differ(known.max_pixels, max), field, "max_pixels");
        self.processor.min_pixels = known.min_pixels.or(min);
        self.processor.max_pixels = known.max_pixels.or(max);
    }

    /// Writes the media that were kept for the end.
    pub(super) fn media_lists(&mut self) -> Result<(), Error> {
        let MediaLists {
            audios,
            images,
            videos,
        } = std::mem::take(&mut self.beside);
        for (key, list) in [("audios", audios), ("images", images), ("videos", videos)] {
            if !list.is_empty() {
                self.json.key(key);
                self.json
                    .list(&list, |json, transfer| json.transfer(transfer))?;
            }
        }
        Ok(())
    }
}

/// Whether an option has another value already.
fn differ<T: PartialEq>(known: Option<T>, new: Option<T>) -> bool {
    new.is_some() && known.is_some() && known != new
}

/// Whether a part is a text and nothing else.
pub(super) fn is_plain(part: &Part) -> bool {
    let is_text = matches!(part.body, Body::Text(_));
    is_text && part.cache_control.is_none() && part.extra.is_empty()
}

/// Whether a part is a medium.
pub(super) fn has_media(part: &Part) -> bool {
    matches!(part.body, Body::Audio(_) | Body::Image(_) | Body::Video(_))
}

/// The number of media of a part, as `media_transfer::transfers` counts them.
pub(super) fn media_count(part: &Part) -> usize {
    match &part.body {
        Body::Video(Video {
            source: VideoSource::Frames(frames),
            ..
        }) => frames.len(),
        Body::Audio(_) | Body::Image(_) | Body::Video(_) => 1,
        Body::Text(_) | Body::Other => 0,
    }
}
