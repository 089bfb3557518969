//! Detects MIME types from the first bytes, then from the name.

/// The most bytes that a rule examines.
pub(crate) const LONGEST: usize = 400;

/// Conditions and the types that they imply: `OFFSET:HEX`, `OFFSET-LAST:HEX` for bytes that begin
/// in a range, `OFFSET:HEX/MASK`. No type: the bytes do not determine it.
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

/// Returns the MIME type of media for a part of this kind (`audio`, `image`, `video`, or empty);
/// empty if it is not detected, and then the gateway detects it.
pub(crate) fn mime_type(start: &[u8], name: &str, kind: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let named = EXTENSIONS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(extension))
        .map_or("", |(_, types)| types);
    let kind = match kind {
        "" => named.split('/').next().unwrap_or_default(),
        kind => kind,
    };
    let found = RULES
        .iter()
        .find(|(pattern, _)| pattern.split(' ').all(|one| holds(one, start)));
    let types = match found {
        None | Some((_, "")) => named,
        Some((_, types)) => types,
    };
    let all = types.split(' ');
    let fits = |mime_type: &&str| mime_type.split('/').next() == Some(kind);
    all.clone().find(fits).or(all.clone().next()).unwrap_or("")
}

fn holds(condition: &str, start: &[u8]) -> bool {
    let Some((place, pattern)) = condition.split_once(':') else {
        return false;
    };
    let (first, last) = place.split_once('-').unwrap_or((place, place));
    let number = |text: &str| text.parse().unwrap_or(usize::MAX);
    let (bytes, mask) = pattern.split_once('/').unwrap_or((pattern, ""));
    let (bytes, mask) = (hex(bytes), hex(mask));
    (number(first)..=number(last)).any(|at| {
        let end = at.saturating_add(bytes.len());
        start.get(at..end).is_some_and(|found| {
            let masked = found
                .iter()
                .enumerate()
                .map(|(at, byte)| byte & mask.get(at).unwrap_or(&0xff));
            masked.eq(bytes.iter().copied())
        })
    })
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text
        .as_bytes()
        .chunks(2)
        .filter_map(|two| std::str::from_utf8(two).ok());
    digits
        .filter_map(|two| u8::from_str_radix(two, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn table() -> Value {
        let path = "/../../tests/conformance/sniffing.json";
        let path = format!("{}{path}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn the_table_is_that_of_all_languages() {
        let table = table();
        let rules = RULES.map(|(pattern, types)| json!({"match": pattern, "types": types}));
        assert_eq!(table["rules"], json!(&rules[..]));
        let extensions = EXTENSIONS.map(|(name, types)| (name.to_owned(), json!(types)));
        assert_eq!(
            table["extensions"],
            Value::Object(extensions.into_iter().collect())
        );
        assert_eq!(table["head_bytes"], json!(LONGEST));
    }

    #[test]
    fn every_sample_of_the_table_is_recognised() {
        for sample in table()["samples"].as_array().unwrap() {
            let field = |name: &str| sample[name].as_str().unwrap();
            let found = mime_type(&hex(field("head")), field("name"), field("kind"));
            assert_eq!(found, field("mime_type"), "{sample}");
        }
    }
}
