//! Whether what was found is what a case expects, and if not, where and why.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

/// The keys of an expectation that say more than "equal to this".
pub(crate) const MATCHERS: [&str; 11] = [
    "$any",
    "$absent",
    "$regex",
    "$lacks",
    "$range",
    "$length",
    "$each",
    "$contains",
    "$distinct",
    "$as",
    "$not",
];

/// Longer texts are told by their length: an answer of 5 MB explains nothing.
const SHOWN: usize = 300;

/// All that is wrong with `found`; nothing if it is as expected.
pub(crate) fn faults(expected: &Value, found: &Value) -> Vec<String> {
    let mut judge = Judge::default();
    judge.value("", expected, Some(found));
    judge.faults
}

/// A value for a person: long texts are cut.
pub(crate) fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > SHOWN => {
            let start: String = text.chars().take(SHOWN).collect();
            Value::String(format!("{start}... ({} bytes)", text.len()))
        }
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), shown(value)))
            .collect(),
        other => other.clone(),
    }
}

#[derive(Default)]
struct Judge {
    faults: Vec<String>,
    /// What was named by `$as`: whatever has the same name must be the same.
    named: BTreeMap<String, Value>,
}

impl Judge {
    fn fault(&mut self, place: &str, found: Option<&Value>, must: &str) {
        let place = if place.is_empty() { "/" } else { place };
        let found = found.map_or("nothing is there".to_owned(), |found| {
            format!("{} is there", shown(found))
        });
        self.faults
            .push(format!("{place}: {found}, must be {must}"));
    }

    fn value(&mut self, place: &str, expected: &Value, found: Option<&Value>) {
        match expected {
            Value::Object(fields) if fields.keys().any(|key| key.starts_with('$')) => {
                for (matcher, argument) in fields {
                    self.matcher(place, matcher, argument, found);
                }
            }
            Value::Object(fields) => self.fields(place, fields, found),
            Value::Array(items) => self.items(place, items, found),
            _ => {
                if !found.is_some_and(|found| equal(expected, found)) {
                    self.fault(place, found, &expected.to_string());
                }
            }
        }
    }

    fn fields(&mut self, place: &str, fields: &Map<String, Value>, found: Option<&Value>) {
        let Some(Value::Object(there)) = found else {
            return self.fault(place, found, "an object");
        };
        for (key, expected) in fields {
            self.value(&format!("{place}/{key}"), expected, there.get(key));
        }
    }

    fn items(&mut self, place: &str, items: &[Value], found: Option<&Value>) {
        let there = match found {
            Some(Value::Array(there)) => there.as_slice(),
            None if items.is_empty() => &[],
            _ => return self.fault(place, found, "a list"),
        };
        if items.len() != there.len() {
            self.fault(place, found, &format!("{} items", items.len()));
        }
        for (at, (expected, found)) in items.iter().zip(there).enumerate() {
            self.value(&format!("{place}/{at}"), expected, Some(found));
        }
    }

    fn matcher(&mut self, place: &str, name: &str, argument: &Value, found: Option<&Value>) {
        let text = found.and_then(Value::as_str);
        match name {
            "$any" if found.is_none() => self.fault(place, found, "something"),
            "$any" => {}
            "$absent" if found.is_some() => self.fault(place, found, "left out"),
            "$absent" => {}
            "$regex" | "$lacks" => self.text(place, name, argument, text, found),
            "$range" => {
                let number = found.and_then(number);
                let low = argument.get(0).and_then(Value::as_f64);
                let high = argument.get(1).and_then(Value::as_f64);
                let inside = number.zip(low).is_some_and(|(is, low)| is >= low)
                    && number.zip(high).is_some_and(|(is, high)| is <= high);
                if !inside {
                    self.fault(place, found, &format!("a number in {argument}"));
                }
            }
            "$length" => {
                let length = match found {
                    Some(Value::Array(items)) => items.len(),
                    Some(Value::String(text)) => text.chars().count(),
                    Some(Value::Object(fields)) => fields.len(),
                    _ => 0,
                };
                self.value(&format!("{place}#"), argument, Some(&Value::from(length)));
            }
            "$each" | "$contains" | "$distinct" => self.list(place, name, argument, found),
            "$as" => self.same(place, argument, found),
            "$not" => {
                let mut inner = Self::default();
                inner.value(place, argument, found);
                if inner.faults.is_empty() {
                    self.fault(place, found, &format!("anything but {argument}"));
                }
            }
            _ => self.fault(
                place,
                found,
                &format!("judged by `{name}`, which is unknown"),
            ),
        }
    }

    fn text(
        &mut self,
        place: &str,
        name: &str,
        argument: &Value,
        text: Option<&str>,
        found: Option<&Value>,
    ) {
        let wanted = name == "$regex";
        let regex = argument.as_str().and_then(|regex| Regex::new(regex).ok());
        let Some(regex) = regex else {
            return self.fault(place, found, &format!("judged by a regex, not {argument}"));
        };
        if text.is_none_or(|text| regex.is_match(text) != wanted) {
            let must = if wanted {
                "a text like"
            } else {
                "a text without"
            };
            self.fault(place, found, &format!("{must} {argument}"));
        }
    }

    fn list(&mut self, place: &str, name: &str, argument: &Value, found: Option<&Value>) {
        let Some(Value::Array(items)) = found else {
            return self.fault(place, found, "a list");
        };
        match name {
            "$each" => {
                for (at, item) in items.iter().enumerate() {
                    self.value(&format!("{place}/{at}"), argument, Some(item));
                }
            }
            "$contains" => {
                let fits = |item: &Value| {
                    let mut inner = Self::default();
                    inner.value("", argument, Some(item));
                    inner.faults.is_empty()
                };
                if !items.iter().any(fits) {
                    self.fault(place, found, &format!("a list with {argument}"));
                }
            }
            _ => {
                let key = argument.as_str().unwrap_or_default();
                let mut seen: Vec<&Value> = Vec::new();
                for item in items {
                    let value = item.get(key).unwrap_or(item);
                    if seen.contains(&value) {
                        let must = format!("all different by {argument}");
                        return self.fault(place, Some(value), &must);
                    }
                    seen.push(value);
                }
            }
        }
    }

    fn same(&mut self, place: &str, name: &Value, found: Option<&Value>) {
        let name = name.as_str().unwrap_or_default().to_owned();
        match (self.named.get(&name), found) {
            (_, None) => self.fault(place, found, &format!("what is named {name:?}")),
            (Some(first), Some(is)) if first != is => {
                let must = format!("the same as the first {name:?}, {first}");
                self.fault(place, found, &must);
            }
            (Some(_), Some(_)) => {}
            (None, Some(is)) => {
                self.named.insert(name, is.clone());
            }
        }
    }
}

/// Numbers by their value, so that `1` is `1.0`: JSON knows no difference.
fn equal(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => expected == found,
    }
}

/// protobuf writes whole numbers of 64 bits as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}
