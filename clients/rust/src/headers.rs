//! The metadata of a response, as texts.

use std::collections::BTreeMap;

use tonic::metadata::{KeyAndValueRef, MetadataMap};

/// The metadata of a response: names in lower case, and their values. Several values of one name
/// are separated by `, `.
pub type Headers = BTreeMap<String, String>;

/// What belongs to the protocol, and not to the call.
const PROTOCOL: [&str; 5] = [
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
];

/// Returns the texts of metadata; binary values are left out.
pub(crate) fn texts(metadata: &MetadataMap) -> Headers {
    let mut headers = Headers::new();
    add(&mut headers, metadata);
    headers
}

/// Adds metadata; values of names that are present already are appended unless they are equal.
pub(crate) fn add(headers: &mut Headers, metadata: &MetadataMap) {
    for entry in metadata.iter() {
        let KeyAndValueRef::Ascii(name, value) = entry else {
            continue;
        };
        let Ok(value) = value.to_str() else {
            continue;
        };
        if PROTOCOL.contains(&name.as_str()) {
            continue;
        }
        match headers.get_mut(name.as_str()) {
            None => {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
            Some(present) if present.split(", ").any(|one| one == value) => {}
            Some(present) => {
                present.push_str(", ");
                present.push_str(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    #[test]
    fn texts_are_joined_and_bytes_left_out() {
        let mut metadata = MetadataMap::new();
        metadata.append("x-a", "1".parse().unwrap());
        metadata.append("x-a", "2".parse().unwrap());
        metadata.append("grpc-status", "0".parse().unwrap());
        metadata.append_bin("x-b-bin", MetadataValue::from_bytes(b"b"));
        let headers = texts(&metadata);
        assert_eq!(headers.get("x-a").map(String::as_str), Some("1, 2"));
        assert_eq!(headers.len(), 1);
    }
}
