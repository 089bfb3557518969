//! What a played gateway was asked: the request's messages and metadata.

use std::collections::BTreeMap;

use dashgate::grpc::pb::UploadMediaRequest;
use dashgate::grpc::pb::upload_media_request::Payload;
use http::HeaderMap;
use prost::Message as _;
use serde_json::{Value, json};

use super::notation;

/// What the body of a request holds: its first message, and for an upload the size of the rest.
pub(crate) fn asked(method: &str, body: &[u8]) -> Value {
    let mut rest = body;
    let mut messages = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let [flag, size @ ..] = *head;
        let size = u32::from_be_bytes(size) as usize;
        let Some((message, after)) = after.split_at_checked(size) else {
            return json!({"fault": "the request is cut short"});
        };
        if flag != 0 {
            return json!({"fault": "the request is compressed"});
        }
        messages.push(message);
        rest = after;
    }
    let first = messages.first().copied().unwrap_or_default();
    let message = match notation::decode(&format!("{method}Request"), first) {
        Ok(message) => message,
        Err(why) => return json!({"fault": why}),
    };
    let size = |message: &&[u8]| match UploadMediaRequest::decode(*message).ok()?.payload? {
        Payload::Chunk(chunk) => Some(chunk.len()),
        Payload::Description(_) => None,
    };
    let chunks = messages.iter().skip(1).filter_map(size);
    json!({
        "message": message,
        "chunks": {
            "count": chunks.clone().count(),
            "largest": chunks.clone().max().unwrap_or_default(),
            "bytes": chunks.sum::<usize>(),
        },
    })
}

/// Each name with its values, joined as HTTP joins them.
pub(crate) fn metadata(headers: &HeaderMap) -> Value {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let there = joined.entry(name.to_string()).or_default();
        if !there.is_empty() {
            there.push_str(", ");
        }
        there.push_str(&value);
    }
    json!(joined)
}
