//! The media of one call in DashScope's storage, and the fallback when DashScope refuses how they
//! were sent first.

use std::collections::HashMap;

use crate::error::{Error, Reason, Sent};

/// The phrase of DashScope's error for a body that is too large as a whole.
const BODY_TOO_LARGE: &str = "max bytes to request body";

/// The uploaded media of one call at one account. Each is uploaded once and its URL shared by all
/// attempts.
#[derive(Debug, Default)]
pub struct Stored {
    uris: HashMap<usize, String>,
    pub(super) failures: u32,
    pub(super) nothing_inline: bool,
    recovered: bool,
}

impl Stored {
    /// The URL of the item at this position, if it was uploaded.
    pub(super) fn uri(&self, place: usize) -> Option<&String> {
        self.uris.get(&place)
    }

    /// Records the URL of the item at this position.
    pub(super) fn put(&mut self, place: usize, uri: String) {
        self.uris.insert(place, uri);
    }

    /// Whether nothing was uploaded for the call.
    pub fn is_empty(&self) -> bool {
        self.uris.is_empty()
    }

    /// Whether to send the media differently after this refusal, which was not billed: media that
    /// DashScope could not read from its own storage are uploaded again, and media that made the
    /// body too large are uploaded. At most once per call.
    pub fn recover(&mut self, error: &Error) -> bool {
        if self.recovered || !matches!(error.sent(), Sent::No | Sent::Refused) {
            return false;
        }
        let is_unread = matches!(
            error.reason(),
            Reason::MediaUnreachable | Reason::MediaExpired
        );
        self.recovered = if is_unread {
            let any = !self.uris.is_empty();
            self.uris.clear();
            any
        } else {
            self.nothing_inline = is_body_too_large(error);
            self.nothing_inline
        };
        self.recovered
    }
}

fn is_body_too_large(error: &Error) -> bool {
    let says = |message: &str| message.to_ascii_lowercase().contains(BODY_TOO_LARGE);
    error.reason() == Reason::MediaTooLarge
        && error
            .upstream()
            .is_some_and(|upstream| says(upstream.message.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Upstream;
    use crate::secret::Secret;

    fn error(reason: Reason, message: &str) -> Error {
        let upstream = Upstream {
            message: Secret::new(message),
            ..Upstream::default()
        };
        Error::new(reason, "refused")
            .with_sent(Sent::Refused)
            .with_upstream(upstream)
    }

    #[test]
    fn media_are_sent_differently_once_and_only_after_a_related_refusal() {
        let unread = error(Reason::MediaUnreachable, "");
        let large = error(
            Reason::MediaTooLarge,
            "Exceeded limit on max bytes to request body : 9",
        );
        assert!(!Stored::default().recover(&unread), "nothing was stored");
        let mut stored = Stored::default();
        stored.put(0, "oss://a".to_owned());
        assert!(!stored.recover(&error(Reason::MediaTooLarge, "per data-uri item")));
        assert!(!stored.recover(&unread.clone().with_sent(Sent::Maybe)));
        assert!(stored.recover(&unread) && stored.is_empty());
        assert!(!stored.recover(&unread) && !stored.recover(&large));
        let mut stored = Stored::default();
        assert!(stored.recover(&large) && stored.nothing_inline);
    }
}
