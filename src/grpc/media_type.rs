//! The MIME types of media in a request.

use crate::chat::sniffing::{self, Modality};

/// The maximum length of a refused MIME type in an error, above that of any real one.
const MAX_SHOWN: usize = 80;

/// Checks the MIME type of a part, which may be empty.
pub(super) fn check(mime_type: &str, part: Modality) -> Result<(), String> {
    if !mime_type.is_empty() && !is_mime_type(mime_type) {
        return Err("must be a MIME type, for example audio/wav".to_owned());
    }
    if suits(mime_type, part) {
        return Ok(());
    }
    let is_media_type = Modality::of(mime_type).is_some();
    if is_media_type && sniffing::is_no_medium(mime_type) {
        return Err(format!("is {mime_type}, which no model decodes"));
    }
    // The start is enough to recognise it.
    let shown: String = mime_type.chars().take(MAX_SHOWN).collect();
    Err(format!("{}; this is {shown}", of_another_kind(part)))
}

fn is_mime_type(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b'"' | b'\\');
    text.split_once('/')
        .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
        && text.bytes().all(fits)
}

/// Whether a MIME type fits the part, or is unspecific.
pub(super) fn suits(mime_type: &str, part: Modality) -> bool {
    sniffing::is_unspecific(mime_type) || sniffing::fits(mime_type, part)
}

/// The error of a type that does not suit the part.
pub(super) fn of_another_kind(part: Modality) -> &'static str {
    match part {
        Modality::Audio => {
            "is a type of another kind: an audio part takes audio/..., or video/... with an \
             audio track; without a type the bytes are recognised"
        }
        Modality::Image => {
            "is a type of another kind: an image takes image/...; without a type the bytes are \
             recognised"
        }
        Modality::Video => {
            "is a type of another kind: a video takes video/...; without a type the bytes are \
             recognised"
        }
    }
}
