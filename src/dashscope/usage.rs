//! Decodes the usage of a call. Models report different counts; unknown ones are kept.

use std::num::TryFromIntError;

use serde::Deserialize;

use super::json::FIRST_UNSURE;
use super::json::Read;
use super::json_fields::{self, Fields};
use super::json_tree;
use crate::chat::document::{Document, Object, Real};
use crate::chat::usage::{PluginUsage, SearchUsage, TokensDetails, Usage};
use crate::chat::warning::Warning;

/// Whether two usages have the same keys, and no number decreased. Nearly all do and need not be
/// parsed. May return false for some that do.
pub(super) fn only_grew(before: &str, after: &str) -> bool {
    let grew = |before: &[u8], after: &[u8]| (before.len(), before) < (after.len(), after);
    alike(before.as_bytes(), after.as_bytes(), grew) == Some(after.len())
}

/// The length of the prefix of `after` that differs from `before` only in integers after a colon,
/// in an accepted way. On bytes, because it runs for each event.
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
        // After a key, not inside a string, where its quote would be escaped.
        let is_whole = key.ends_with(b"\":") && !key.ends_with(b"\\\":");
        if !is_whole || number.is_empty() || other.is_empty() || !accepts(number, other) {
            return None;
        }
        (left, rest) = (after_number, after_other);
    }
}

/// The length of the common prefix.
fn common_prefix(one: &[u8], two: &[u8]) -> usize {
    let (words, _) = one.as_chunks::<8>();
    let (others, _) = two.as_chunks::<8>();
    let same = words.iter().zip(others).take_while(|(a, b)| a == b);
    let start = same.count() * 8;
    let tail = |bytes| <[u8]>::get(bytes, start..).unwrap_or_default().iter();
    start + tail(one).zip(tail(two)).take_while(|(a, b)| a == b).count()
}

/// The leading digits, and the rest.
fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    bytes
        .split_at_checked(end.unwrap_or(bytes.len()))
        .unwrap_or((bytes, &[]))
}

/// Decodes the usage in a JSON object, with warnings about anomalies.
pub(super) fn read(json: &str) -> Option<(Usage, Vec<Warning>)> {
    if json.is_empty() {
        return None;
    }
    // Nearly all have only known keys with valid values, and need no tree.
    if let Ok(known) = serde_json::from_str::<KnownUsage>(json) {
        return Some((known.into(), Vec::new()));
    }
    let (object, warnings) = counts(json)?;
    Some((usage(object), warnings))
}

/// The keys of a usage, with warnings about anomalies.
pub(super) fn counts(json: &str) -> Option<(Object, Vec<Warning>)> {
    let (document, warnings) = match serde_json::from_str(json) {
        Ok(Read(document)) => (document, Vec::new()),
        Err(_) => json_tree::any_document(json)?,
    };
    let Document::Object(object) = document else {
        return None;
    };
    Some((object, warnings))
}

/// Converts an object to a usage. A value that does not fit its field stays in `extra`.
pub(super) fn usage(object: Object) -> Usage {
    let mut fields = Fields::from(with_native_names(object));
    let usage = Usage::take(&mut fields);
    Usage {
        extra: fields.rest(),
        ..usage
    }
}

/// OpenAI's names of counts, and DashScope's.
const NAMES: [(&str, &str); 4] = [
    ("prompt_tokens", "input_tokens"),
    ("completion_tokens", "output_tokens"),
    ("prompt_tokens_details", "input_tokens_details"),
    ("completion_tokens_details", "output_tokens_details"),
];

/// The counts under DashScope's names. `prompt_tokens_details` alone is one of DashScope's own.
fn with_native_names(mut object: Object) -> Object {
    let has = |object: &Object, name: &str| object.0.iter().any(|(key, _)| key == name);
    let is_openai = ["prompt_tokens", "completion_tokens"];
    if !is_openai.iter().any(|name| has(&object, name)) {
        return object;
    }
    for (name, native) in NAMES {
        if has(&object, native) {
            continue;
        }
        let found = object.0.iter_mut().find(|(key, _)| key == name);
        if let Some((key, _)) = found {
            native.clone_into(key);
        }
    }
    object
}

/// The known keys of an object: decoded by serde if there are no others and all values fit, and
/// taken from an object otherwise.
macro_rules! known {
    ($type:ident as $known:ident {
        $($field:ident: $value:ty = $take:expr,)+
    } $(rest $rest:ident)?) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $known {
            $($field: Option<$value>,)+
        }

        impl From<$known> for $type {
            fn from(known: $known) -> Self {
                Self {
                    $($field: known.$field.map(Into::into),)+
                    $($rest: Object::default(),)?
                }
            }
        }

        impl $type {
            fn take(fields: &mut Fields) -> Self {
                Self {
                    $($field: $take(fields, stringify!($field)),)+
                    $($rest: Object::default(),)?
                }
            }
        }
    };
}

known!(Usage as KnownUsage {
    input_tokens: Count = count,
    output_tokens: Count = count,
    total_tokens: Count = count,
    audio_tokens: Count = count,
    image_tokens: Count = count,
    video_tokens: Count = count,
    cached_tokens: Count = count,
    cache_creation_input_tokens: Count = count,
    cache_type: String = text,
    input_tokens_details: KnownDetails = details,
    output_tokens_details: KnownDetails = details,
    prompt_tokens_details: KnownDetails = details,
    seconds: Seconds = seconds,
    characters: Count = count,
    image_count: Count = count,
    width: Count = count,
    height: Count = count,
    plugins: KnownPlugins = plugins,
} rest extra);

known!(TokensDetails as KnownDetails {
    text_tokens: Count = count,
    audio_tokens: Count = count,
    image_tokens: Count = count,
    video_tokens: Count = count,
    reasoning_tokens: Count = count,
    cached_tokens: Count = count,
    cache_creation_input_tokens: Count = count,
    cache_type: String = text,
});

known!(PluginUsage as KnownPlugins {
    search: KnownSearch = search,
});

known!(SearchUsage as KnownSearch {
    count: Count = count,
    strategy: String = text,
});

/// A count, from 0 to the maximum of its field.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
struct Count(i32);

impl TryFrom<u32> for Count {
    type Error = TryFromIntError;

    fn try_from(count: u32) -> Result<Self, TryFromIntError> {
        i32::try_from(count).map(Self)
    }
}

impl From<Count> for i32 {
    fn from(Count(count): Count) -> Self {
        count
    }
}

/// A duration that a double holds exactly.
#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct Seconds(Real);

impl TryFrom<f64> for Seconds {
    type Error = &'static str;

    fn try_from(seconds: f64) -> Result<Self, &'static str> {
        match seconds.abs() < FIRST_UNSURE {
            true => Ok(Self(Real(seconds))),
            false => Err("a number may have been rounded"),
        }
    }
}

impl From<Seconds> for Real {
    fn from(Seconds(seconds): Seconds) -> Self {
        seconds
    }
}

fn count(fields: &mut Fields, key: &str) -> Option<i32> {
    fields.with(key, |document| {
        let count = json_fields::whole(&document).and_then(|count| i32::try_from(count).ok());
        count.filter(|count| *count >= 0).ok_or(document)
    })
}

fn seconds(fields: &mut Fields, key: &str) -> Option<Real> {
    fields.with(key, |document| {
        let seconds = json_fields::number(document.clone()).ok();
        let seconds = seconds.and_then(|seconds| Seconds::try_from(seconds).ok());
        seconds.map(Real::from).ok_or(document)
    })
}

fn text(fields: &mut Fields, key: &str) -> Option<String> {
    fields.with(key, |document| {
        if let Document::String(text) = document {
            return Ok(text);
        }
        Err(document)
    })
}

fn details(fields: &mut Fields, key: &str) -> Option<TokensDetails> {
    nested(fields, key, TokensDetails::take)
}

fn plugins(fields: &mut Fields, key: &str) -> Option<PluginUsage> {
    nested(fields, key, PluginUsage::take)
}

fn search(fields: &mut Fields, key: &str) -> Option<SearchUsage> {
    nested(fields, key, SearchUsage::take)
}

/// Takes the known keys of a nested object. The others stay in it.
fn nested<T>(fields: &mut Fields, key: &str, take: fn(&mut Fields) -> T) -> Option<T> {
    let mut inner = fields.with(key, Fields::of)?;
    let taken = take(&mut inner);
    let rest = inner.rest();
    if !rest.is_empty()
        && let Some(slot) = fields.slot(key)
    {
        *slot = Document::Object(rest);
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::json::Written;
    use super::*;

    /// Counts whose JSON is as documented are decoded without a tree, with the same result.
    #[test]
    fn both_readers_agree() {
        for json in [
            json!({"input_tokens": 1, "cache_type": "ephemeral", "seconds": 2, "width": 0,
                "input_tokens_details": {"text_tokens": 3, "cache_type": "c"},
                "prompt_tokens_details": {}, "plugins": {"search": {"count": 4}}}),
            json!({"seconds": 1.25, "plugins": {}, "total_tokens": null}),
            json!({"output_tokens": 2_147_483_647, "plugins": {"search": {"strategy": "pro"}}}),
            json!({}),
        ] {
            let json = json.to_string();
            let known: KnownUsage = serde_json::from_str(&json).unwrap();
            let (object, _) = counts(&json).unwrap();
            assert_eq!(Usage::from(known), usage(object), "{json}");
        }
    }

    #[test]
    fn extra_has_what_no_field_holds_and_nothing_else() {
        for (json, extra) in [
            (
                r#"{"input_tokens":1,"plugins":{"search":{"count":2}}}"#,
                json!({}),
            ),
            (r#"{"input_tokens":1.0,"total_tokens":"7"}"#, json!({})),
            (r#"{"moons":[1],"input_tokens":1}"#, json!({"moons": [1]})),
            (r#"{"moons":null}"#, json!({})),
            (r#"{"input_tokens":-1}"#, json!({"input_tokens": -1})),
            (r#"{"input_tokens":0.5}"#, json!({"input_tokens": 0.5})),
            (
                r#"{"input_tokens":2147483648}"#,
                json!({"input_tokens": 2_147_483_648_u32}),
            ),
            (
                r#"{"input_tokens":18446744073709551616}"#,
                json!({"input_tokens": "18446744073709551616"}),
            ),
            (
                r#"{"seconds":9007199254740993}"#,
                json!({"seconds": "9007199254740993"}),
            ),
            (r#"{"seconds":"long"}"#, json!({"seconds": "long"})),
            (r#"{"cache_type":{"a":1}}"#, json!({"cache_type": {"a": 1}})),
            (
                r#"{"input_tokens_details":[1]}"#,
                json!({"input_tokens_details": [1]}),
            ),
            (
                r#"{"input_tokens_details":{"text_tokens":1,"moons":2,"audio_tokens":-3}}"#,
                json!({"input_tokens_details": {"moons": 2, "audio_tokens": -3}}),
            ),
            (
                r#"{"plugins":{"search":{"count":1,"kind":"k"},"map":{"count":1}}}"#,
                json!({"plugins": {"search": {"kind": "k"}, "map": {"count": 1}}}),
            ),
        ] {
            let (usage, warnings) = read(json).unwrap();
            let rest = Document::Object(usage.extra);
            let rest: Value = serde_json::to_value(Written(&rest)).unwrap();
            assert_eq!((rest, warnings.len()), (extra, 0), "{json}");
        }
    }

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
