//! `data:` URIs with a medium in base64: `data:MIME;base64,TEXT`.

/// A `data:` URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataUri<'a> {
    /// The MIME type as it is written; may be empty or invalid.
    pub mime_type: &'a str,
    /// The base64, which is not checked. White space around it is no part of it.
    pub encoded: &'a str,
}

const SCHEME: &str = "data:";

/// Whether a URI has the scheme `data:`, in whatever form its rest is.
pub fn has_scheme(uri: &str) -> bool {
    let scheme = uri.get(..SCHEME.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Parses a URI. `None`: it has another scheme, or is not in base64.
pub fn parse(uri: &str) -> Option<DataUri<'_>> {
    if !has_scheme(uri) {
        return None;
    }
    let (head, encoded) = uri.get(SCHEME.len()..)?.split_once(',')?;
    Some(DataUri {
        mime_type: head.strip_suffix(";base64")?,
        encoded: encoded.trim_ascii(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_parsed_or_is_none() {
        let of = |mime_type, encoded| Some(DataUri { mime_type, encoded });
        for (uri, expected) in [
            ("data:audio/wav;base64,AAAA", of("audio/wav", "AAAA")),
            ("DATA:;base64, AAAA\r\n", of("", "AAAA")),
            ("data:a/b;x=y;base64,A,A", of("a/b;x=y", "A,A")),
            ("data:audio/wav,AAAA", None),
            ("data:audio/wav,;base64,AAAA", None),
            ("data:", None),
            ("https://h/;base64,AAAA", None),
        ] {
            assert_eq!(parse(uri), expected, "{uri}");
        }
        assert!(has_scheme("Data:x") && !has_scheme("dat:") && !has_scheme("date:x"));
    }
}
