//! The credentials of a call, before they are verified.

use std::fmt;

use crate::chat::call::Origin;

/// The prefix of DashScope API keys.
const DASHSCOPE: &str = "sk-";

/// The longest DashScope API key that is accepted; real ones are far shorter.
const MAX_DASHSCOPE_KEY: usize = 256;

/// The credentials of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The value of `authorization`.
    pub authorization: Option<CredentialBytes<'a>>,
    /// The value of `x-api-key`.
    pub api_key: Option<CredentialBytes<'a>>,
    /// The URIs in the certificate of its connection, which was verified.
    pub uris: &'a [String],
    /// The network origin of its connection.
    pub origin: Origin,
}

/// Bytes that may be a key; `Debug` does not show them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialBytes<'a>(pub &'a [u8]);

impl fmt::Debug for CredentialBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl<'a> Credentials<'a> {
    /// Whether there is a key or a token, valid or not.
    pub(super) fn has_text(&self) -> bool {
        self.authorization.is_some() || self.api_key.is_some()
    }

    /// The key or token: `authorization` takes precedence over `x-api-key`.
    pub(super) fn text(&self) -> Option<&'a str> {
        let bytes = match self.authorization {
            Some(CredentialBytes(value)) => bearer(value)?,
            None => self.api_key?.0,
        };
        std::str::from_utf8(bytes).ok().map(str::trim)
    }
}

/// The value after `Bearer`, which is case-insensitive in HTTP.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
}

/// Whether a text has the format of a DashScope API key.
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
        let shown = |text: &'a str| CredentialBytes(text.as_bytes());
        Credentials {
            authorization: authorization.map(shown),
            api_key: api_key.map(shown),
            ..Credentials::default()
        }
    }

    #[test]
    fn a_key_is_read_from_either_header() {
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
