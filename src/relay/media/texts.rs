//! Searches the texts in unknown keys.

use crate::chat::document::{Document, Object};

/// The maximum depth of the search. Requests are never nested deeper.
const MAX_DEPTH: usize = 100;

/// Whether every text in an object passes. One that is nested too deeply does not.
pub(super) fn all_texts(object: &Object, passes: &impl Fn(&str) -> bool) -> bool {
    let mut values = object.0.iter().map(|(_, value)| value);
    values.all(|value| value_passes(value, MAX_DEPTH, passes))
}

/// The paths of matching texts, up to a maximum, below the path of the object.
pub(super) fn paths_of<'a>(
    object: &'a Object,
    path: &str,
    most: usize,
    is_wanted: &impl Fn(&str) -> bool,
) -> Vec<(String, &'a str)> {
    let mut found = Vec::new();
    for (key, value) in &object.0 {
        collect(value, (path, key), MAX_DEPTH, most, is_wanted, &mut found);
    }
    found
}

fn collect<'a>(
    value: &'a Document,
    (path, key): (&str, &str),
    depth: usize,
    most: usize,
    is_wanted: &impl Fn(&str) -> bool,
    found: &mut Vec<(String, &'a str)>,
) {
    let Some(left) = depth.checked_sub(1).filter(|_| found.len() < most) else {
        return;
    };
    match value {
        Document::String(text) if is_wanted(text) => found.push((format!("{path}.{key}"), text)),
        Document::List(list) => {
            for (n, value) in list.iter().enumerate() {
                let key = format!("{key}[{n}]");
                collect(value, (path, &key), left, most, is_wanted, found);
            }
        }
        Document::Object(object) => {
            let path = format!("{path}.{key}");
            for (key, value) in &object.0 {
                collect(value, (&path, key), left, most, is_wanted, found);
            }
        }
        Document::String(_) | Document::Null | Document::Bool(_) | Document::Number(_) => {}
    }
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
