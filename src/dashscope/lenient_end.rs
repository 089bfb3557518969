//! The sign of an end that is not as documented: a finish reason that is no text, or has another
//! key. It ends an answer only if HTTP proves that the body is whole.

use super::answer_json::{Choice, Output};
use super::json_text::Text;
use crate::chat::document::{Document, Object};

/// The key of the finish reason.
const FINISH_REASON: &str = "finish_reason";

/// What other keys of it have in their names.
const NAMES: [&str; 3] = ["finish", "stop_reason", "end_reason"];

/// The finish reasons that are documented: another key that has one is its key.
const REASONS: [&str; 3] = ["stop", "length", "tool_calls"];

/// How an event said that an answer ended.
#[derive(Debug)]
pub(super) struct OddEnd {
    /// The key that says it.
    pub(super) key: String,
    /// Whether its event has no text though there was some.
    pub(super) is_empty: bool,
}

impl OddEnd {
    /// In a choice, if its finish reason does not say it.
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

/// Moves an odd finish reason of an answer without choices to where that of a choice is.
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
