//! Audio in frames: base64 in both directions, with one allocation each.

use std::borrow::Cow;

use bytes::Bytes;

/// Writes base64.
pub(super) fn push(bytes: &[u8], text: &mut String) {
    base64_simd::STANDARD.encode_append(bytes, text);
}

/// The length of base64.
pub(super) fn length(bytes: &[u8]) -> usize {
    base64_simd::STANDARD.encoded_length(bytes.len())
}

/// Reads base64, with or without padding, white space and the prefix of a `data:` URI.
pub(super) fn read(text: &str) -> Option<Bytes> {
    let data = match text.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,").map(|(_, data)| data)?,
        None => text,
    };
    let plain = data.trim_end_matches('=');
    let decoded = base64_simd::STANDARD_NO_PAD.decode_to_vec(plain);
    let decoded = decoded.or_else(|_| {
        let data = without_space(plain);
        base64_simd::forgiving_decode_to_vec(data.as_bytes())
    });
    decoded.ok().map(Bytes::from)
}

fn without_space(text: &str) -> Cow<'_, str> {
    let is_space = |c: char| c.is_ascii_whitespace();
    match text.contains(is_space) {
        true => Cow::Owned(text.replace(is_space, "")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("AQ==", Some(&[1])),
            ("AQ", Some(&[1])),
            ("AQI=", Some(&[1, 2])),
            ("AQI", Some(&[1, 2])),
            ("AQID", Some(&[1, 2, 3])),
            ("AQ\nID\n", Some(&[1, 2, 3])),
            ("AR==", Some(&[1])),
            ("data:audio/pcm;base64,AQID", Some(&[1, 2, 3])),
            ("A", None),
            ("AQI*", None),
            ("data:AQID", None),
        ] {
            assert_eq!(read(text).as_deref(), bytes, "{text:?}");
        }
    }

    #[test]
    fn base64_is_written_in_the_length_that_was_computed() {
        for length_of in 0..70 {
            let bytes: Vec<u8> = (0..length_of).collect();
            let mut text = String::new();
            push(&bytes, &mut text);
            assert_eq!(text.len(), length(&bytes));
            assert_eq!(read(&text).as_deref(), Some(&bytes[..]));
        }
    }
}
