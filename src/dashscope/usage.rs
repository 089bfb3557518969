//! What a call used. Every model counts other things, and what this version does not know is kept.

use super::fields;
use super::json::Read;
use super::tree;
use crate::chat::document::{Document, Object, Real};
use crate::chat::usage::{PluginUsage, SearchUsage, TokensDetails, Usage};
use crate::chat::warning::Warning;

/// Whether two usages have the same keys, and no number of the second is less than in the first. So
/// it is with nearly all, which need not be read therefore. Not sure of all that are so.
pub(super) fn only_grew(before: &str, after: &str) -> bool {
    // As bytes: this is done for each event.
    let (mut before, mut after) = (before.as_bytes(), after.as_bytes());
    while !before.is_empty() || !after.is_empty() {
        let (keys, rest) = split(before, |byte| byte.is_ascii_digit());
        let (other_keys, other_rest) = split(after, |byte| byte.is_ascii_digit());
        let (number, rest) = split(rest, |byte| !byte.is_ascii_digit());
        let (other, other_rest) = split(other_rest, |byte| !byte.is_ascii_digit());
        let grew = (number.len(), number) < (other.len(), other);
        let is_whole = keys.trim_ascii_end().ends_with(b":");
        if keys != other_keys || number != other && !(grew && is_whole) {
            return false;
        }
        (before, after) = (rest, other_rest);
    }
    true
}

fn split(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| is_end(*byte));
    bytes
        .split_at_checked(end.unwrap_or(bytes.len()))
        .unwrap_or((bytes, &[]))
}

/// Reads what a usage counts, with warnings of what is odd in it.
pub(super) fn counts(json: &str) -> Option<(Object, Vec<Warning>)> {
    let (document, warnings) = match serde_json::from_str(json) {
        Ok(Read(document)) => (document, Vec::new()),
        Err(_) => tree::document(json)?,
    };
    let Document::Object(raw) = document else {
        return None;
    };
    Some((raw, warnings))
}

/// What was used. An odd count costs no answer: what cannot be read is only in `raw`.
pub(super) fn usage(raw: Object) -> Usage {
    let mut usage = Usage {
        input_tokens: count(&raw, "input_tokens"),
        output_tokens: count(&raw, "output_tokens"),
        total_tokens: count(&raw, "total_tokens"),
        audio_tokens: count(&raw, "audio_tokens"),
        image_tokens: count(&raw, "image_tokens"),
        video_tokens: count(&raw, "video_tokens"),
        cached_tokens: count(&raw, "cached_tokens"),
        cache_creation_input_tokens: count(&raw, "cache_creation_input_tokens"),
        cache_type: text(&raw, "cache_type"),
        input_tokens_details: details(&raw, "input_tokens_details"),
        output_tokens_details: details(&raw, "output_tokens_details"),
        prompt_tokens_details: details(&raw, "prompt_tokens_details"),
        seconds: number(&raw, "seconds"),
        characters: count(&raw, "characters"),
        image_count: count(&raw, "image_count"),
        width: count(&raw, "width"),
        height: count(&raw, "height"),
        plugins: object(&raw, "plugins").map(plugins),
        raw: Object::default(),
    };
    usage.raw = raw;
    usage
}

fn details(raw: &Object, key: &str) -> Option<TokensDetails> {
    let raw = object(raw, key)?;
    Some(TokensDetails {
        text_tokens: count(raw, "text_tokens"),
        audio_tokens: count(raw, "audio_tokens"),
        image_tokens: count(raw, "image_tokens"),
        video_tokens: count(raw, "video_tokens"),
        reasoning_tokens: count(raw, "reasoning_tokens"),
        cached_tokens: count(raw, "cached_tokens"),
        cache_creation_input_tokens: count(raw, "cache_creation_input_tokens"),
        cache_type: text(raw, "cache_type"),
    })
}

fn plugins(raw: &Object) -> PluginUsage {
    let search = object(raw, "search").map(|raw| SearchUsage {
        count: count(raw, "count"),
        strategy: text(raw, "strategy"),
    });
    PluginUsage { search }
}

fn object<'a>(raw: &'a Object, key: &str) -> Option<&'a Object> {
    match raw.value(key)? {
        Document::Object(object) => Some(object),
        Document::Null
        | Document::Bool(_)
        | Document::Number(_)
        | Document::String(_)
        | Document::List(_) => None,
    }
}

fn number(raw: &Object, key: &str) -> Option<Real> {
    let number = raw.value(key)?.clone();
    fields::number(number).ok().map(Real)
}

fn count(raw: &Object, key: &str) -> Option<i32> {
    fields::whole(raw.value(key)?).and_then(|count| i32::try_from(count).ok())
}

fn text(raw: &Object, key: &str) -> Option<String> {
    match raw.value(key)? {
        Document::String(text) => Some(text.clone()),
        Document::Null
        | Document::Bool(_)
        | Document::Number(_)
        | Document::List(_)
        | Document::Object(_) => None,
    }
}
