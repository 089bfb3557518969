//! What a call shows of itself, before anybody believes it.

use std::fmt;

use crate::chat::call::Origin;

/// What a key for DashScope begins with.
const DASHSCOPE: &str = "sk-";

/// No key for DashScope is near this long.
const MAX_DASHSCOPE_KEY: usize = 256;

/// What a call shows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The value of `authorization`.
    pub authorization: Option<Shown<'a>>,
    /// The value of `x-api-key`.
    pub api_key: Option<Shown<'a>>,
    /// The URIs in the certificate of its connection, which was proved.
    pub uris: &'a [String],
    /// Where its connection comes from.
    pub origin: Origin,
}

/// Bytes that may be a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl<'a> Credentials<'a> {
    /// Whether there is any key or token, right or wrong.
    pub(super) fn has_text(&self) -> bool {
        self.authorization.is_some() || self.api_key.is_some()
    }

    /// The key or token that is shown: `authorization` counts before `x-api-key`.
    pub(super) fn text(&self) -> Option<&'a str> {
        let bytes = match self.authorization {
            Some(Shown(value)) => bearer(value)?,
            None => self.api_key?.0,
        };
        std::str::from_utf8(bytes).ok().map(str::trim)
    }
}

/// What stands after `Bearer`, in any case, as HTTP has it.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
}

/// Whether a text looks like a key for DashScope.
pub(super) fn is_for_dashscope(text: &str) -> bool {
    text.len() > DASHSCOPE.len()
        && text.len() <= MAX_DASHSCOPE_KEY
        && text.starts_with(DASHSCOPE)
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'a>(authorization: Option<&'a str>, api_key: Option<&'a str>) -> Credentials<'a> {
        let shown = |text: &'a str| Shown(text.as_bytes());
        Credentials {
            authorization: authorization.map(shown),
            api_key: api_key.map(shown),
            ..Credentials::default()
        }
    }

    #[test]
    fn a_key_is_found_in_either_place() {
        for (authorization, api_key, expected) in [
            (Some("Bearer k1"), None, Some("k1")),
            (Some("bearer  k1 "), None, Some("k1")),
            (Some("Basic k1"), None, None),
            (Some("Bearer"), None, None),
            (None, Some("k2"), Some("k2")),
            (Some("Bearer k1"), Some("k2"), Some("k1")),
            (Some("Basic k1"), Some("k2"), None),
            (None, None, None),
        ] {
            assert_eq!(shown(authorization, api_key).text(), expected);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = shown(Some("Bearer canary"), Some("canary"));
        assert!(!format!("{shown:?}").contains("canary"));
    }
}
