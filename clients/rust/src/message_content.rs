//! The content of messages in the forms of OpenAI and DashScope.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::content::of;
use crate::error::Error;
use crate::media::SCHEMES;
use crate::message_fields::{Fields, invalid, list};
use crate::sniff;
use crate::v1::content::Kind;
use crate::v1::{Audio, Content, Image, Video, VideoFrames, audio, image, video};

/// A medium, before it is known what it is.
enum Medium {
    Uri(String),
    Bytes { bytes: Bytes, mime_type: String },
}

const UNKNOWN: &str = "not text, image_url, input_audio, video_url or video";

/// Returns a text part.
pub(crate) fn text(text: &str) -> Content {
    of(Kind::Text(text.to_owned()))
}

/// Converts a part.
pub(crate) fn content(value: &Value, place: &str) -> Result<Content, Error> {
    let mut fields = Fields::of(value, place)?;
    let kind = match fields.text("type")? {
        Some(kind) if ["audio", "image"].contains(&kind.as_str()) => {
            return Err(invalid(&fields.place("type"), UNKNOWN));
        }
        Some(kind) => kind,
        // DashScope's parts have no type.
        None => {
            let names = ["text", "audio", "image", "video"];
            let Some(name) = names.into_iter().find(|name| fields.has(name)) else {
                return Err(invalid(place, "no text, audio, image or video"));
            };
            name.to_owned()
        }
    };
    let kind = match kind.as_str() {
        "text" => Kind::Text(
            fields
                .text("text")?
                .ok_or_else(|| invalid(&fields.place("text"), "missing"))?,
        ),
        "image_url" => Kind::Image(as_image(url(&mut fields, "image_url", "image")?)),
        "video_url" => Kind::Video(as_video(url(&mut fields, "video_url", "video")?)),
        "input_audio" => Kind::Audio(input_audio(&mut fields)?),
        "audio" => Kind::Audio(as_audio(direct(&mut fields, "audio", "audio")?)),
        "image" => Kind::Image(as_image(direct(&mut fields, "image", "image")?)),
        "video" => Kind::Video(frames_or_video(&mut fields)?),
        _ => return Err(invalid(&fields.place("type"), UNKNOWN)),
    };
    fields.end()?;
    Ok(of(kind))
}

/// `{"image_url": {"url": ...}}`
fn url(fields: &mut Fields<'_>, name: &'static str, kind: &str) -> Result<Medium, Error> {
    let mut inner = fields.object(name)?;
    let medium = direct(&mut inner, "url", kind)?;
    if name == "image_url" {
        // DashScope has no choice of the detail.
        inner.take("detail");
    }
    inner.end()?;
    Ok(medium)
}

/// `{"image": ...}`
fn direct(fields: &mut Fields<'_>, name: &'static str, kind: &str) -> Result<Medium, Error> {
    let place = fields.place(name);
    let uri = fields
        .text(name)?
        .ok_or_else(|| invalid(&place, "missing"))?;
    medium(&uri, &place, kind, "")
}

fn input_audio(fields: &mut Fields<'_>) -> Result<Audio, Error> {
    let mut inner = fields.object("input_audio")?;
    let place = inner.place("data");
    let data = inner
        .text("data")?
        .ok_or_else(|| invalid(&place, "missing"))?;
    let name = format!(".{}", inner.text("format")?.unwrap_or_default());
    inner.end()?;
    if is_uri(&data) {
        return Ok(as_audio(medium(&data, &place, "audio", &name)?));
    }
    let bytes = base64(&data, &place)?;
    Ok(as_audio(Medium::Bytes {
        mime_type: type_of(&bytes, "audio", &name),
        bytes,
    }))
}

/// The type of bytes without one: that of the extension, else what the bytes look like.
fn type_of(bytes: &[u8], kind: &str, name: &str) -> String {
    match sniff::mime_type(&[], name, kind) {
        "" => sniff::mime_type(bytes, "", kind).to_owned(),
        known => known.to_owned(),
    }
}

fn frames_or_video(fields: &mut Fields<'_>) -> Result<Video, Error> {
    let place = fields.place("video");
    let value = fields
        .take("video")
        .ok_or_else(|| invalid(&place, "missing"))?;
    if let Some(uri) = value.as_str() {
        return Ok(as_video(medium(uri, &place, "video", "")?));
    }
    let uris = list(value, &place)?;
    if uris.is_empty() {
        return Err(invalid(&place, "no images"));
    }
    let mut frames = Vec::new();
    for (at, frame) in uris.iter().enumerate() {
        let place = format!("{place}[{at}]");
        let uri = frame
            .as_str()
            .ok_or_else(|| invalid(&place, "not a text"))?;
        frames.push(as_image(medium(uri, &place, "image", "")?));
    }
    Ok(Video {
        source: Some(video::Source::Frames(VideoFrames { frames })),
        ..Video::default()
    })
}

/// Whether a text is a URI that the gateway accepts, with its scheme in any case.
fn is_uri(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| after(text, scheme).is_some())
}

/// What follows a prefix in any case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What precedes a suffix in any case.
fn before<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    let (rest, end) = text.split_at_checked(at)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

/// Reads a URI. Without a type of its own, data have that of the name.
fn medium(uri: &str, place: &str, medium: &str, name: &str) -> Result<Medium, Error> {
    if !is_uri(uri) {
        let problem = "not a URI with http:, https:, oss: or data:";
        return Err(invalid(place, problem));
    }
    let Some(data) = after(uri, "data:") else {
        return Ok(Medium::Uri(uri.to_owned()));
    };
    let (kind, data) = data
        .split_once(',')
        .ok_or_else(|| invalid(place, "a data: URI without a comma"))?;
    let (mime_type, bytes) = match before(kind, ";base64") {
        Some(mime_type) => (mime_type, base64(data, place)?),
        None => (kind, unescaped(data, place)?),
    };
    if bytes.is_empty() {
        return Err(invalid(place, "no data"));
    }
    let mime_type = match mime_type {
        // Without a type, there may be parameters.
        absent if absent.is_empty() || absent.starts_with(';') => type_of(&bytes, medium, name),
        given => given.to_owned(),
    };
    Ok(Medium::Bytes { bytes, mime_type })
}

/// Decodes the escapes of a URI.
fn unescaped(text: &str, place: &str) -> Result<Bytes, Error> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(invalid(place, "a data: URI with % without two digits"));
    }
    Ok(percent_decode_str(text).collect::<Vec<u8>>().into())
}

/// Decodes base64 with or without its padding.
fn base64(text: &str, place: &str) -> Result<Bytes, Error> {
    let padding = match text.ends_with('=') {
        true => DecodePaddingMode::RequireCanonical,
        false => DecodePaddingMode::RequireNone,
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(padding)
        .with_decode_allow_trailing_bits(true);
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(text);
    let bytes = bytes.map_err(|_| invalid(place, "not base64"))?;
    match bytes.is_empty() {
        true => Err(invalid(place, "no data")),
        false => Ok(bytes.into()),
    }
}

fn as_audio(medium: Medium) -> Audio {
    let (source, mime_type) = match medium {
        Medium::Uri(uri) => (audio::Source::Uri(uri), String::new()),
        Medium::Bytes { bytes, mime_type } => (audio::Source::Data(bytes), mime_type),
    };
    Audio {
        mime_type,
        source: Some(source),
        file: None,
    }
}

fn as_image(medium: Medium) -> Image {
    let (source, mime_type) = match medium {
        Medium::Uri(uri) => (image::Source::Uri(uri), String::new()),
        Medium::Bytes { bytes, mime_type } => (image::Source::Data(bytes), mime_type),
    };
    Image {
        mime_type,
        source: Some(source),
        ..Image::default()
    }
}

fn as_video(medium: Medium) -> Video {
    let (source, mime_type) = match medium {
        Medium::Uri(uri) => (video::Source::Uri(uri), String::new()),
        Medium::Bytes { bytes, mime_type } => (video::Source::Data(bytes), mime_type),
    };
    Video {
        mime_type,
        source: Some(source),
        ..Video::default()
    }
}
