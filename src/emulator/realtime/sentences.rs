//! Sentences of text that arrives in pieces.

/// Where a sentence ends.
const ENDS: [char; 9] = ['。', '！', '？', '；', '.', '!', '?', ';', '\n'];

/// Takes the sentences that are complete from the beginning of a text.
pub(in crate::emulator) fn take_sentences(text: &mut String) -> String {
    let end = text.char_indices().rfind(|(_, c)| ENDS.contains(c));
    let Some((at, last)) = end else {
        return String::new();
    };
    let rest = text.split_off(at + last.len_utf8());
    std::mem::replace(text, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_sentences_are_taken_and_the_rest_stays() {
        for (text, taken, rest) in [
            ("", "", ""),
            ("你好，", "", "你好，"),
            ("你好。再", "你好。", "再"),
            ("One. Two! Thr", "One. Two!", " Thr"),
        ] {
            let mut text = text.to_owned();
            assert_eq!(take_sentences(&mut text), taken);
            assert_eq!(text, rest);
        }
    }
}
