//! Base64, read in the plainest way, to compare what the gateway writes with what it was given.

/// The bytes of a padded text in the standard alphabet.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (groups, []) = text.as_bytes().as_chunks::<4>() else {
        return None;
    };
    for group in groups {
        let letters = group.iter().take_while(|letter| **letter != b'=').count();
        let mut number = 0u32;
        for letter in group {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => 0,
                _ => return None,
            };
            number = number << 6 | u32::from(value);
        }
        let [_, three @ ..] = number.to_be_bytes();
        bytes.extend(three.get(..letters.checked_sub(1)?)?);
    }
    Some(bytes)
}
