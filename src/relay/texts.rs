//! The texts in values that no typed field covers.

use crate::chat::document::{Document, Object};

/// How deep values are searched. Requests are never nested deeper.
const MAX_DEPTH: usize = 100;

/// Whether every text in an object passes. One that is nested too deeply does not.
pub(super) fn all_texts(object: &Object, passes: &impl Fn(&str) -> bool) -> bool {
    let mut values = object.0.iter().map(|(_, value)| value);
    values.all(|value| value_passes(value, MAX_DEPTH, passes))
}

fn value_passes(value: &Document, depth: usize, passes: &impl Fn(&str) -> bool) -> bool {
    let Some(left) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Document::String(text) => passes(text),
        Document::List(list) => list.iter().all(|value| value_passes(value, left, passes)),
        Document::Object(object) => {
            let mut values = object.0.iter().map(|(_, value)| value);
            values.all(|value| value_passes(value, left, passes))
        }
        Document::Null | Document::Bool(_) | Document::Number(_) => true,
    }
}
