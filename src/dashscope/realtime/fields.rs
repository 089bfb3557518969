//! Reads the keys of events, with the conversions that DashScope's variants need.

use std::time::Duration;

use crate::chat::document::{Document, Object};
use crate::dashscope::json::Written;
use crate::dashscope::json_fields::{self, Fields};
use crate::dashscope::json_text::Text;
use crate::dashscope::json_tree;

/// The latest position in audio that is reported: 49 days, far beyond any session.
const MAX_POSITION_MS: f64 = u32::MAX as f64;

/// The longest id or name that is passed on, in bytes. Events repeat them.
pub(super) const MAX_SHORT: usize = 512;

/// The object that a frame is.
pub(super) fn object(json: &str) -> Option<Object> {
    let read = json_tree::any_document(json);
    match read {
        Some((Document::Object(object), _)) => Some(object),
        Some(_) | None => None,
    }
}

/// A string, or a number as a string; empty if absent.
pub(super) fn text(fields: &mut Fields, key: &str) -> String {
    let text = fields.text(key);
    text.map_or_else(String::new, |Text(text)| text.into_owned())
}

/// An id, a name or a code: as [`text`], and no longer than any that DashScope sends.
pub(super) fn short(fields: &mut Fields, key: &str) -> String {
    let mut text = text(fields, key);
    shorten(&mut text);
    text
}

/// Ends a text after [`MAX_SHORT`] bytes.
pub(super) fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_SHORT));
}

/// A string, or any other value as its JSON; empty if absent.
pub(super) fn text_or_json(fields: &mut Fields, key: &str) -> String {
    match fields.take(key) {
        None => String::new(),
        Some(Document::String(text)) => text,
        Some(other) => serde_json::to_string(&Written(&other)).unwrap_or_default(),
    }
}

/// A nested object; empty if absent.
pub(super) fn nested(fields: &mut Fields, key: &str) -> Fields {
    let inner = fields.with(key, Fields::of);
    inner.unwrap_or_else(|| Fields::from(Object::default()))
}

/// A position in audio, from milliseconds.
pub(super) fn position(fields: &mut Fields, key: &str) -> Duration {
    let ms = fields.with(key, json_fields::number).unwrap_or_default();
    Duration::from_secs_f64(ms.clamp(0.0, MAX_POSITION_MS) / 1000.0)
}

/// The value at a path of nested objects.
pub(super) fn at<'o>(object: &'o Object, path: &[&str]) -> Option<&'o Document> {
    let (key, rest) = path.split_first()?;
    let value = object.value(key)?;
    if rest.is_empty() {
        return Some(value);
    }
    match value {
        Document::Object(inner) => at(inner, rest),
        Document::Null
        | Document::Bool(_)
        | Document::Number(_)
        | Document::String(_)
        | Document::List(_) => None,
    }
}

/// The string at a path.
pub(super) fn text_at<'o>(object: &'o Object, path: &[&str]) -> Option<&'o str> {
    match at(object, path) {
        Some(Document::String(text)) => Some(text),
        Some(_) | None => None,
    }
}
