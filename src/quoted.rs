//! A text as JSON writes it.

/// Appends a text with its quotes. Most texts have nothing to escape, which sixteen bytes at once
/// tell; a long conversation is then little more than a copy.
pub fn push(text: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    let (blocks, rest) = text.as_bytes().as_chunks::<16>();
    // No early end within a block, so that it is one comparison of the whole of it.
    let plain = |block: &[u8; 16]| {
        block
            .iter()
            .fold(true, |plain, byte| plain & is_plain(byte))
    };
    if blocks.iter().all(plain) && rest.iter().all(is_plain) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // It fails for writers that do, and a vector is none.
    let _ = serde_json::to_writer(out, text);
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
    }
}
