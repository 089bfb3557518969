//! Reads a JSON document strictly and tells all its faults at once, each with its place.
//!
//! serde stops at the first fault and does not say how to mend it; a person who writes a script
//! wants the whole list.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// The faults found so far. Bounded: nobody reads more, and a hostile document may hold millions.
#[derive(Debug, Default)]
pub(super) struct Faults {
    lines: Vec<String>,
}

/// More faults than a person mends in one go.
const FAULTS: usize = 50;

impl Faults {
    /// Notes a fault: where it is, what is wrong and how to mend it.
    pub(super) fn add(&mut self, place: &str, text: impl AsRef<str>) {
        if self.lines.len() < FAULTS {
            self.lines.push(format!("{place}: {}", text.as_ref()));
        }
    }

    /// All of them, in the order of the document.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

/// A value and where it stands in the document.
pub(super) struct Node<'a> {
    /// For example `rules[0].match`.
    pub(super) place: String,
    /// What stands there.
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    /// The whole document.
    pub(super) fn root(value: &'a Value) -> Self {
        Self {
            place: "script".to_owned(),
            value,
        }
    }

    /// The object that stands here, its field names checked against those that are known.
    pub(super) fn fields(self, known: &[&str], faults: &mut Faults) -> Fields<'a> {
        static NOTHING: std::sync::LazyLock<Map<String, Value>> =
            std::sync::LazyLock::new(Map::new);
        let map = match self.value.as_object() {
            Some(map) => map,
            None => {
                let names = known.join(", ");
                faults.add(
                    &self.place,
                    format!("must be an object with fields of {names}"),
                );
                &NOTHING
            }
        };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            faults.add(
                &child(&self.place, name),
                format!(
                    "is not a known field; the fields here are {}",
                    known.join(", ")
                ),
            );
        }
        Fields {
            place: self.place,
            map,
        }
    }

    /// The elements of the list that stands here.
    pub(super) fn items(&self, faults: &mut Faults) -> Vec<Node<'a>> {
        let Some(list) = self.value.as_array() else {
            faults.add(&self.place, "must be a list, in square brackets");
            return Vec::new();
        };
        let item = |(index, value)| Node {
            place: format!("{}[{index}]", self.place),
            value,
        };
        list.iter().enumerate().map(item).collect()
    }

    /// The text that stands here.
    pub(super) fn text(&self, faults: &mut Faults) -> Option<String> {
        let text = self.value.as_str().map(str::to_owned);
        if text.is_none() {
            faults.add(&self.place, "must be a text, in double quotes");
        }
        text
    }

    /// Texts: one, or a list of them.
    pub(super) fn texts(&self, faults: &mut Faults) -> Vec<String> {
        match self.value.as_str() {
            Some(text) => vec![text.to_owned()],
            None => {
                let items = self.items(faults);
                items.iter().filter_map(|item| item.text(faults)).collect()
            }
        }
    }

    /// The whole number that stands here.
    pub(super) fn number(&self, range: RangeInclusive<u64>, faults: &mut Faults) -> Option<u64> {
        let number = self.value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            let (first, last) = (range.start(), range.end());
            faults.add(
                &self.place,
                format!("must be a whole number from {first} to {last}"),
            );
        }
        number
    }

    /// The truth value that stands here.
    pub(super) fn flag(&self, faults: &mut Faults) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            faults.add(&self.place, "must be true or false, without quotes");
        }
        flag
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], faults: &mut Faults) -> Option<T> {
        let text = self.value.as_str().unwrap_or_default();
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<_> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            faults.add(&self.place, format!("must be one of {}", known.join(", ")));
        }
        found.map(|(_, meaning)| *meaning)
    }
}

/// The fields of an object.
pub(super) struct Fields<'a> {
    /// Where the object stands.
    pub(super) place: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// A field, unless it is absent or null.
    pub(super) fn take(&self, name: &str) -> Option<Node<'a>> {
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Node {
            place: child(&self.place, name),
            value,
        })
    }

    /// The text in a field.
    pub(super) fn text(&self, name: &str, faults: &mut Faults) -> Option<String> {
        self.take(name)?.text(faults)
    }

    /// The texts in a field: one, or a list of them. None if it is absent.
    pub(super) fn texts(&self, name: &str, faults: &mut Faults) -> Vec<String> {
        self.take(name)
            .map(|node| node.texts(faults))
            .unwrap_or_default()
    }

    /// The truth value in a field.
    pub(super) fn flag(&self, name: &str, faults: &mut Faults) -> Option<bool> {
        self.take(name)?.flag(faults)
    }

    /// The whole number in a field.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Option<u64> {
        self.take(name)?.number(range, faults)
    }

    /// The object in a field, kept as it is written.
    pub(super) fn object(&self, name: &str, faults: &mut Faults) -> Option<Map<String, Value>> {
        let node = self.take(name)?;
        let object = node.value.as_object().cloned();
        if object.is_none() {
            faults.add(&node.place, "must be an object, in curly brackets");
        }
        object
    }
}

fn child(place: &str, name: &str) -> String {
    match place {
        "script" => name.to_owned(),
        _ => format!("{place}.{name}"),
    }
}
