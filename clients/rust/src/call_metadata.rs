//! The metadata that a caller gives to a call.

use std::fmt;
use std::ops::{Deref, DerefMut};

use tonic::metadata::{Ascii, MetadataKey, MetadataValue};

use crate::error::Error;

/// Names and values. Debug output has the names only: a value may be a key.
#[derive(Clone, Default)]
pub(crate) struct CallMetadata(Vec<(String, String)>);

impl Deref for CallMetadata {
    type Target = Vec<(String, String)>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for CallMetadata {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for CallMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

type Entry = (MetadataKey<Ascii>, MetadataValue<Ascii>);

/// A metadata entry as gRPC sends it.
pub(crate) fn entry(name: &str, value: &str) -> Result<Entry, Error> {
    let key = name.to_ascii_lowercase();
    let key = MetadataKey::from_bytes(key.as_bytes())
        .map_err(|error| Error::caused(format!("{name:?} is no name of metadata"), error))?;
    // The value may be a secret, so the error does not contain it.
    let value = value
        .parse()
        .map_err(|_| Error::of_argument(format!("the metadata {name} is not printable ASCII")))?;
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use crate::{Client, Conversation};

    #[tokio::test]
    async fn debug_shows_no_value() {
        let client = Client::builder().target("127.0.0.1:9").build().unwrap();
        let conversation = Conversation::new("m");
        let secret = ("authorization", "Bearer secret-value");
        for shown in [
            format!("{:?}", client.live("m").metadata(secret.0, secret.1)),
            format!(
                "{:?}",
                client.converse(&conversation).metadata(secret.0, secret.1)
            ),
            format!(
                "{:?}",
                client.stream(&conversation).metadata(secret.0, secret.1)
            ),
            format!(
                "{:?}",
                client.upload("m", vec![0]).metadata(secret.0, secret.1)
            ),
            format!("{:?}", client.get_model("m").metadata(secret.0, secret.1)),
        ] {
            assert!(!shown.contains("secret-value"), "{shown}");
            assert!(shown.contains("authorization"), "{shown}");
        }
    }
}
