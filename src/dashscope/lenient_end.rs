//! Detects an undocumented end: a finish reason that is not a string, or has another key. It ends
//! an answer only if HTTP framing proves that the body is complete.

use super::answer_json::{Choice, Output};
use super::json_text::Text;
use crate::chat::document::{Document, Object};

/// The key of the finish reason.
const FINISH_REASON: &str = "finish_reason";

/// Substrings of other keys of the finish reason.
const NAMES: [&str; 3] = ["finish", "stop_reason", "end_reason"];

/// The documented finish reasons: another key with one of these values is a finish reason.
const REASONS: [&str; 3] = ["stop", "length", "tool_calls"];

/// How an event reported the end of a choice.
#[derive(Debug)]
pub(super) struct UndocumentedEnd {
    /// The key of the finish reason.
    pub(super) key: String,
    /// Whether its event has no text although text was received.
    pub(super) is_empty: bool,
}

impl UndocumentedEnd {
    /// The end reported by a choice outside of its finish reason.
    pub(super) fn of(choice: &Choice<'_>) -> Option<Self> {
        if !Text::or_empty(&choice.finish_reason).is_empty() {
            return None;
        }
        let key = key(&choice.extra)?.to_owned();
        Some(Self {
            key,
            is_empty: false,
        })
    }
}

/// Moves an undocumented finish reason of an answer without choices to where that of a choice is.
pub(super) fn take(output: &mut Output<'_>) -> Object {
    let Some(key) = key(&output.extra).filter(|_| output.finish_reason.is_none()) else {
        return Object::default();
    };
    let key = key.to_owned();
    let extra = std::mem::take(&mut output.extra).0.into_iter();
    let (moved, kept) = extra.partition(|(name, _)| *name == key);
    output.extra = Object(kept);
    Object(moved)
}

fn key(extra: &Object) -> Option<&str> {
    let ends = |(key, value): &&(String, Document)| {
        let is_named = NAMES.iter().any(|name| key.contains(name));
        match value {
            Document::String(text) if REASONS.contains(&text.as_str()) => true,
            Document::String(text) => is_named && !matches!(text.as_str(), "" | "null"),
            Document::Bool(ended) => is_named && *ended,
            Document::List(items) => key == FINISH_REASON && !items.is_empty(),
            Document::Object(object) => key == FINISH_REASON && !object.is_empty(),
            Document::Number(_) | Document::Null => false,
        }
    };
    extra.0.iter().find(ends).map(|(key, _)| key.as_str())
}
