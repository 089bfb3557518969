//! Decides how each media item of a call is sent: by URL, inline, or through temporary storage.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::upload_policy::ANY_TYPE;
use crate::chat::data_uri;
use crate::chat::media::{Medium, Source, VideoSource};
use crate::chat::message::{Body, Turn};
use crate::chat::sniffing::{self, HEAD_BYTES, Modality};
use crate::chat::upload::Upload;
use crate::error::Error;

/// The maximum length of a MIME type: RFC 6838 allows 127 characters for each half.
const MAX_MIME_TYPE: usize = 255;

/// How a media item is sent to DashScope.
#[derive(Debug)]
pub(crate) enum MediaTransfer<'a> {
    /// A URL that DashScope reads itself.
    Address(Cow<'a, str>),
    /// A `data:` URI of the caller, the modality of its part, and the declared MIME type.
    Data(&'a str, Modality, &'a str),
    /// A MIME type and bytes, written as a `data:` URI.
    Inline(Cow<'a, str>, Bytes),
    /// A MIME type and bytes, uploaded first.
    Store(Cow<'a, str>, Bytes),
}

impl<'a> MediaTransfer<'a> {
    /// Whether it is a URL of DashScope's temporary storage.
    pub(crate) fn is_stored(&self) -> bool {
        match self {
            Self::Address(address) => address
                .get(..4)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("oss:")),
            Self::Data(..) | Self::Inline(..) | Self::Store(..) => false,
        }
    }

    /// Its length within the body; `None` if it is not sent inline.
    fn inline_len(&self) -> Option<usize> {
        match self {
            Self::Data(..) | Self::Inline(..) => Some(self.len()),
            Self::Address(_) | Self::Store(..) => None,
        }
    }

    /// The same item through temporary storage instead of inline, if possible.
    fn stored(&self) -> Option<MediaTransfer<'a>> {
        match self {
            Self::Data(uri, part, declared) => {
                let (mime_type, bytes) = open_data_uri(uri, *part, declared)?;
                Some(Self::Store(Cow::Owned(mime_type), bytes))
            }
            Self::Inline(mime_type, bytes) => Some(Self::Store(mime_type.clone(), bytes.clone())),
            Self::Address(_) | Self::Store(..) => None,
        }
    }

    /// Its length in the body, in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Address(address) => address.len(),
            Self::Data(uri, ..) => uri.len(),
            Self::Inline(mime_type, bytes) => data_uri_len(mime_type, bytes.len()),
            Self::Store(..) => 0,
        }
    }
}

/// Moves the largest inline items to temporary storage until the body is `excess` bytes smaller or
/// none is left. Returns the previous values by position.
pub(crate) fn store_largest<'a>(
    transfers: &mut [MediaTransfer<'a>],
    excess: usize,
) -> Vec<(usize, MediaTransfer<'a>)> {
    let mut replaced = Vec::new();
    if excess == 0 {
        return replaced;
    }
    let inside = transfers.iter().enumerate();
    let inside = inside.filter_map(|(place, transfer)| Some((transfer.inline_len()?, place)));
    let mut inside: Vec<_> = inside.collect();
    inside.sort_unstable_by(|a, b| b.cmp(a));
    let mut saved = 0;
    for (length, place) in inside {
        if saved >= excess {
            break;
        }
        if let Some(transfer) = transfers.get_mut(place)
            && let Some(stored) = transfer.stored()
        {
            saved += length;
            replaced.push((place, std::mem::replace(transfer, stored)));
        }
    }
    replaced
}

/// Decides for all media items, in the order of the body.
pub(crate) fn transfers(
    turns: &[Turn],
    inline_limit: usize,
) -> Result<Vec<MediaTransfer<'_>>, Error> {
    let mut transfers = Vec::new();
    for (i, turn) in turns.iter().enumerate() {
        for (j, part) in turn.parts.iter().enumerate() {
            let at = |rest: &str| format!("conversation.messages[{i}].content[{j}].{rest}");
            match &part.body {
                Body::Audio(audio) => match (&audio.medium, &audio.file) {
                    (Some(medium), _) => {
                        transfers.push(transfer(medium, Modality::Audio, inline_limit, || {
                            at("audio")
                        })?);
                    }
                    (None, Some(file)) => {
                        transfers.push(MediaTransfer::Address(Cow::Borrowed(&file.uri)))
                    }
                    (None, None) => {
                        return Err(Error::field(at("audio.source"), "must be set"));
                    }
                },
                Body::Image(image) => {
                    transfers.push(transfer(
                        &image.medium,
                        Modality::Image,
                        inline_limit,
                        || at("image"),
                    )?);
                }
                Body::Video(video) => match &video.source {
                    VideoSource::File(medium) => {
                        transfers.push(transfer(medium, Modality::Video, inline_limit, || {
                            at("video")
                        })?);
                    }
                    VideoSource::Frames(frames) => {
                        for (k, frame) in frames.iter().enumerate() {
                            let path = || at(&format!("video.frames.frames[{k}]"));
                            transfers.push(transfer(frame, Modality::Image, inline_limit, path)?);
                        }
                    }
                },
                Body::Text(_) | Body::Other => {}
            }
        }
    }
    Ok(transfers)
}

fn transfer(
    medium: &Medium,
    part: Modality,
    inline_limit: usize,
    path: impl Fn() -> String,
) -> Result<MediaTransfer<'_>, Error> {
    match &medium.source {
        Source::Uri(uri) if data_uri::has_scheme(uri) => {
            if let Some(found) = sniffing::contradiction(&head_of_data_uri(uri), part) {
                let field = format!("{}.uri", path());
                return Err(Error::field(field, of_another_kind(found, part)));
            }
            let transfer = MediaTransfer::Data(uri, part, &medium.mime_type);
            if is_untyped(uri)
                && let Some((mime_type, bytes)) = open_data_uri(uri, part, &medium.mime_type)
                && mime_type != ANY_TYPE
                && data_uri_len(&mime_type, bytes.len()) <= inline_limit
            {
                // DashScope decodes by the MIME type, so the type of the bytes is sent.
                return Ok(MediaTransfer::Inline(Cow::Owned(mime_type), bytes));
            }
            match uri.len() > inline_limit {
                true => transfer
                    .stored()
                    .ok_or_else(|| Error::field(format!("{}.uri", path()), "must be valid base64")),
                false => Ok(transfer),
            }
        }
        Source::Uri(uri) => Ok(MediaTransfer::Address(Cow::Borrowed(uri))),
        Source::Inline(bytes) if bytes.is_empty() => Err(Error::field(
            format!("{}.data", path()),
            "must not be empty",
        )),
        Source::Inline(bytes) => {
            if let Some(found) = sniffing::contradiction(bytes, part) {
                let field = format!("{}.data", path());
                return Err(Error::field(field, of_another_kind(found, part)));
            }
            let mime_type = match &*medium.mime_type {
                declared if sniffing::is_unspecific(declared) => {
                    let found = sniffing::mime_type(bytes, "", Some(part));
                    Cow::Borrowed(found.ok_or_else(|| {
                        Error::field(
                            format!("{}.mime_type", path()),
                            "must be set: the format of the bytes is not recognised",
                        )
                    })?)
                }
                declared if is_mime_type(declared) => Cow::Borrowed(declared),
                _ => {
                    return Err(Error::field(
                        format!("{}.mime_type", path()),
                        "must be a MIME type, as in `audio/wav`",
                    ));
                }
            };
            if data_uri_len(&mime_type, bytes.len()) <= inline_limit {
                Ok(MediaTransfer::Inline(mime_type, bytes.clone()))
            } else {
                Ok(MediaTransfer::Store(mime_type, bytes.clone()))
            }
        }
    }
}

/// The type of an upload that begins with these bytes.
pub(crate) fn type_of_upload<'a>(upload: &'a Upload, head: &[u8]) -> Result<&'a str, Error> {
    let wrong = |what: String| Err(Error::field("description.mime_type", what));
    let declared = &*upload.mime_type;
    if let Some(part) = Modality::of(declared)
        && let Some(found) = sniffing::contradiction(head, part)
    {
        return wrong(match sniffing::is_no_medium(found) {
            true => not_decoded(found),
            false => format!("is {declared}, but the bytes are {found}"),
        });
    }
    let is_given = !sniffing::is_unspecific(declared);
    if is_given && !is_mime_type(declared) {
        return wrong("must be a MIME type".to_owned());
    }
    // The clients declare what they detect, which may be no medium.
    if is_given && !sniffing::is_no_medium(declared) {
        return Ok(declared);
    }
    match sniffing::contradiction_of_name(head, &upload.name) {
        Some((found, Some(part))) => {
            let what = format!("names {}, but the bytes are {found}", part.name());
            Err(Error::field("description.name", what))
        }
        Some((found, None)) if !is_given => wrong(not_decoded(found)),
        Some(_) | None if is_given => Ok(declared),
        Some(_) | None => Ok(sniffing::mime_type(head, &upload.name, None).unwrap_or(ANY_TYPE)),
    }
}

fn not_decoded(found: &str) -> String {
    format!("the bytes are {found}, which no model decodes")
}

fn of_another_kind(found: &str, part: Modality) -> String {
    let name = part.name();
    format!("has {found}, which DashScope does not accept as {name}")
}

/// Whether a text is a valid MIME type, which needs no escaping in a URI or JSON.
pub(crate) fn is_mime_type(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-/;=".contains(&b);
    text.len() <= MAX_MIME_TYPE && text.contains('/') && text.bytes().all(fits)
}

/// The length of a `data:` URI.
fn data_uri_len(mime_type: &str, bytes: usize) -> usize {
    "data:;base64,".len() + mime_type.len() + bytes.div_ceil(3).saturating_mul(4)
}

/// Appends a `data:` URI. The bytes are encoded directly into the body: base64 needs no escaping in
/// JSON.
pub(crate) fn write_data_uri(mime_type: &str, bytes: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(b"data:");
    body.extend_from_slice(mime_type.as_bytes());
    body.extend_from_slice(b";base64,");
    write_base64(bytes, body);
}

/// Appends bytes as base64.
pub(crate) fn write_base64(bytes: &[u8], body: &mut Vec<u8>) {
    // Encoded in place, without zeroing the buffer first. SIMD makes it three times as fast as the
    // `base64` crate, which decodes DashScope's responses.
    base64_simd::STANDARD.encode_append(bytes, body);
}

/// Whether a `data:` URI declares no specific type.
fn is_untyped(uri: &str) -> bool {
    let data = data_uri::parse(uri);
    data.is_some_and(|data| sniffing::is_unspecific(data.mime_type))
}

/// The first bytes of a `data:` URI, enough for sniffing; empty if it cannot be decoded.
fn head_of_data_uri(uri: &str) -> Vec<u8> {
    const DIGITS: usize = HEAD_BYTES.div_ceil(3) * 4;
    let digits = data_uri::parse(uri).map_or("", |data| data.encoded);
    let head = digits.as_bytes();
    let head = head.get(..DIGITS).unwrap_or(head);
    STANDARD.decode(head).unwrap_or_default()
}

/// The type and the bytes of a `data:` URI. If the URI declares no type, the declared MIME type of
/// the part applies, then the sniffed one: DashScope derives formats from the name of a stored
/// file.
fn open_data_uri(uri: &str, part: Modality, declared: &str) -> Option<(String, Bytes)> {
    let data = data_uri::parse(uri)?;
    let bytes = STANDARD.decode(data.encoded).ok()?;
    let mut named = [data.mime_type, declared].into_iter();
    let named = named.find(|named| is_mime_type(named) && !sniffing::is_unspecific(named));
    let mime_type = named.or_else(|| sniffing::mime_type(&bytes, "", Some(part)));
    let mime_type = mime_type.unwrap_or(ANY_TYPE).to_owned();
    Some((mime_type, Bytes::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAV: &[u8] = b"RIFF\x24\0\0\0WAVEfmt ";

    fn uri(head: &str) -> String {
        format!("data:{head};base64,{}", STANDARD.encode(WAV))
    }

    #[test]
    fn the_type_of_a_data_uri_is_declared_or_detected() {
        for (head, declared, expected) in [
            ("", "", "audio/wav"),
            ("", "audio/x-own", "audio/x-own"),
            ("audio/own", "", "audio/own"),
            ("not a type", "", "audio/wav"),
            ("application/octet-stream", "", "audio/wav"),
            ("", "application/octet-stream", "audio/wav"),
        ] {
            let (mime_type, bytes) = open_data_uri(&uri(head), Modality::Audio, declared).unwrap();
            assert_eq!((&*mime_type, &*bytes), (expected, WAV), "{head} {declared}");
        }
        let (mime_type, _) = open_data_uri("data:;base64,AAAA", Modality::Audio, "").unwrap();
        assert_eq!(mime_type, ANY_TYPE);
        assert!(open_data_uri("data:;base64,!", Modality::Audio, "").is_none());
    }

    #[test]
    fn the_largest_media_are_uploaded_first() {
        let text = uri("");
        let inline = |size: usize| MediaTransfer::Inline("audio/wav".into(), vec![0; size].into());
        let transfers = || {
            vec![
                inline(300),
                MediaTransfer::Address("https://x.test/a".into()),
                inline(3000),
                MediaTransfer::Data(&text, Modality::Audio, ""),
                inline(900),
            ]
        };
        let places = |excess| {
            let mut transfers = transfers();
            let replaced = store_largest(&mut transfers, excess);
            let places: Vec<_> = replaced.iter().map(|(place, _)| *place).collect();
            assert!(
                places
                    .iter()
                    .all(|place| matches!(transfers[*place], MediaTransfer::Store(..)))
            );
            places
        };
        assert!(places(0).is_empty());
        assert_eq!(places(1), [2]);
        assert_eq!(places(4100), [2, 4]);
        assert_eq!(places(usize::MAX), [2, 4, 0, 3]);
    }
}
