//! What kind of medium a file is, by its first bytes, then by its name.

/// The most bytes that a rule looks at.
pub(crate) const LONGEST: usize = 12;

/// The first rule whose bytes stand at their places says it; `..` is any byte.
const MAGIC: [(&str, &str); 25] = [
    ("52494646........57415645", "audio/wav"),
    ("52494646........57454250", "image/webp"),
    ("52494646........41564920", "video/x-msvideo"),
    ("494433", "audio/mpeg"),
    ("664c6143", "audio/flac"),
    ("4f676753", "audio/ogg"),
    ("2321414d52", "audio/amr"),
    ("fff1", "audio/aac"),
    ("fff9", "audio/aac"),
    ("fffb", "audio/mpeg"),
    ("fffa", "audio/mpeg"),
    ("fff3", "audio/mpeg"),
    ("fff2", "audio/mpeg"),
    ("........667479704d3441", "audio/mp4"),
    ("........6674797068656963", "image/heic"),
    ("........667479707174", "video/quicktime"),
    ("........66747970", "video/mp4"),
    ("89504e470d0a1a0a", "image/png"),
    ("ffd8ff", "image/jpeg"),
    ("47494638", "image/gif"),
    ("424d", "image/bmp"),
    ("49492a00", "image/tiff"),
    ("4d4d002a", "image/tiff"),
    ("1a45dfa3", "video/webm"),
    ("464c5601", "video/x-flv"),
];

const EXTENSIONS: [(&str, &str); 24] = [
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/opus"),
    ("amr", "audio/amr"),
    ("aac", "audio/aac"),
    ("m4a", "audio/mp4"),
    ("pcm", "audio/pcm"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("bmp", "image/bmp"),
    ("webp", "image/webp"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("heic", "image/heic"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("avi", "video/x-msvideo"),
    ("mkv", "video/x-matroska"),
    ("webm", "video/webm"),
    ("flv", "video/x-flv"),
];

/// The MIME type of a medium; empty if nothing tells it, and then the gateway finds out.
pub(crate) fn mime_type(start: &[u8], name: &str) -> &'static str {
    let by_bytes = MAGIC.iter().find(|(pattern, _)| fits(pattern, start));
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let by_name = || {
        let extension = extension?.to_ascii_lowercase();
        EXTENSIONS.iter().find(|(known, _)| *known == extension)
    };
    by_bytes
        .or_else(by_name)
        .map_or("", |(_, mime_type)| mime_type)
}

fn fits(pattern: &str, start: &[u8]) -> bool {
    let byte = |pair: &[u8]| match std::str::from_utf8(pair) {
        Ok("..") | Err(_) => None,
        Ok(digits) => u8::from_str_radix(digits, 16).ok(),
    };
    let pairs = pattern.as_bytes().chunks(2).map(byte);
    pairs.len() <= start.len()
        && pairs
            .zip(start)
            .all(|(wanted, is)| wanted.is_none_or(|wanted| wanted == *is))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_table_is_that_of_all_languages() {
        let path = "/../../tests/conformance/sniffing.json";
        let path = format!("{}{path}", env!("CARGO_MANIFEST_DIR"));
        let table: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let magic = MAGIC.map(|(bytes, mime_type)| json!({"bytes": bytes, "mime_type": mime_type}));
        assert_eq!(table["magic"], json!(magic));
        let extensions = EXTENSIONS.map(|(name, mime_type)| (name.to_owned(), json!(mime_type)));
        assert_eq!(
            table["extensions"],
            Value::Object(extensions.into_iter().collect())
        );
        let longest = MAGIC.iter().map(|(bytes, _)| bytes.len() / 2).max();
        assert_eq!(longest, Some(LONGEST));
    }

    #[test]
    fn bytes_come_before_the_name() {
        assert_eq!(mime_type(b"RIFF....WAVEfmt ", "a.mp3"), "audio/wav");
        assert_eq!(mime_type(b"RIFF....WAV", "a.mp3"), "audio/mpeg");
        assert_eq!(mime_type(b"", "A.PCM"), "audio/pcm");
        assert_eq!(mime_type(b"words", "words.txt"), "");
        assert_eq!(mime_type(b"words", "wav"), "");
    }
}
