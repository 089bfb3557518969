//! Writes the content of messages: texts, and media in the form of the dialect.

use super::dialect::{AudioForm, FramesForm, VisionOptions};
use super::media_format::{format_of, mime_type};
use super::media_lists::{has_media, is_plain, media_count};
use super::writer::RequestWriter;
use crate::chat::media::{Audio, Image, Medium, Video, VideoSource};
use crate::chat::message::{Body, Part, Role, Turn};
use crate::dashscope::json::Number;
use crate::dashscope::json_writer::no_medium;
use crate::dashscope::media_transfer::{MediaTransfer, write_base64};
use crate::error::Error;

/// The MIME type of frames that vLLM accepts as one video.
const JPEG: &str = "image/jpeg";

impl<'a, 'w> RequestWriter<'a, 'w> {
    /// Writes the content of a message. Texts alone are one string, which every chat template
    /// accepts.
    pub(super) fn content(&mut self, at: usize, turn: &Turn) -> Result<(), Error> {
        let of_user = matches!(turn.role, Role::User);
        if of_user && self.dialect.media_beside_messages {
            return self.content_beside(at, turn);
        }
        let mut parts = turn.parts.iter();
        let is_text = match of_user {
            true => turn.parts.len() <= 1 && parts.all(is_plain),
            false => parts.all(|part| is_plain(part) || has_media(part)),
        };
        if is_text {
            return self.text_content(turn);
        }
        self.json.raw("[");
        let mut is_first = true;
        for (place, part) in turn.parts.iter().enumerate() {
            let is_answered = turn.role == Role::Assistant && has_media(part);
            if is_answered {
                self.skip_media(part);
                continue;
            }
            if !std::mem::take(&mut is_first) {
                self.json.raw(",");
            }
            self.part(
                part,
                &format!("conversation.messages[{at}].content[{place}]"),
            )?;
        }
        self.json.raw("]");
        Ok(())
    }

    /// Writes the texts of a message as one string. Media of an earlier answer are not sent again:
    /// no such server accepts them from the assistant.
    fn text_content(&mut self, turn: &Turn) -> Result<(), Error> {
        let texts = turn.parts.iter().map(|part| match &part.body {
            Body::Text(text) => text.as_str(),
            Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => "",
        });
        let mut texts = texts.filter(|text| !text.is_empty());
        match (texts.next(), texts.next()) {
            (None, _) => self.json.text(""),
            (Some(only), None) => self.json.text(only),
            (Some(first), Some(second)) => {
                let all: String = [first, second].into_iter().chain(texts).collect();
                self.json.text(&all);
            }
        }
        for part in &turn.parts {
            match turn.role {
                Role::Assistant => self.skip_media(part),
                Role::System | Role::User | Role::Tool if has_media(part) => {
                    let what = "media are accepted in messages of ROLE_USER only";
                    return Err(Error::field("conversation.messages", what));
                }
                Role::System | Role::User | Role::Tool => {}
            }
        }
        Ok(())
    }

    pub(super) fn part(&mut self, part: &Part, field: &str) -> Result<(), Error> {
        self.json.raw("{");
        match &part.body {
            Body::Text(text) => {
                self.json.field("type", Some("text"))?;
                self.json.key("text");
                self.json.text(text);
            }
            Body::Audio(audio) => self.audio(audio, field)?,
            Body::Image(image) => self.image(image, field)?,
            Body::Video(video) => self.video(video, field)?,
            Body::Other => {}
        }
        if let Some(kind) = &part.cache_control {
            if self.dialect.is_dashscope {
                self.json.key("cache_control");
                self.json.raw("{\"type\":");
                self.json.text(kind);
                self.json.raw("}");
            } else {
                self.ignore(format!("{field}.cache_control"));
            }
        }
        self.json.extra(&part.extra)?;
        self.json.raw("}");
        Ok(())
    }

    fn audio(&mut self, audio: &Audio, field: &str) -> Result<(), Error> {
        let transfer = self.next_medium(|| format!("{field}.audio"))?;
        if self.dialect.audio == AudioForm::Url {
            return self.url_part("audio_url", transfer);
        }
        let format = format_of(audio.medium.as_ref(), transfer);
        self.json.field("type", Some("input_audio"))?;
        self.json.key("input_audio");
        self.json.raw("{\"data\":");
        if let MediaTransfer::Address(address) = transfer {
            if self.dialect.audio == AudioForm::Bytes {
                let fix = format!(
                    "must be bytes: {} does not fetch audio from URLs",
                    self.dialect.interface()
                );
                return Err(Error::field(format!("{field}.audio.uri"), fix));
            }
            self.json.text(address);
        } else {
            self.json.raw("\"");
            if self.dialect.audio == AudioForm::Uri {
                self.json.raw("data:;base64,");
            }
            self.base64(transfer, || format!("{field}.audio.uri"))?;
            self.json.raw("\"");
        }
        self.json.field("format", Some(format))?;
        self.json.raw("}");
        Ok(())
    }

    fn image(&mut self, image: &Image, field: &str) -> Result<(), Error> {
        let transfer = self.next_medium(|| format!("{field}.image"))?;
        self.url_part("image_url", transfer)?;
        match self.dialect.vision_options {
            VisionOptions::OfPart => {
                self.json.field("min_pixels", image.min_pixels)?;
                self.json.field("max_pixels", image.max_pixels)?;
                self.json.field("enable_rotate", image.enable_rotate)?;
            }
            VisionOptions::OfRequest => {
                let field = format!("{field}.image");
                self.pixels(image.min_pixels, image.max_pixels, &field);
                self.ignored_if(image.enable_rotate.is_some(), &field, "enable_rotate");
            }
            VisionOptions::OfVideos | VisionOptions::None => {
                let field = format!("{field}.image");
                self.ignored_if(image.min_pixels.is_some(), &field, "min_pixels");
                self.ignored_if(image.max_pixels.is_some(), &field, "max_pixels");
                self.ignored_if(image.enable_rotate.is_some(), &field, "enable_rotate");
            }
        }
        Ok(())
    }

    fn video(&mut self, video: &Video, field: &str) -> Result<(), Error> {
        match &video.source {
            VideoSource::File(_) => {
                let transfer = self.next_medium(|| format!("{field}.video"))?;
                self.url_part("video_url", transfer)?;
            }
            VideoSource::Frames(frames) => self.frames(frames, field)?,
        }
        let field = format!("{field}.video");
        match self.dialect.vision_options {
            VisionOptions::OfPart => {
                self.json.field("fps", video.fps.map(Number))?;
                self.json.field("max_frames", video.max_frames)?;
                self.json.field("min_pixels", video.min_pixels)?;
                self.json.field("max_pixels", video.max_pixels)?;
                self.json.field("total_pixels", video.total_pixels)?;
                return Ok(());
            }
            VisionOptions::OfRequest => {
                self.pixels(video.min_pixels, video.max_pixels, &field);
                self.rate(video.fps, &field);
            }
            VisionOptions::OfVideos => {
                self.video_options(video, &field);
                return Ok(());
            }
            VisionOptions::None => {
                self.ignored_if(video.fps.is_some(), &field, "fps");
                self.ignored_if(video.min_pixels.is_some(), &field, "min_pixels");
                self.ignored_if(video.max_pixels.is_some(), &field, "max_pixels");
            }
        }
        self.ignored_if(video.max_frames.is_some(), &field, "max_frames");
        self.ignored_if(video.total_pixels.is_some(), &field, "total_pixels");
        Ok(())
    }

    fn frames(&mut self, frames: &[Medium], field: &str) -> Result<(), Error> {
        let path = |at: usize| format!("{field}.video.frames.frames[{at}]");
        match self.dialect.frames {
            FramesForm::List => {
                self.json.field("type", Some("video"))?;
                self.json.key("video");
                self.json.raw("[");
                for at in 0..frames.len() {
                    if at > 0 {
                        self.json.raw(",");
                    }
                    let transfer = self.next_medium(|| path(at))?;
                    self.json.transfer(transfer)?;
                }
                self.json.raw("]");
            }
            FramesForm::JpegUri => {
                self.json.field("type", Some("video_url"))?;
                self.json.key("video_url");
                self.json.raw("{\"url\":\"data:video/jpeg;base64,");
                for at in 0..frames.len() {
                    if at > 0 {
                        self.json.raw(",");
                    }
                    let transfer = self.next_medium(|| path(at))?;
                    if mime_type(transfer) != Some(JPEG) {
                        let fix = "must be the bytes of a JPEG image: the server of this model \
                                   accepts frames in no other form";
                        return Err(Error::field(path(at), fix));
                    }
                    self.base64(transfer, || path(at))?;
                }
                self.json.raw("\"}");
            }
            FramesForm::None => {
                let fix = format!(
                    "must be a video file: {} does not accept frames",
                    self.dialect.interface()
                );
                return Err(Error::field(format!("{field}.video.frames"), fix));
            }
        }
        Ok(())
    }

    /// Writes a part that has a URL, or a `data:` URI.
    fn url_part(&mut self, kind: &str, transfer: &MediaTransfer<'_>) -> Result<(), Error> {
        self.json.field("type", Some(kind))?;
        self.json.key(kind);
        self.json.raw("{\"url\":");
        self.json.transfer(transfer)?;
        self.json.raw("}");
        Ok(())
    }

    /// Writes the bytes of a medium as base64, inside a string.
    fn base64(
        &mut self,
        transfer: &MediaTransfer<'_>,
        field: impl Fn() -> String,
    ) -> Result<(), Error> {
        match transfer {
            MediaTransfer::Inline(_, bytes) => write_base64(bytes, &mut self.json.body),
            MediaTransfer::Data(uri, ..) => {
                let digits = uri
                    .split_once(";base64,")
                    .map(|(_, digits)| digits.trim_ascii());
                let is_digit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
                let digits = digits.filter(|digits| digits.bytes().all(is_digit));
                let digits = digits.ok_or_else(|| Error::field(field(), "must be valid base64"))?;
                self.json.raw(digits);
            }
            MediaTransfer::Address(_) | MediaTransfer::Store(..) => return Err(no_medium()),
        }
        Ok(())
    }

    /// The next medium, unless it is in DashScope's storage, which other servers cannot read.
    pub(super) fn next_medium(
        &mut self,
        field: impl Fn() -> String,
    ) -> Result<&'w MediaTransfer<'a>, Error> {
        let transfer = self.json.transfers.next().ok_or_else(no_medium)?;
        if transfer.is_stored() && !self.dialect.is_dashscope {
            let fix = "is in temporary storage that the server of this model cannot read: send the \
                       bytes, or a URL that it can fetch";
            return Err(Error::field(format!("{}.uri", field()), fix));
        }
        Ok(transfer)
    }

    pub(super) fn skip_media(&mut self, part: &Part) {
        for _ in 0..media_count(part) {
            self.json.transfers.next();
        }
    }

    pub(super) fn ignored_if(&mut self, is_ignored: bool, field: &str, option: &str) {
        if is_ignored {
            self.ignore(format!("{field}.{option}"));
        }
    }
}
