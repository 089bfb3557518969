//! Glob patterns.

use memchr::{memchr, memmem};

/// Whether a name matches a pattern in which `*` matches any characters, also none.
pub fn matches(glob: &str, name: &str) -> bool {
    matches_bytes(glob, name, |_| true)
}

/// Like [`matches`], but `*` matches only these bytes.
pub fn matches_bytes(glob: &str, name: &str, may: impl Fn(u8) -> bool) -> bool {
    let may = |text: &str| text.bytes().all(&may);
    let Some((head, mut rest)) = split(glob) else {
        return glob == name;
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    // The first match of a piece leaves the most for those after it.
    while let Some((piece, after)) = split(rest) {
        match split_at(left, piece) {
            Some((star, behind)) if may(star) => (left, rest) = (behind, after),
            Some(_) | None => return false,
        }
    }
    left.strip_suffix(rest).is_some_and(may)
}

/// The pattern before the first star, and after it.
fn split(glob: &str) -> Option<(&str, &str)> {
    let star = memchr(b'*', glob.as_bytes())?;
    Some((glob.get(..star)?, glob.get(star + 1..)?))
}

/// The text before the first occurrence of a piece, and after it. Like `str::split_once`, whose
/// preparation takes longer than the search in a name.
fn split_at<'a>(text: &'a str, piece: &str) -> Option<(&'a str, &'a str)> {
    let start = memmem::find(text.as_bytes(), piece.as_bytes())?;
    Some((text.get(..start)?, text.get(start + piece.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_characters() {
        for (glob, name, fits) in [
            ("qwen-omni*", "qwen-omni-turbo", true),
            ("qwen-omni*", "qwen-audio-turbo", false),
            ("*-omni-*", "qwen3-omni-flash", true),
            ("*omni", "qwen-omni-turbo", false),
            ("qvq-max", "qvq-max", true),
            ("qvq-max", "qvq-max-latest", false),
            ("qwen*", "qwen", true),
            ("q*-vl-*", "qwen3-vl-plus", true),
            ("q*-vl-*", "qwen3-plus", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
            ("通义*听*", "通义千问听写", true),
            ("通义*听*", "通义千问", false),
        ] {
            assert_eq!(matches(glob, name), fits, "{glob} {name}");
        }
    }
}
