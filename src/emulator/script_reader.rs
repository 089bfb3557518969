//! Reads a script and reports all errors in it, each with its path.
//!
//! serde stops at the first error, but the author of a script wants all of them. So each error is
//! removed from the document, which is then read again.

use std::collections::HashSet;
use std::{fmt, mem};

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::script_rule::Rule;
use super::script_values::Object;

/// The most rules, above any real script; each call is matched against all of them.
const MAX_RULES: usize = 10_000;
/// The most errors that are reported: a hostile document may hold millions.
pub(super) const MAX_ERRORS: usize = 50;

/// A whole script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    rules: Option<Vec<Value>>,
}

/// Reads all rules of a script, or reports all errors, each with its path. `duplicates` are the
/// paths of keys that the document has twice.
pub(super) fn read_rules(
    document: Value,
    duplicates: Vec<String>,
) -> Result<Vec<Rule>, Vec<String>> {
    let mut errors = Errors::default();
    for path in duplicates {
        errors.add(&path, "is set twice; keep one of them");
    }
    let rules = read(document, "", &mut errors).and_then(|script: Document| script.rules);
    let rules = match rules {
        None => {
            errors.add(
                "rules",
                "is missing; write {\"rules\": [...]}, or an empty list",
            );
            Vec::new()
        }
        Some(rules) if rules.len() > MAX_RULES => {
            errors.add("rules", format!("must be at most {MAX_RULES} rules"));
            Vec::new()
        }
        Some(rules) => rules,
    };
    let mut read_rules = Vec::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let at = format!("rules[{index}]");
        if let Some(rule) = read(rule, &at, &mut errors) {
            check(&rule, &at, &mut errors);
            read_rules.push(rule);
        }
    }
    match errors.lines.is_empty() {
        true => Ok(read_rules),
        false => Err(errors.lines),
    }
}

/// What the types of the fields do not check.
fn check(rule: &Rule, at: &str, errors: &mut Errors) {
    if rule
        .when
        .count
        .is_some_and(|count| count.range().is_empty())
    {
        errors.add(&format!("{at}.match.count"), "must have from <= to");
    }
    let at = format!("{at}.reply");
    let Some(reply) = &rule.reply else {
        return errors.add(&at, "is missing; {} is the emulator's own answer");
    };
    if reply.raw.is_some() && (reply.answer.is_some() || reply.refusal.is_some()) {
        let text = "conflicts with answer or error; keep one of them";
        errors.add(&format!("{at}.raw"), text);
    }
    let is_header = |text: &str| HeaderValue::from_str(text).is_ok();
    if !reply.request_id.as_deref().is_none_or(is_header) {
        let text = "must be printable ASCII, it is a header too";
        errors.add(&format!("{at}.request_id"), text);
    }
    for (name, value) in &reply.headers {
        let path = format!("{at}.headers.{name}");
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            errors.add(&path, "is not a name of a header");
        } else if !value.is_null() && !value.as_str().is_some_and(is_header) {
            errors.add(&path, "must be a text of one line, or null to leave it out");
        }
    }
}

/// The errors found so far, at most one for each path.
#[derive(Default)]
struct Errors {
    paths: HashSet<String>,
    lines: Vec<String>,
}

impl Errors {
    fn add(&mut self, path: &str, text: impl AsRef<str>) {
        if self.lines.len() < MAX_ERRORS && self.paths.insert(path.to_owned()) {
            let path = if path.is_empty() { "script" } else { path };
            self.lines.push(format!("{path}: {}", text.as_ref()));
        }
    }
}

/// Reads the object at a path. If nothing is left of it without errors, there is none.
fn read<T: DeserializeOwned>(mut value: Value, at: &str, errors: &mut Errors) -> Option<T> {
    while errors.lines.len() < MAX_ERRORS {
        let error = match serde_path_to_error::deserialize(&value) {
            Ok(Object(read)) => return Some(read),
            Err(error) => error,
        };
        // The variant of an enum is a value, not a place.
        let is_place = |segment: &&Segment| !matches!(segment, Segment::Enum { .. });
        let segments: Vec<_> = error.path().iter().filter(is_place).collect();
        let path = segments.iter().fold(at.to_owned(), |path, segment| {
            if let Segment::Seq { .. } = segment {
                // What the list lacks may be what is removed from it.
                errors.paths.insert(path.clone());
            }
            child(&path, segment)
        });
        let text = error.inner().to_string();
        let missing = text.strip_prefix("missing field `");
        match missing.and_then(|field| field.strip_suffix('`')) {
            Some(field) => errors.add(&child(&path, &field), "is missing"),
            None => errors.add(&path, text),
        }
        remove(&mut value, &segments)?;
    }
    None
}

fn child(path: &str, segment: &impl fmt::Display) -> String {
    let segment = segment.to_string();
    match segment.starts_with('[') || path.is_empty() {
        true => format!("{path}{segment}"),
        false => format!("{path}.{segment}"),
    }
}

/// Removes the value at a path: a field, or an element, which `null` replaces.
fn remove(value: &mut Value, path: &[&Segment]) -> Option<()> {
    match path {
        [Segment::Map { key }] => value.as_object_mut()?.shift_remove(key).map(drop),
        [Segment::Seq { index }] => {
            let element = mem::take(value.get_mut(index)?);
            (!element.is_null()).then_some(())
        }
        [Segment::Map { key }, rest @ ..] => remove(value.get_mut(key)?, rest),
        [Segment::Seq { index }, rest @ ..] => remove(value.get_mut(index)?, rest),
        _ => None,
    }
}
