//! A text as JSON writes it.

/// Appends a text with its quotes. Most texts have nothing to escape, which is checked eight bytes
/// at a time; a long conversation is then little more than a copy.
pub fn push(text: &str, out: &mut Vec<u8>) {
    if plain_length(text.as_bytes()) == text.len() {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // It fails for writers that do, and a vector is none.
    let _ = serde_json::to_writer(out, text);
}

/// How many bytes stand before the first that JSON does not allow as it is in a text: a quote, a
/// backslash or a control character.
pub fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    // The high bit of each byte that is less than `n`, or of a higher one only behind such a byte.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
    let odd = |word: u64| {
        let (quote, backslash) = (ONES * u64::from(b'"'), ONES * u64::from(b'\\'));
        below(word, 0x20) | below(word ^ quote, 1) | below(word ^ backslash, 1)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        match odd(u64::from_le_bytes(*word)) {
            0 => length += word.len(),
            found => return length + (found.trailing_zeros() / u8::BITS) as usize,
        }
    }
    if let Some(last) = bytes.last_chunk::<8>()
        && odd(u64::from_le_bytes(*last)) == 0
    {
        return bytes.len();
    }
    let is_odd = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    length + rest.iter().position(is_odd).unwrap_or(rest.len())
}
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_written_as_the_library_writes_it(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            let mut ours = Vec::new();
            push(&text, &mut ours);
            prop_assert_eq!(ours, serde_json::to_vec(&text).unwrap());
        }

        #[test]
        fn the_plain_part_ends_where_it_should(bytes in "[ -~\"\\\\\x1f\x7f\u{80}é]{0,30}") {
            let is_odd = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
            let bytes = bytes.as_bytes();
            let end = bytes.iter().position(is_odd).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(bytes), end);
        }
    }
}
