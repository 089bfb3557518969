//! API keys issued by the gateway: `dg_ID_SECRET`, from 256 random bits, stored as a hash.
//!
//! The hash is plain SHA-256. Slow, salted hashes protect passwords that people choose, by making
//! each guess expensive. One of 2^256 keys cannot be guessed at any cost, and the hash is computed
//! for every call, so a slow one would only make denial of service easier. A salt is not needed for
//! the same reason: keys are unique, and no table of hashes can be precomputed.

use aws_lc_rs::{constant_time, digest, rand};

use crate::error::{Error, Reason};
use crate::hex;
use crate::secret::Secret;

/// The prefix of every key, which scanners of source code can search for.
pub const PREFIX: &str = "dg_";

/// Length of a key's id in bytes: enough to make collisions within a file negligible.
const ID_BYTES: usize = 6;

/// Length of a key's secret in bytes.
const SECRET_BYTES: usize = 32;

/// A new key. Its text is shown once and not stored.
#[derive(Debug)]
pub struct NewKey {
    /// The public part.
    pub id: String,
    /// The whole key.
    pub text: Secret,
    /// The hash, which is stored.
    pub digest: Digest,
}

/// The SHA-256 of a key.
#[derive(Clone, Copy, Debug)]
pub struct Digest([u8; 32]);

/// Creates a key.
pub fn generate() -> Result<NewKey, Error> {
    let mut bytes = [0; ID_BYTES + SECRET_BYTES];
    rand::fill(&mut bytes).map_err(|_| {
        let message = "the operating system gives no random numbers; no key was made";
        Error::new(Reason::GatewayConfig, message)
    })?;
    let (id, secret) = bytes.split_at(ID_BYTES);
    let id = hex::encode(id);
    let text = format!("{PREFIX}{id}_{}", hex::encode(secret));
    Ok(NewKey {
        digest: Digest::of(&text),
        text: Secret::new(text),
        id,
    })
}

/// The public part of a text in the format of a key.
pub(super) fn id_of(text: &str) -> Option<&str> {
    let (id, _) = text.strip_prefix(PREFIX)?.split_once('_')?;
    is_id(id).then_some(id)
}

/// Whether a text has the format of a key's public part.
pub(super) fn is_id(text: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 2 * ID_BYTES && text.bytes().all(digit)
}

impl Digest {
    /// The hash of a whole key, as sent by a caller.
    pub fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        let made = digest::digest(&digest::SHA256, text.as_bytes());
        for (to, from) in bytes.iter_mut().zip(made.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// Parses 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        hex::decode(text)?.try_into().ok().map(Self)
    }

    /// Formats as 64 hexadecimal digits.
    pub fn hex(self) -> String {
        hex::encode(&self.0)
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_contains_its_id_and_is_hidden_in_debug() {
        let key = generate().unwrap();
        let text = key.text.expose();
        assert_eq!(text.len(), 3 + 12 + 1 + 64);
        assert_eq!(id_of(text), Some(key.id.as_str()));
        assert!(key.digest.matches(&Digest::of(text)));
        let secret = text.rsplit('_').next().unwrap();
        assert!(!format!("{key:?}").contains(secret));
        assert_ne!(generate().unwrap().text, key.text);
    }

    #[test]
    fn a_digest_equals_sha256sum_and_parses_from_hex() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of("abc").hex(), expected);
        let read = Digest::parse(expected).unwrap();
        assert!(read.matches(&Digest::of("abc")));
        assert!(!read.matches(&Digest::of("abd")));
        let short = &expected[1..];
        for wrong in ["", "ba", short, &format!("{short}x"), &format!("{short}é")] {
            assert!(Digest::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn other_texts_have_no_key_id() {
        for text in [
            "",
            "dg_",
            "dg_0123456789ab",
            "dg_0123456789AB_00",
            "dg_0123456789a_00",
            "sk-0123456789ab_00",
            "eyJ.a.b",
        ] {
            assert_eq!(id_of(text), None, "{text}");
        }
        assert_eq!(id_of("dg_0123456789ab_"), Some("0123456789ab"));
    }
}
