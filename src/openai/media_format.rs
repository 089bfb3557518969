//! The formats of media, as the interface names them.

use crate::chat::media::{Medium, Source};
use crate::chat::sniffing;
use crate::dashscope::media_transfer::MediaTransfer;

/// The format of audio whose URL and MIME type say nothing, which the interface requires.
const USUAL_FORMAT: &str = "wav";

/// The MIME type of media that are sent inside the request.
pub(super) fn mime_type<'t>(transfer: &'t MediaTransfer<'_>) -> Option<&'t str> {
    match transfer {
        MediaTransfer::Inline(mime_type, _) => Some(mime_type),
        MediaTransfer::Data(uri, _, declared) => {
            let own = uri
                .get(5..)?
                .split_once(';')
                .map(|(mime_type, _)| mime_type);
            own.filter(|own| !own.is_empty()).or(Some(*declared))
        }
        MediaTransfer::Address(_) | MediaTransfer::Store(..) => None,
    }
}

/// The name of an audio format: that of the bytes, of the declared MIME type, or of the extension
/// of the URL.
pub(super) fn format_of(medium: Option<&Medium>, transfer: &MediaTransfer<'_>) -> String {
    let declared = medium.map_or("", |medium| &*medium.mime_type);
    let of_url = match medium.map(|medium| &medium.source) {
        Some(Source::Uri(uri)) => {
            let path = uri.split(['?', '#']).next().unwrap_or_default();
            sniffing::mime_type(&[], path, None)
        }
        Some(Source::Inline(_)) | None => None,
    };
    let mime_type = [mime_type(transfer), Some(declared), of_url]
        .into_iter()
        .flatten()
        .find(|mime_type| !sniffing::is_unspecific(mime_type));
    let Some((_, format)) = mime_type.and_then(|mime_type| mime_type.split_once('/')) else {
        return USUAL_FORMAT.to_owned();
    };
    let format = format.split(';').next().unwrap_or(format);
    match format.strip_prefix("x-").unwrap_or(format) {
        "wave" | "vnd.wave" | "pn-wav" => "wav",
        "mpeg" => "mp3",
        "mp4" => "m4a",
        format => format,
    }
    .to_owned()
}
