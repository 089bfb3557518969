//! What one call has put into DashScope's storage, and how its media go when DashScope refuses the
//! way that they went first.

use std::collections::HashMap;

use crate::error::{Error, Reason, Sent};

/// What DashScope says of a body that is too large as a whole.
const BODY_TOO_LARGE: &str = "max bytes to request body";

/// The media of one call at one account, over all its attempts. Stored once, they are named by each
/// attempt.
#[derive(Debug, Default)]
pub struct Stored {
    uris: HashMap<usize, String>,
    pub(super) failures: u32,
    pub(super) nothing_inline: bool,
    recovered: bool,
}

impl Stored {
    /// Where the medium at this place is, if it was stored.
    pub(super) fn uri(&self, place: usize) -> Option<&String> {
        self.uris.get(&place)
    }

    /// Remembers where the medium at this place is.
    pub(super) fn put(&mut self, place: usize, uri: String) {
        self.uris.insert(place, uri);
    }

    /// Whether the gateway stored anything for the call.
    pub fn is_empty(&self) -> bool {
        self.uris.is_empty()
    }

    /// Whether the media should go another way after this refusal, which cost nothing: what
    /// DashScope could not read from its own storage is stored anew, and media that made the body
    /// too large go by the storage. Once in a call.
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
    fn media_go_another_way_once_and_only_after_a_refusal_that_is_about_them() {
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
