//! Strict reader of JSON documents that reports all errors, each with its path.
//!
//! serde stops at the first error; the author of a script wants all of them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// The errors found so far. Bounded: a hostile document may hold millions.
#[derive(Debug, Default)]
pub(super) struct Errors {
    lines: Vec<String>,
}

/// The most errors that are reported.
const MAX_ERRORS: usize = 50;

impl Errors {
    /// Records an error: its path, what is wrong and how to fix it.
    pub(super) fn add(&mut self, path: &str, text: impl AsRef<str>) {
        if self.lines.len() < MAX_ERRORS {
            self.lines.push(format!("{path}: {}", text.as_ref()));
        }
    }

    /// All errors, in the order of the document.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

/// A value and its path in the document.
pub(super) struct Node<'a> {
    /// For example `rules[0].match`.
    pub(super) path: String,
    /// The value.
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    /// The whole document.
    pub(super) fn root(value: &'a Value) -> Self {
        Self {
            path: "script".to_owned(),
            value,
        }
    }

    /// The object at this path; unknown field names are errors.
    pub(super) fn fields(self, known: &[&str], errors: &mut Errors) -> Fields<'a> {
        static NOTHING: std::sync::LazyLock<Map<String, Value>> =
            std::sync::LazyLock::new(Map::new);
        let map = match self.value.as_object() {
            Some(map) => map,
            None => {
                let names = known.join(", ");
                errors.add(
                    &self.path,
                    format!("must be an object with fields of {names}"),
                );
                &NOTHING
            }
        };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            errors.add(
                &child(&self.path, name),
                format!(
                    "is not a known field; the fields here are {}",
                    known.join(", ")
                ),
            );
        }
        Fields {
            path: self.path,
            map,
        }
    }

    /// The elements of the list at this path.
    pub(super) fn items(&self, errors: &mut Errors) -> Vec<Node<'a>> {
        let Some(list) = self.value.as_array() else {
            errors.add(&self.path, "must be a list, in square brackets");
            return Vec::new();
        };
        let item = |(index, value)| Node {
            path: format!("{}[{index}]", self.path),
            value,
        };
        list.iter().enumerate().map(item).collect()
    }

    /// The string at this path.
    pub(super) fn text(&self, errors: &mut Errors) -> Option<String> {
        let text = self.value.as_str().map(str::to_owned);
        if text.is_none() {
            errors.add(&self.path, "must be a text, in double quotes");
        }
        text
    }

    /// The strings at this path: one, or a list.
    pub(super) fn texts(&self, errors: &mut Errors) -> Vec<String> {
        match self.value.as_str() {
            Some(text) => vec![text.to_owned()],
            None => {
                let items = self.items(errors);
                items.iter().filter_map(|item| item.text(errors)).collect()
            }
        }
    }

    /// The integer at this path.
    pub(super) fn number(&self, range: RangeInclusive<u64>, errors: &mut Errors) -> Option<u64> {
        let number = self.value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            let (first, last) = (range.start(), range.end());
            errors.add(
                &self.path,
                format!("must be a whole number from {first} to {last}"),
            );
        }
        number
    }

    /// The boolean at this path.
    pub(super) fn flag(&self, errors: &mut Errors) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            errors.add(&self.path, "must be true or false, without quotes");
        }
        flag
    }

    /// One of a fixed set of strings.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], errors: &mut Errors) -> Option<T> {
        let text = self.value.as_str().unwrap_or_default();
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<_> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            errors.add(&self.path, format!("must be one of {}", known.join(", ")));
        }
        found.map(|(_, meaning)| *meaning)
    }
}

/// The fields of an object.
pub(super) struct Fields<'a> {
    /// Path of the object.
    pub(super) path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// A field, unless it is absent or null.
    pub(super) fn take(&self, name: &str) -> Option<Node<'a>> {
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Node {
            path: child(&self.path, name),
            value,
        })
    }

    /// The string in a field.
    pub(super) fn text(&self, name: &str, errors: &mut Errors) -> Option<String> {
        self.take(name)?.text(errors)
    }

    /// The strings in a field: one, or a list. Empty if it is absent.
    pub(super) fn texts(&self, name: &str, errors: &mut Errors) -> Vec<String> {
        self.take(name)
            .map(|node| node.texts(errors))
            .unwrap_or_default()
    }

    /// The boolean in a field.
    pub(super) fn flag(&self, name: &str, errors: &mut Errors) -> Option<bool> {
        self.take(name)?.flag(errors)
    }

    /// The integer in a field.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        errors: &mut Errors,
    ) -> Option<u64> {
        self.take(name)?.number(range, errors)
    }

    /// The object in a field, unchanged.
    pub(super) fn object(&self, name: &str, errors: &mut Errors) -> Option<Map<String, Value>> {
        let node = self.take(name)?;
        let object = node.value.as_object().cloned();
        if object.is_none() {
            errors.add(&node.path, "must be an object, in curly brackets");
        }
        object
    }
}

fn child(path: &str, name: &str) -> String {
    match path {
        "script" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}
