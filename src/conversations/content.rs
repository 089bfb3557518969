//! Messages as bytes: MessagePack with the names of fields, so that a replica of the next version
//! can add one. Media that were sent as bytes are separate, by their digest.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use crate::chat::call::Tenant;
use crate::chat::data_uri;
use crate::chat::estimate;
use crate::chat::media::{Medium, Source, VideoSource};
use crate::chat::message::{Body, Turn};
use crate::error::Error;
use crate::hex;
use crate::store::Store;
use crate::store::turn::{Digest, StoredContent};

use super::errors::damaged;

/// The scheme of references to stored media. Callers cannot send it.
const SCHEME: &str = "sha256:";

/// The messages as they are stored.
pub(super) fn encode(messages: &[Turn]) -> Result<StoredContent, Error> {
    let mut messages = messages.to_vec();
    let tokens = estimate::input_tokens(&messages);
    let mut media = Vec::new();
    for medium in media_of(&mut messages) {
        let Source::Inline(bytes) = &medium.source else {
            continue;
        };
        let digest = sha256(bytes);
        let reference = reference(&digest);
        media.push((digest, bytes.clone()));
        medium.source = Source::Uri(reference);
    }
    let media_bytes = media.iter().map(|(_, bytes)| bytes.len()).sum();
    media.sort_by_key(|(digest, _)| *digest);
    media.dedup_by_key(|(digest, _)| *digest);
    let bytes = rmp_serde::to_vec_named(&messages).map_err(damaged)?;
    Ok(StoredContent {
        bytes,
        media,
        media_bytes,
        tokens: i64::try_from(tokens).unwrap_or(i64::MAX / 4),
    })
}

/// Stored messages, with references to media.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Turn>, Error> {
    match bytes {
        [] => Ok(Vec::new()),
        bytes => rmp_serde::from_slice(bytes).map_err(damaged),
    }
}

/// Media that were read, by their digest.
pub(super) type Loaded = HashMap<Digest, Bytes>;

/// Replaces references by the media. Each is read once, however often it is referred to.
pub(super) async fn load_media(
    store: &Store,
    tenant: &Tenant,
    messages: &mut [Turn],
    loaded: &mut Loaded,
) -> Result<(), Error> {
    for medium in media_of(messages) {
        let Some(digest) = digest_of(medium) else {
            continue;
        };
        let content = match loaded.get(&digest) {
            Some(content) => content.clone(),
            None => {
                let content = store.medium(tenant, &digest).await?;
                let content = content.ok_or_else(|| damaged("a medium is missing"))?;
                loaded.insert(digest, content.clone());
                content
            }
        };
        medium.source = Source::Inline(content);
    }
    Ok(())
}

/// Replaces references by empty media.
pub(super) fn without_media(messages: &mut [Turn]) {
    for medium in media_of(messages) {
        if digest_of(medium).is_some() {
            medium.source = Source::Inline(Bytes::new());
        }
    }
}

/// The bytes of media in messages that are not stored yet, `data:` URIs included.
pub(super) fn media_bytes(messages: &[Turn]) -> usize {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let media = parts.flat_map(|part| part.body.media());
    let bytes = media.map(|medium| match &medium.source {
        Source::Inline(bytes) => bytes.len(),
        Source::Uri(uri) if data_uri::has_scheme(uri) => uri.len(),
        Source::Uri(_) => 0,
    });
    bytes.sum()
}

/// The media items of messages.
fn media_of(messages: &mut [Turn]) -> impl Iterator<Item = &mut Medium> {
    let parts = messages.iter_mut().flat_map(|message| &mut message.parts);
    parts.flat_map(|part| {
        let (one, frames) = match &mut part.body {
            Body::Audio(audio) => (audio.medium.as_mut(), [].as_mut_slice()),
            Body::Image(image) => (Some(&mut image.medium), [].as_mut_slice()),
            Body::Video(video) => match &mut video.source {
                VideoSource::File(medium) => (Some(medium), [].as_mut_slice()),
                VideoSource::Frames(frames) => (None, frames.as_mut_slice()),
            },
            Body::Text(_) | Body::Other => (None, [].as_mut_slice()),
        };
        one.into_iter().chain(frames)
    })
}

fn sha256(bytes: &[u8]) -> Digest {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().try_into().unwrap_or_default()
}

fn reference(digest: &Digest) -> String {
    format!("{SCHEME}{}", hex::encode(digest))
}

fn digest_of(medium: &Medium) -> Option<Digest> {
    let Source::Uri(uri) = &medium.source else {
        return None;
    };
    hex::decode(uri.strip_prefix(SCHEME)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::media::Audio;
    use crate::chat::message::Role;

    fn message(source: Source) -> Turn {
        let mut message = Turn::new(Role::User);
        let medium = Medium {
            mime_type: "audio/wav".to_owned(),
            source,
        };
        let audio = Audio {
            medium: Some(medium),
            file: None,
        };
        message.parts.push(Body::Audio(audio).into());
        message.parts.push(Body::Text("what?".to_owned()).into());
        message
    }

    #[test]
    fn inline_media_are_stored_once_by_digest_and_uris_are_kept() {
        let inline = message(Source::Inline(Bytes::from_static(b"RIFF canary")));
        let uri = message(Source::Uri("oss://bucket/a.wav".to_owned()));
        let stored = encode(&[inline.clone(), uri.clone(), inline.clone()]).unwrap();
        assert_eq!(stored.media.len(), 1);
        assert_eq!(stored.media_bytes, 22);
        assert!(!stored.bytes.windows(6).any(|window| window == b"canary"));
        let mut decoded = decode(&stored.bytes).unwrap();
        assert_eq!(decoded[1], uri);
        let media: Vec<_> = media_of(&mut decoded)
            .filter_map(|m| digest_of(m))
            .collect();
        assert_eq!(media, [stored.media[0].0; 2]);
        without_media(&mut decoded);
        assert_eq!(decoded[0], message(Source::Inline(Bytes::new())));
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn a_uri_that_is_no_reference_is_not_taken_for_one() {
        for uri in [
            "sha256:",
            "sha256:00",
            "https://x.test/sha256:00",
            "sha256:é",
        ] {
            let mut messages = [message(Source::Uri(uri.to_owned()))];
            assert!(media_of(&mut messages).all(|medium| digest_of(medium).is_none()));
        }
    }
}
