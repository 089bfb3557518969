//! What a call used. Every model counts other things, and what this version does not know is kept.

use super::json::Read;
use super::json_fields;
use super::json_tree;
use crate::chat::document::{Document, Object, Real};
use crate::chat::usage::{PluginUsage, SearchUsage, TokensDetails, Usage};
use crate::chat::warning::Warning;

/// Whether two usages have the same keys, and no number of the second is less than in the first. So
/// it is with nearly all, which need not be read therefore. Not sure of all that are so.
pub(super) fn only_grew(before: &str, after: &str) -> bool {
    let grew = |before: &[u8], after: &[u8]| (before.len(), before) < (after.len(), after);
    alike(before.as_bytes(), after.as_bytes(), grew) == Some(after.len())
}

/// The length of what at the start of `after` differs from `before` only in whole numbers behind a
/// colon, in a way that is accepted. As bytes: this is done for each event.
pub(super) fn alike(
    before: &[u8],
    after: &[u8],
    accepts: impl Fn(&[u8], &[u8]) -> bool,
) -> Option<usize> {
    let (mut left, mut rest) = (before, after);
    loop {
        let same = common_prefix(left, rest);
        let head = left.get(..same)?;
        if same == left.len() {
            return Some(after.len() - rest.len() + same);
        }
        let start = head.iter().rposition(|byte| !byte.is_ascii_digit());
        let start = start.map_or(0, |last| last + 1);
        let (number, after_number) = digits(left.get(start..)?);
        let (other, after_other) = digits(rest.get(start..)?);
        let key = head.get(..start)?.trim_ascii_end();
        // Behind a key, not in a text. In a text its quote would have a backslash.
        let is_whole = key.ends_with(b"\":") && !key.ends_with(b"\\\":");
        if !is_whole || number.is_empty() || other.is_empty() || !accepts(number, other) {
            return None;
        }
        (left, rest) = (after_number, after_other);
    }
}

/// How many bytes are the same at the start of both.
fn common_prefix(one: &[u8], two: &[u8]) -> usize {
    let (words, _) = one.as_chunks::<8>();
    let (others, _) = two.as_chunks::<8>();
    let same = words.iter().zip(others).take_while(|(a, b)| a == b);
    let start = same.count() * 8;
    let tail = |bytes| <[u8]>::get(bytes, start..).unwrap_or_default().iter();
    start + tail(one).zip(tail(two)).take_while(|(a, b)| a == b).count()
}

/// The digits at the start, and what stands behind them.
fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    bytes
        .split_at_checked(end.unwrap_or(bytes.len()))
        .unwrap_or((bytes, &[]))
}

/// Reads what a usage counts, with warnings of what is odd in it.
pub(super) fn counts(json: &str) -> Option<(Object, Vec<Warning>)> {
    let (document, warnings) = match serde_json::from_str(json) {
        Ok(Read(document)) => (document, Vec::new()),
        Err(_) => json_tree::document(json)?,
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
    json_fields::number(number).ok().map(Real)
}

fn count(raw: &Object, key: &str) -> Option<i32> {
    json_fields::whole(raw.value(key)?).and_then(|count| i32::try_from(count).ok())
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

#[cfg(test)]
mod tests {
    use super::only_grew;

    #[test]
    fn only_whole_numbers_behind_a_key_may_grow() {
        for (before, after, grew) in [
            (r#"{"a":1}"#, r#"{"a":1}"#, true),
            (r#"{"a":9,"b":{"c": 7}}"#, r#"{"a":10,"b":{"c": 70}}"#, true),
            (r#"{"a":2}"#, r#"{"a":1}"#, false),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false),
            (r#"{"a":-1}"#, r#"{"a":-2}"#, false),
            (r#"{"a":1.5}"#, r#"{"a":1.6}"#, false),
            (r#"{"a":"x:2"}"#, r#"{"a":"x:3"}"#, false),
            (r#"{"k:0":1}"#, r#"{"k:1":1}"#, false),
            (r#"{"a":"\":2"}"#, r#"{"a":"\":3"}"#, false),
        ] {
            assert_eq!(only_grew(before, after), grew, "{before} {after}");
        }
    }
}
