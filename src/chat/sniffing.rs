//! Detects the type of a media item, by its first bytes, then by the extension of its name.
//!
//! The gateway, the emulator, the command line and the clients use the same table, which is
//! `tests/conformance/sniffing.json`; a test compares this copy and runs its samples.

use std::sync::LazyLock;

use crate::hex;

/// The number of bytes needed for detection: no rule reads more.
pub const HEAD_BYTES: usize = 400;

/// The modality of a content part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modality {
    /// Audio.
    Audio,
    /// An image.
    Image,
    /// A video.
    Video,
}

impl Modality {
    /// The top-level MIME type, which is also the name of the field in a message.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Image => "image",
            Self::Video => "video",
        }
    }

    /// The modality of a MIME type.
    #[must_use]
    pub fn of(mime_type: &str) -> Option<Self> {
        let all = [Self::Audio, Self::Image, Self::Video];
        all.into_iter().find(|one| one.is_of(mime_type))
    }

    fn is_of(self, mime_type: &str) -> bool {
        let kind = mime_type.split_once('/').map(|(kind, _)| kind);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case(self.name()))
    }
}

/// Types that are detected only for errors; no model decodes them.
const NOT_DECODED: [&str; 2] = ["audio/silk", "image/svg+xml"];

/// Types that do not state the modality: generic defaults of senders, and containers of any kind.
const UNSPECIFIC: [&str; 4] = [
    "application/octet-stream",
    "binary/octet-stream",
    "application/ogg",
    "application/mp4",
];

/// Formats without a signature at the beginning, or in which it may come late.
const UNSIGNED: [&str; 6] = [
    "audio/pcm",
    "audio/mpeg",
    "audio/aac",
    "audio/opus",
    "video/mp2t",
    "video/mpeg",
];

/// Conditions on bytes, and the type that they imply: one, or two for containers. An empty type
/// means that the bytes are ambiguous.
const RULES: [(&str, &str); 75] = [
    ("0:52494646 8:57415645", "audio/wav"),
    ("0:52494658 8:57415645", "audio/wav"),
    ("0:52463634 8:57415645", "audio/wav"),
    ("0:42573634 8:57415645", "audio/wav"),
    ("0:52494646 8:57454250", "image/webp"),
    ("0:52494646 8:41564920", "video/x-msvideo"),
    ("0:494433", "audio/mpeg"),
    ("0:664c6143", "audio/flac"),
    ("0:4f676753 28:807468656f7261", "video/ogg audio/ogg"),
    ("0:4f676753", "audio/ogg video/ogg"),
    ("0:2321414d522d5742", "audio/amr-wb"),
    ("0:2321414d52", "audio/amr"),
    ("0:232153494c4b", "audio/silk"),
    ("0:02232153494c4b", "audio/silk"),
    ("0:41444946", "audio/aac"),
    ("0:fff0/fff6", "audio/aac"),
    ("0:fffe 3:00 5:00", "text/plain"),
    ("0:ffe8/fff8", ""),
    ("0:ffe0/ffe6", ""),
    ("0:ffe0f0/ffe0f0", ""),
    ("0:ffe00c/ffe00c", ""),
    ("0:fffe00/fffef0", ""),
    ("0:ffe0/ffe0", "audio/mpeg"),
    ("4:66747970 8-60:61766966", "image/avif"),
    ("4:66747970 8-60:61766973", "image/avif"),
    ("4:66747970 8:686569", "image/heic"),
    ("4:66747970 8:686576", "image/heic"),
    ("4:66747970 8:6d696631", "image/heic"),
    ("4:66747970 8:6d696632", "image/heic"),
    ("4:66747970 8:6d736631", "image/heic"),
    ("4:66747970 8:4d3441", "audio/mp4 video/mp4"),
    ("4:66747970 8:4d3442", "audio/mp4 video/mp4"),
    ("4:66747970 8:4d3450", "audio/mp4 video/mp4"),
    ("4:66747970 8:463441", "audio/mp4 video/mp4"),
    ("4:66747970 8:463442", "audio/mp4 video/mp4"),
    ("4:66747970 8:336732", "video/3gpp2 audio/3gpp2"),
    ("4:66747970 8:336770", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336765", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336767", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336772", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336773", "video/3gpp audio/3gpp"),
    ("4:66747970 8:717420", "video/quicktime"),
    ("4:66747970", "video/mp4 audio/mp4"),
    ("4:6d6f6f76", "video/quicktime"),
    ("4:77696465", "video/quicktime"),
    ("0:89504e470d0a1a0a", "image/png"),
    ("0:ffd8ff", "image/jpeg"),
    ("0:47494638", "image/gif"),
    ("0:424d 6:00000000", "image/bmp"),
    ("0:49492a00", "image/tiff"),
    ("0:4d4d002a", "image/tiff"),
    ("0:49492b00", "image/tiff"),
    ("0:4d4d002b", "image/tiff"),
    ("0:00000100 5:00 9:00 18:0600/0f00 20:0000", "image/x-icon"),
    (
        "0:1a45dfa3 4-64:6d6174726f736b61",
        "video/x-matroska audio/x-matroska",
    ),
    ("0:1a45dfa3", "video/webm audio/webm"),
    ("0:464c56", "video/x-flv"),
    ("0:47 188:47 376:47", "video/mp2t"),
    ("4:47 196:47 388:47", "video/mp2t"),
    ("0:000001ba", "video/mpeg"),
    ("0:000001b3", "video/mpeg"),
    ("0:464f524d 8:41494646", "audio/aiff"),
    ("0:464f524d 8:41494643", "audio/aiff"),
    ("0:63616666 4:0001", "audio/x-caf"),
    ("0:2e736e64", "audio/basic"),
    ("0:3026b2758e66cf11", "video/x-ms-wmv audio/x-ms-wma"),
    ("0-256:3c737667", "image/svg+xml"),
    ("0-64:3c21444f4354595045/ffffdfdfdfdfdfdfdf", "text/html"),
    ("0-64:3c48544d4c/ffdfdfdfdf", "text/html"),
    ("0-64:3c3f786d6c", "text/xml"),
    ("0:7b22 2-64:223a", "application/json"),
    ("0:7b0a 2-64:223a", "application/json"),
    ("0:25504446", "application/pdf"),
    ("0:504b0304", "application/zip"),
    ("0:1f8b08", "application/gzip"),
];

const EXTENSIONS: [(&str, &str); 61] = [
    ("wav", "audio/wav"),
    ("wave", "audio/wav"),
    ("rf64", "audio/wav"),
    ("bwf", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("mp2", "audio/mpeg"),
    ("mpga", "audio/mpeg"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg video/ogg"),
    ("oga", "audio/ogg"),
    ("opus", "audio/opus"),
    ("spx", "audio/ogg"),
    ("amr", "audio/amr"),
    ("awb", "audio/amr-wb"),
    ("aac", "audio/aac"),
    ("adts", "audio/aac"),
    ("m4a", "audio/mp4 video/mp4"),
    ("m4b", "audio/mp4 video/mp4"),
    ("pcm", "audio/pcm"),
    ("wma", "audio/x-ms-wma video/x-ms-wmv"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("aifc", "audio/aiff"),
    ("caf", "audio/x-caf"),
    ("au", "audio/basic"),
    ("weba", "audio/webm"),
    ("mka", "audio/x-matroska"),
    ("silk", "audio/silk"),
    ("slk", "audio/silk"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("jfif", "image/jpeg"),
    ("gif", "image/gif"),
    ("bmp", "image/bmp"),
    ("webp", "image/webp"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("heic", "image/heic"),
    ("heif", "image/heic"),
    ("avif", "image/avif"),
    ("ico", "image/x-icon"),
    ("svg", "image/svg+xml"),
    ("mp4", "video/mp4 audio/mp4"),
    ("m4v", "video/mp4 audio/mp4"),
    ("mov", "video/quicktime"),
    ("avi", "video/x-msvideo"),
    ("mkv", "video/x-matroska audio/x-matroska"),
    ("webm", "video/webm audio/webm"),
    ("flv", "video/x-flv"),
    ("wmv", "video/x-ms-wmv audio/x-ms-wma"),
    ("asf", "video/x-ms-wmv audio/x-ms-wma"),
    ("3gp", "video/3gpp audio/3gpp"),
    ("3gpp", "video/3gpp audio/3gpp"),
    ("3g2", "video/3gpp2 audio/3gpp2"),
    ("ts", "video/mp2t"),
    ("m2ts", "video/mp2t"),
    ("mts", "video/mp2t"),
    ("mpg", "video/mpeg audio/mpeg"),
    ("mpeg", "video/mpeg audio/mpeg"),
    ("ogv", "video/ogg audio/ogg"),
];

/// One condition of a rule.
#[derive(Debug)]
struct Condition {
    first: usize,
    last: usize,
    bytes: Vec<u8>,
    mask: Vec<u8>,
}

/// The rules, parsed once. An invalid rule would be skipped, which a test detects.
static PARSED: LazyLock<Vec<(Vec<Condition>, &'static str)>> = LazyLock::new(|| {
    let rule = |(pattern, types): &(&'static str, &'static str)| {
        let conditions: Option<Vec<_>> = pattern.split(' ').map(Condition::parse).collect();
        Some((conditions?, *types))
    };
    RULES.iter().filter_map(rule).collect()
});

impl Condition {
    fn parse(text: &str) -> Option<Self> {
        let (place, pattern) = text.split_once(':')?;
        let (first, last) = place.split_once('-').unwrap_or((place, place));
        let (bytes, mask) = match pattern.split_once('/') {
            Some((bytes, mask)) => (hex::decode(bytes)?, hex::decode(mask)?),
            None => (hex::decode(pattern)?, vec![0xff; pattern.len() / 2]),
        };
        Some(Self {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            bytes,
            mask,
        })
    }

    fn holds(&self, head: &[u8]) -> bool {
        (self.first..=self.last).any(|at| self.holds_at(head, at))
    }

    fn holds_at(&self, head: &[u8], at: usize) -> bool {
        let end = at.saturating_add(self.bytes.len());
        head.get(at..end).is_some_and(|found| {
            let wanted = self.bytes.iter().zip(&self.mask);
            found
                .iter()
                .zip(wanted)
                .all(|(byte, (wanted, mask))| byte & mask == *wanted)
        })
    }
}

/// The types that the bytes may have, the most common first; empty if unknown.
fn by_bytes(head: &[u8]) -> &'static str {
    let rule = PARSED
        .iter()
        .find(|(conditions, _)| conditions.iter().all(|condition| condition.holds(head)));
    rule.map_or("", |(_, types)| types)
}

fn by_name(name: &str) -> &'static str {
    let Some((_, extension)) = name.rsplit_once('.') else {
        return "";
    };
    let known = EXTENSIONS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map_or("", |(_, types)| types)
}

/// The MIME type of a media item that begins with these bytes, has this name, and is in a part of
/// this modality.
///
/// The bytes take precedence over the name. `None` if neither is conclusive.
#[must_use]
pub fn mime_type(head: &[u8], name: &str, part: Option<Modality>) -> Option<&'static str> {
    let named = by_name(name);
    let part = part.or_else(|| Modality::of(named));
    let types = match by_bytes(head) {
        "" => named,
        types => types,
    };
    let fits = |mime_type: &&str| part.is_some_and(|part| part.is_of(mime_type));
    let mut all = types.split_ascii_whitespace();
    all.clone().find(fits).or_else(|| all.next())
}

/// The detected type of bytes that contradict the part: another modality, or not media.
///
/// `None` for matching and for inconclusive bytes. A video container has an audio track, so it is
/// accepted as audio.
#[must_use]
pub fn contradiction(head: &[u8], part: Modality) -> Option<&'static str> {
    let found = mime_type(head, "", Some(part))?;
    (!fits(found, part)).then_some(found)
}

/// The detected type of bytes that contradict the name of their file, and the modality that the
/// name implies. The modality is `None` for bytes that no model decodes in a file whose name says
/// nothing.
#[must_use]
pub fn contradiction_of_name(head: &[u8], name: &str) -> Option<(&'static str, Option<Modality>)> {
    let named = by_name(name).split_ascii_whitespace();
    let mut parts = named.filter_map(Modality::of);
    let Some(first) = parts.next() else {
        let found = mime_type(head, "", None)?;
        let refused = NOT_DECODED.contains(&found) || !name.contains('.') && is_no_medium(found);
        return refused.then_some((found, None));
    };
    let found = contradiction(head, first)?;
    // A container of this name may also be of another modality.
    let fits = parts.any(|part| contradiction(head, part).is_none());
    (!fits).then_some((found, Some(first)))
}

/// Whether a type is possible in a part of this modality.
#[must_use]
pub fn fits(mime_type: &str, part: Modality) -> bool {
    let heard = part == Modality::Audio && Modality::Video.is_of(mime_type);
    (part.is_of(mime_type) || heard) && !NOT_DECODED.contains(&mime_type)
}

/// Whether a declared type leaves the detection to the bytes.
#[must_use]
pub fn is_unspecific(mime_type: &str) -> bool {
    let plain = mime_type.split(';').next().unwrap_or_default().trim();
    let mut all = UNSPECIFIC.into_iter();
    plain.is_empty() || all.any(|unspecific| unspecific.eq_ignore_ascii_case(plain))
}

/// Whether files of this type may begin with any bytes, so that only the name is conclusive.
#[must_use]
pub fn may_begin_with_anything(mime_type: &str) -> bool {
    UNSIGNED.contains(&mime_type)
}

/// Whether a type is one that no model accepts, such as `text/html`.
#[must_use]
pub fn is_no_medium(mime_type: &str) -> bool {
    Modality::of(mime_type).is_none() || NOT_DECODED.contains(&mime_type)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn table() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/sniffing.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn the_table_equals_that_of_all_implementations() {
        let table = table();
        let rules = RULES.map(|(pattern, types)| json!({"match": pattern, "types": types}));
        assert_eq!(table["rules"], json!(&rules[..]));
        let extensions = EXTENSIONS.map(|(name, types)| (name.to_owned(), json!(types)));
        let extensions = extensions.into_iter().collect();
        assert_eq!(table["extensions"], Value::Object(extensions));
        assert_eq!(table["head_bytes"], json!(HEAD_BYTES));
        assert_eq!(PARSED.len(), RULES.len(), "every rule can be parsed");
        for (conditions, types) in PARSED.iter() {
            for condition in conditions {
                let end = condition.last + condition.bytes.len();
                assert!(end <= HEAD_BYTES, "{types}");
                assert_eq!(condition.bytes.len(), condition.mask.len(), "{types}");
            }
        }
    }

    #[test]
    fn every_sample_of_the_table_is_detected() {
        for sample in table()["samples"].as_array().unwrap() {
            let field = |name: &str| sample[name].as_str().unwrap();
            let head = hex::decode(field("head")).unwrap();
            let part = [Modality::Audio, Modality::Image, Modality::Video]
                .into_iter()
                .find(|part| part.name() == field("kind"));
            let found = mime_type(&head, field("name"), part).unwrap_or_default();
            assert_eq!(found, field("mime_type"), "{sample}");
        }
    }

    #[test]
    fn bytes_that_contradict_the_name_are_reported() {
        use Modality::{Audio, Image, Video};
        const SILK: &[u8] = b"\x02#!SILK_V3";
        const PAGE: &[u8] = b"<!DOCTYPE html>";
        for (head, name, found) in [
            (SILK, "voice.amr", Some(("audio/silk", Some(Audio)))),
            (SILK, "voice.SILK", Some(("audio/silk", Some(Audio)))),
            (SILK, "voice", Some(("audio/silk", None))),
            (SILK, "voice.dat", Some(("audio/silk", None))),
            (PAGE, "talk.wav", Some(("text/html", Some(Audio)))),
            (PAGE, "photo.png", Some(("text/html", Some(Image)))),
            (PAGE, "", Some(("text/html", None))),
            (PAGE, "page.html", None),
            (b"%PDF-1.7", "report.pdf", None),
            (b"\x89PNG\r\n\x1a\n", "photo.jpg", None),
            (
                b"\x89PNG\r\n\x1a\n",
                "clip.mp4",
                Some(("image/png", Some(Video))),
            ),
            (b"ID3\x04", "talk.mpg", None),
            (b"RIFF....WAVEfmt ", "talk", None),
            (b"what is this", "talk.wav", None),
            (b"", "talk.wav", None),
        ] {
            assert_eq!(contradiction_of_name(head, name), found, "{name}");
        }
    }

    /// The files of other programs: recorders, cameras, encoders.
    #[test]
    fn recorded_files_are_detected_by_kind_and_by_name() {
        use Modality::{Audio, Image, Video};
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media");
        let mut read = Vec::new();
        for (name, part, found) in [
            ("head.avif", Image, "image/avif"),
            ("head_mif1.heic", Image, "image/heic"),
            ("mediarecorder.webm", Audio, "audio/webm"),
            ("mediarecorder.webm", Video, "video/webm"),
            ("mp3_crc_fffa.mp3", Audio, "audio/mpeg"),
            ("voice.3gp", Audio, "audio/3gpp"),
            ("voice.3gp", Video, "video/3gpp"),
            ("voice_isom.m4a", Audio, "audio/mp4"),
            ("voice_isom.m4a", Video, "video/mp4"),
        ] {
            let mut head = std::fs::read(folder.join(name)).unwrap();
            head.truncate(HEAD_BYTES);
            assert_eq!(mime_type(&head, "", Some(part)), Some(found), "{name}");
            assert_eq!(contradiction(&head, part), None, "{name}");
            let by_own_name = mime_type(&head, name, None).unwrap();
            assert_eq!(by_own_name, mime_type(b"", name, None).unwrap(), "{name}");
            assert_eq!(contradiction_of_name(&head, name), None, "{name}");
            // A name of nothing leaves it to the bytes.
            let nameless = mime_type(&head, "", None).unwrap();
            let parts = [Audio, Image, Video];
            assert!(parts.iter().any(|part| fits(nameless, *part)), "{name}");
            read.push(name.to_owned());
        }
        let files = std::fs::read_dir(folder).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        for name in names.filter(|name| !read.contains(name)) {
            assert!(name.ends_with(".wav"), "no test reads {name}");
            let mut head = std::fs::read(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/media")
                    .join(&name),
            )
            .unwrap();
            head.truncate(HEAD_BYTES);
            assert_eq!(mime_type(&head, "", None), Some("audio/wav"), "{name}");
        }
    }

    #[test]
    fn bytes_that_contradict_the_part_are_reported() {
        use Modality::{Audio, Image, Video};
        for (head, part, found) in [
            (&b"RIFF....WAVEfmt "[..], Audio, None),
            (b"RIFF....WAVEfmt ", Image, Some("audio/wav")),
            (b"RIFF....WAVEfmt ", Video, Some("audio/wav")),
            (b"RIFF....AVI LIST", Audio, None),
            (b"\x1a\x45\xdf\xa3", Audio, None),
            (b"\x1a\x45\xdf\xa3", Image, Some("video/webm")),
            (b"\x89PNG\r\n\x1a\n", Audio, Some("image/png")),
            (b"\x02#!SILK_V3", Audio, Some("audio/silk")),
            (b"<!DOCTYPE html>", Audio, Some("text/html")),
            (b"{\"code\":1}", Video, Some("application/json")),
            (b"nothing that is known", Audio, None),
            (b"", Image, None),
        ] {
            assert_eq!(contradiction(head, part), found, "{head:?}");
        }
        for unspecific in ["", "application/octet-stream", "Binary/Octet-Stream; a=b"] {
            assert!(is_unspecific(unspecific));
        }
        assert!(!is_unspecific("audio/wav") && !is_unspecific("application/pdf"));
        assert!(fits("Audio/WAV", Audio) && !fits("audiobook/wav", Audio));
        assert!(is_no_medium("text/html") && is_no_medium("audio/silk"));
        assert!(!is_no_medium("video/mp2t"));
    }
}
