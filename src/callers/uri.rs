//! Which URIs of certificates a pattern accepts.
//!
//! Narrower than the patterns of models: whoever may sign names below one path must not be able to
//! make one that reaches beyond it.

use super::limits;

/// Whether the operator's pattern accepts this URI. `*` stands for a part of one segment of the
/// path: letters, digits, `-`, `.`, `_` and `~`. It never stands for `/`, `@`, `%` or a segment of
/// dots. A last segment `**` accepts any path of such segments.
pub(super) fn fits(pattern: &str, uri: &str) -> bool {
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
    !dots && limits::fits_where(pattern, segment, is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stays_in_its_segment() {
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
            assert_eq!(fits(pattern, uri), expected, "{pattern} {uri}");
        }
    }
}
