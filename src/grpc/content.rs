//! Converts the parts of a message to the data model: text, audio, images and video.

use std::fmt::Arguments;

use crate::chat::data_uri;
use crate::chat::document::{Document, Object, Real};
use crate::chat::media::{Audio, Image, Medium, Source, Video, VideoSource};
use crate::chat::message::{Body, Part};
use crate::chat::plain_url::split_host;
use crate::chat::sniffing::Modality;

use super::field_violations::FieldViolations;
use super::pb::{self, content, video};
use super::{media_type, struct_value};

/// Converts one part of a message; `None` if it is empty. The path is formatted only for errors.
/// With `answered`, it may be a part of an answer, which is sent back unchanged.
pub(super) fn part(
    path: Arguments<'_>,
    mut content: pb::Content,
    answered: bool,
    faults: &mut FieldViolations,
) -> Option<Part> {
    let mut extra = content
        .extra
        .take()
        .map(struct_value::object)
        .unwrap_or_default();
    if answered {
        content.kind = content.kind.and_then(|kind| untyped(kind, &mut extra));
        let taken = taken(&content, &[kind_key(content.kind.as_ref())]);
        faults.no_overlap(format_args!("{path}.extra"), &extra, &taken);
    } else if !extra.is_empty() {
        let path = format_args!("{path}.extra");
        match content.kind {
            Some(_) => faults.no_overlap(path, &extra, &taken(&content, &KINDS)),
            None => check_unknown(path, &extra, faults),
        }
        faults.numbers(path, &extra);
    }
    let body = match content.kind {
        Some(content::Kind::Text(text)) => Some(Body::Text(text)),
        Some(content::Kind::Audio(audio)) => {
            let path = format_args!("{path}.audio");
            let medium = medium(path, Modality::Audio, audio.mime_type, audio.source, faults);
            medium.map(|medium| {
                Body::Audio(Audio {
                    medium: Some(medium),
                    file: None,
                })
            })
        }
        Some(content::Kind::Image(image)) => {
            self::image(format_args!("{path}.image"), image, faults).map(Body::Image)
        }
        Some(content::Kind::Video(video)) => {
            self::video(format_args!("{path}.video"), video, faults).map(Body::Video)
        }
        // A kind that is not in the schema is sent unchanged.
        None if !extra.is_empty() => Some(Body::Other),
        None => {
            faults.add(
                path,
                "is empty; set one of text, audio, image or video, or extra",
            );
            None
        }
    };
    let cache_control = content.cache_control.map(|control| control.r#type);
    if cache_control.as_deref() == Some("") {
        faults.add(
            format_args!("{path}.cache_control.type"),
            "is empty; set it to ephemeral",
        );
    }
    Some(Part {
        body: body?,
        cache_control,
        extra,
    })
}

/// The keys of the kinds that have a typed field.
const KINDS: [&str; 4] = ["text", "audio", "image", "video"];

/// The key of a kind in DashScope's JSON; empty for one that is all in `extra`.
fn kind_key(kind: Option<&content::Kind>) -> &'static str {
    match kind {
        Some(content::Kind::Text(_)) => "text",
        Some(content::Kind::Audio(_)) => "audio",
        Some(content::Kind::Image(_)) => "image",
        Some(content::Kind::Video(_)) => "video",
        None => "",
    }
}

/// Moves a media item of an answer that is not valid in a request, because it has no URL or an
/// invalid one, to the unknown keys of its part. It is then sent back unchanged.
fn untyped(kind: content::Kind, extra: &mut Object) -> Option<content::Kind> {
    let (key, value) = match &kind {
        content::Kind::Audio(pb::Audio {
            source: Some(pb::audio::Source::Uri(uri)),
            ..
        }) if check_uri(uri, Modality::Audio).is_err() => ("audio", Document::String(uri.clone())),
        content::Kind::Audio(pb::Audio {
            source: None,
            file: Some(file),
            ..
        }) => ("audio", Document::Object(audio_file(file.clone()))),
        content::Kind::Image(pb::Image {
            source: Some(pb::image::Source::Uri(uri)),
            min_pixels: None,
            max_pixels: None,
            enable_rotate: None,
            ..
        }) if check_uri(uri, Modality::Image).is_err() => ("image", Document::String(uri.clone())),
        content::Kind::Text(_)
        | content::Kind::Audio(_)
        | content::Kind::Image(_)
        | content::Kind::Video(_) => return Some(kind),
    };
    extra.0.push((key.to_owned(), value));
    None
}

/// DashScope's JSON of a stored file.
fn audio_file(file: pb::AudioFile) -> Object {
    let mut object = file.extra.map(struct_value::object).unwrap_or_default();
    for (key, text) in [("url", file.uri), ("id", file.id)] {
        if !text.is_empty() {
            object.0.push((key.to_owned(), Document::String(text)));
        }
    }
    if let Some(time) = file.expires_at {
        let seconds = Document::Number(Real(time.seconds as f64));
        object.0.push(("expires_at".to_owned(), seconds));
    }
    object
}

/// Checks a part that is all in `extra`. Values with a typed field must not bypass its validation.
fn check_unknown(path: Arguments<'_>, extra: &Object, faults: &mut FieldViolations) {
    for key in KINDS {
        let is_plain = match extra.value(key) {
            Some(Document::String(_)) => true,
            Some(Document::List(items)) => {
                items.iter().any(|item| matches!(item, Document::String(_)))
            }
            _ => false,
        };
        if is_plain {
            faults.add(
                format_args!("{path}.{key}"),
                format!("has a typed field; set {key} instead"),
            );
        }
    }
}

/// The keys that the typed fields of a part become: those of its kind, and of the fields beside it.
fn taken(content: &pb::Content, kinds: &[&'static str]) -> Vec<&'static str> {
    let mut taken = kinds.to_vec();
    let hints: &[(&str, bool)] = match &content.kind {
        Some(content::Kind::Image(image)) => &[
            ("min_pixels", image.min_pixels.is_some()),
            ("max_pixels", image.max_pixels.is_some()),
            ("enable_rotate", image.enable_rotate.is_some()),
        ],
        Some(content::Kind::Video(video)) => &[
            ("fps", video.fps.is_some()),
            ("max_frames", video.max_frames.is_some()),
            ("min_pixels", video.min_pixels.is_some()),
            ("max_pixels", video.max_pixels.is_some()),
            ("total_pixels", video.total_pixels.is_some()),
        ],
        Some(content::Kind::Text(_) | content::Kind::Audio(_)) | None => &[],
    };
    let control = ("cache_control", content.cache_control.is_some());
    let set = hints.iter().chain([&control]).filter(|(_, set)| *set);
    taken.extend(set.map(|(key, _)| *key));
    taken
}

fn image(path: Arguments<'_>, image: pb::Image, faults: &mut FieldViolations) -> Option<Image> {
    Some(Image {
        medium: medium(path, Modality::Image, image.mime_type, image.source, faults)?,
        min_pixels: image.min_pixels,
        max_pixels: image.max_pixels,
        enable_rotate: image.enable_rotate,
    })
}

fn video(path: Arguments<'_>, video: pb::Video, faults: &mut FieldViolations) -> Option<Video> {
    let fps = faults.real(format_args!("{path}.fps"), video.fps);
    let file = match video.source {
        Some(video::Source::Frames(list)) => Err(list),
        Some(video::Source::Uri(uri)) => Ok(Some(SourceField::Uri(uri))),
        Some(video::Source::Data(data)) => Ok(Some(SourceField::Data(data))),
        None => Ok(None),
    };
    let source = match file {
        Err(list) => frames(path, list, faults),
        Ok(source) => {
            medium(path, Modality::Video, video.mime_type, source, faults).map(VideoSource::File)
        }
    };
    Some(Video {
        source: source?,
        fps,
        max_frames: video.max_frames,
        min_pixels: video.min_pixels,
        max_pixels: video.max_pixels,
        total_pixels: video.total_pixels,
    })
}

fn frames(
    path: Arguments<'_>,
    list: pb::VideoFrames,
    faults: &mut FieldViolations,
) -> Option<VideoSource> {
    if list.frames.is_empty() {
        faults.add(
            format_args!("{path}.frames"),
            "is empty; send at least one frame",
        );
    }
    let mut media = Vec::with_capacity(list.frames.len());
    for (k, frame) in list.frames.into_iter().enumerate() {
        let path = format_args!("{path}.frames.frames[{k}]");
        let hinted =
            frame.min_pixels.or(frame.max_pixels).is_some() || frame.enable_rotate.is_some();
        if hinted {
            faults.add(
                path,
                "a frame has no hints of its own; set them on the video",
            );
        }
        media.extend(medium(
            path,
            Modality::Image,
            frame.mime_type,
            frame.source,
            faults,
        ));
    }
    Some(VideoSource::Frames(media))
}

/// The `source` field of a media message.
enum SourceField {
    Uri(String),
    Data(bytes::Bytes),
}

impl From<pb::audio::Source> for SourceField {
    fn from(source: pb::audio::Source) -> Self {
        match source {
            pb::audio::Source::Uri(uri) => Self::Uri(uri),
            pb::audio::Source::Data(data) => Self::Data(data),
        }
    }
}

impl From<pb::image::Source> for SourceField {
    fn from(source: pb::image::Source) -> Self {
        match source {
            pb::image::Source::Uri(uri) => Self::Uri(uri),
            pb::image::Source::Data(data) => Self::Data(data),
        }
    }
}

fn medium(
    path: Arguments<'_>,
    part: Modality,
    mime_type: String,
    source: Option<impl Into<SourceField>>,
    faults: &mut FieldViolations,
) -> Option<Medium> {
    if let Err(description) = media_type::check(&mime_type, part) {
        faults.add(format_args!("{path}.mime_type"), description);
    }
    let source = match source.map(Into::into) {
        Some(SourceField::Uri(uri)) => {
            if let Err(description) = check_uri(&uri, part) {
                faults.add(format_args!("{path}.uri"), description);
            }
            Source::Uri(uri)
        }
        Some(SourceField::Data(data)) => {
            if data.is_empty() {
                faults.add(
                    format_args!("{path}.data"),
                    "is empty; send the bytes of the file",
                );
            }
            Source::Inline(data)
        }
        None => {
            faults.add(path, "has no source; set uri or data");
            return None;
        }
    };
    Some(Medium { mime_type, source })
}

/// Whether a URL needs no complete check: a host that can be read in one way only, and visible
/// ASCII characters after it.
fn is_plain(uri: &str) -> bool {
    let Some((_, rest)) = split_host(uri) else {
        return false;
    };
    // Without an early exit, so that it compiles to a few comparisons of many bytes each.
    rest.bytes()
        .fold(true, |all, byte| all & byte.is_ascii_graphic())
}

/// Checks that DashScope can fetch it. A file path is never accepted, not even one that exists.
fn check_uri(uri: &str, part: Modality) -> Result<(), &'static str> {
    const WANTED: &str = "must be an https:, http:, oss: or data: URI; a path is never opened: \
                          send the file as data, or with MediaService.UploadMedia";
    if data_uri::has_scheme(uri) {
        return match data_uri::parse(uri).map(|data| data.mime_type) {
            Some(mime_type) if mime_type.contains('/') && !media_type::suits(mime_type, part) => {
                Err(media_type::of_another_kind(part))
            }
            Some(_) => Ok(()),
            None => Err("must be data:MIME;base64,TEXT"),
        };
    }
    let colon = uri.bytes().position(|b| b == b':');
    let scheme = colon.and_then(|colon| uri.get(..colon)).unwrap_or_default();
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    if !["https", "http", "oss"].into_iter().any(is) {
        return Err(WANTED);
    }
    if is_plain(uri) {
        return Ok(());
    }
    match url::Url::parse(uri) {
        Ok(url) if url.has_host() && !uri.chars().any(char::is_control) => Ok(()),
        _ => Err("must be an absolute URL; check its host and characters"),
    }
}
