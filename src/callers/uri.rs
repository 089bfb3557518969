//! Matching of the URIs in certificates.
//!
//! Stricter than the patterns of models: an authority that may issue names below one path must not
//! be able to issue one that matches outside of it.

use crate::chat::glob;

/// Whether a configured pattern matches a URI. `*` matches a part of one path segment: letters,
/// digits, `-`, `.`, `_` and `~`. It never matches `/`, `@`, `%` or a segment of dots. A last
/// segment `**` matches any path of such segments.
pub(super) fn matches(pattern: &str, uri: &str) -> bool {
    let (mut patterns, mut segments) = (pattern.split('/'), uri.split('/'));
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) => return true,
            (Some("**"), Some(segment)) if patterns.next().is_none() => {
                let mut rest = std::iter::once(segment).chain(segments);
                return rest.all(|segment| fits_segment("*", segment));
            }
            (Some(pattern), Some(segment)) if fits_segment(pattern, segment) => {}
            _ => return false,
        }
    }
}

fn fits_segment(pattern: &str, segment: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == segment;
    }
    let dots = matches!(segment, "" | "." | "..");
    !dots && glob::matches_bytes(pattern, segment, is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_matches_within_a_segment() {
        for (pattern, uri, expected) in [
            ("spiffe://a.org/ns/x/sa/y", "spiffe://a.org/ns/x/sa/y", true),
            ("spiffe://a.org/ns/*/sa/*", "spiffe://a.org/ns/x/sa/y", true),
            (
                "spiffe://a.org/ns/team-*/sa/y",
                "spiffe://a.org/ns/team-1/sa/y",
                true,
            ),
            (
                "spiffe://a.org/ns/team-*/sa/y",
                "spiffe://a.org/ns/team-/sa/y",
                true,
            ),
            ("spiffe://*.a.org/ns/x", "spiffe://b.a.org/ns/x", true),
            ("spiffe://a.org/*", "spiffe://a.org/ns/x", false),
            (
                "spiffe://a.org/ns/*/sa/y",
                "spiffe://a.org/ns/x/z/sa/y",
                false,
            ),
            ("spiffe://a.org/ns/*/sa/y", "spiffe://a.org/ns//sa/y", false),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns/..", false),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns/.", false),
            ("spiffe://a.org/ns/*/x", "spiffe://a.org/ns/%2e%2e/x", false),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns/x?y", false),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns/x#y", false),
            ("spiffe://*/ns/x", "spiffe://a.org@evil.example/ns/x", false),
            (
                "spiffe://*.a.org/ns/x",
                "spiffe://evil.example@b.a.org/ns/x",
                false,
            ),
            (
                "spiffe://*.a.org/ns/x",
                "spiffe://evil.example/.a.org/ns/x",
                false,
            ),
            ("spiffe://*/ns/x", "spiffe:///ns/x", false),
            ("*", "spiffe://a.org/ns/x", false),
            ("spiffe://a.org/**", "spiffe://a.org/ns/x", true),
            ("spiffe://a.org/**", "spiffe://a.org/", false),
            ("spiffe://a.org/**", "spiffe://a.org", false),
            ("spiffe://a.org/**", "spiffe://a.org/ns/../x", false),
            ("spiffe://a.org/**", "spiffe://a.org/ns//x", false),
            ("spiffe://a.org/**/x", "spiffe://a.org/ns/y/x", false),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns/x\n", false),
        ] {
            assert_eq!(matches(pattern, uri), expected, "{pattern} {uri}");
        }
    }
}
