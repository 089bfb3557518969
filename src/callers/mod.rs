//! Who calls, and whether that is accepted.
//!
//! [`Callers`] is asked once for each call, with what the call shows. As soon as the operator
//! accepts one kind of credentials, a call without any is refused. A refusal is one text, whatever
//! was wrong: which part it was is for the log alone.

pub mod date;
pub mod file;
pub mod key;
mod keys;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use crate::chat::call::Caller;
use crate::error::{Error, Reason};

use keys::Keys;

/// Which credentials the operator accepts. With none, anyone may call.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file of keys of our own.
    pub keys_file: Option<PathBuf>,
}

/// What a call shows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The value of `authorization`.
    pub authorization: Option<Shown<'a>>,
    /// The value of `x-api-key`.
    pub api_key: Option<Shown<'a>>,
}

/// Bytes that may be a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shown<'a>(pub &'a [u8]);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// Somebody who may call.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// To tell callers apart.
    pub caller: Caller,
    /// The name that the operator gave to the caller.
    pub name: Option<Arc<str>>,
}

/// Knows the callers. Cheap to clone.
#[derive(Clone)]
pub struct Callers {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Option<Keys>,
    /// Keyed, so that nobody can choose credentials that fall together with another's.
    hasher: RandomState,
}

impl Callers {
    /// Reads what the settings name.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let keys = settings.keys_file.clone().map(Keys::open).transpose()?;
        let inner = Inner {
            keys,
            hasher: RandomState::new(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether callers need credentials.
    pub fn are_asked(&self) -> bool {
        self.inner.keys.is_some()
    }

    /// Who shows these credentials.
    pub fn identify(&self, shown: &Credentials<'_>) -> Result<Identity, Error> {
        let Some(keys) = &self.inner.keys else {
            return Ok(self.anyone(shown));
        };
        let key = shown.key().ok_or_else(|| refusal("no key was sent"))?;
        let name = keys.find(key, date::now()).map_err(refusal)?;
        Ok(Identity {
            caller: Caller(self.inner.hasher.hash_one(("key", &name))),
            name: Some(name),
        })
    }

    /// Nobody is asked who he is; what is shown all the same tells callers apart.
    fn anyone(&self, shown: &Credentials<'_>) -> Identity {
        let caller = match (shown.authorization, shown.api_key) {
            (None, None) => Caller::default(),
            shown => Caller(self.inner.hasher.hash_one(shown)),
        };
        Identity { caller, name: None }
    }

    /// Reads files again when they change, until it is dropped.
    pub async fn watch(&self) {
        match &self.inner.keys {
            Some(keys) => keys.watch().await,
            None => std::future::pending().await,
        }
    }
}

impl<'a> Credentials<'a> {
    /// The key that is shown: `authorization` counts before `x-api-key`.
    fn key(&self) -> Option<&'a str> {
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

/// The one text for all that can be wrong, and for the log what it was.
fn refusal(why: &'static str) -> Error {
    let message = "the call shows no credentials that are accepted here; send your key as \
                   metadata, `authorization: Bearer KEY` or `x-api-key: KEY`";
    Error::new(Reason::Unauthenticated, message).with_source(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'a>(authorization: Option<&'a str>, api_key: Option<&'a str>) -> Credentials<'a> {
        let shown = |text: &'a str| Shown(text.as_bytes());
        Credentials {
            authorization: authorization.map(shown),
            api_key: api_key.map(shown),
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
            assert_eq!(shown(authorization, api_key).key(), expected);
        }
    }

    #[test]
    fn with_no_kind_accepted_anyone_may_call_and_callers_are_told_apart() {
        let callers = Callers::new(&Settings::default()).unwrap();
        let of = |key| callers.identify(&shown(None, key)).unwrap().caller;
        assert_eq!(of(None), Caller::default());
        assert_eq!(of(Some("a")), of(Some("a")));
        assert_ne!(of(Some("a")), of(Some("b")));
        assert!(!callers.are_asked());
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = shown(Some("Bearer canary"), Some("canary"));
        assert!(!format!("{shown:?}").contains("canary"));
    }
}
