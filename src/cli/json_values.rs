//! JSON values of open objects, which accept any keys.
//!
//! Numbers there are doubles. One that a double cannot represent is refused, so that the number
//! sent is the one that was written.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting of values, above that of any model parameter.
const MAX_DEPTH: usize = 64;

/// Parses a value: JSON, or otherwise a text. `key` is its path.
///
/// # Errors
///
/// Invalid JSON, and numbers that would change.
pub(crate) fn value(text: &str, key: &str) -> Result<Value, String> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => read(json.get(), key, 0),
        Err(error) if text.trim_start().starts_with(['{', '[', '"']) => Err(format!(
            "{key}: {text:?} is invalid JSON: {error}; write a text that starts like JSON in \
             quotation marks"
        )),
        Err(_) => Ok(of(Kind::StringValue(text.to_owned()))),
    }
}

/// Refuses JSON with a duplicate key in an object, because one of the values would be lost. Invalid
/// JSON is not reported here.
pub(crate) fn unique(json: &str, key: &str) -> Result<(), String> {
    check(json, key, 0)
}

fn check(json: &str, key: &str, depth: usize) -> Result<(), String> {
    let elements: Vec<&RawValue> = match json.trim_start().as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<Fields<'_>>(json) {
            Ok(Fields(fields)) => fields.into_iter().map(|(_, value)| value).collect(),
            Err(error) if error.is_data() => return Err(format!("{key}: {error}")),
            Err(_) => return Ok(()),
        },
        Some(b'[') => serde_json::from_str(json).unwrap_or_default(),
        _ => return Ok(()),
    };
    if depth > MAX_DEPTH {
        return Err(format!("{key} is nested deeper than {MAX_DEPTH} levels"));
    }
    let mut elements = elements.into_iter();
    elements.try_for_each(|element| check(element.get(), key, depth + 1))
}

/// The keys and values of a JSON object without duplicates.
pub(crate) struct Fields<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut all, mut keys) = (Vec::new(), HashSet::new());
        while let Some((key, value)) = entries.next_entry::<String, &RawValue>()? {
            if !keys.insert(key.clone()) {
                let message = format!("duplicate key {key:?}");
                return Err(A::Error::custom(message));
            }
            all.push((key, value));
        }
        Ok(Fields(all))
    }
}

/// An object with these keys.
pub(crate) fn object(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    of(Kind::StructValue(Struct {
        fields: fields.into_iter().collect(),
    }))
}

fn of(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn read(json: &str, key: &str, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("{key} is nested deeper than {MAX_DEPTH} levels"));
    }
    let json = json.trim();
    let wrong = |error: serde_json::Error| format!("{key}: {error}");
    Ok(match json.as_bytes().first() {
        Some(b'{') => {
            let Fields(fields) = serde_json::from_str(json).map_err(wrong)?;
            let mut all = BTreeMap::new();
            for (name, value) in fields {
                let value = read(value.get(), &format!("{key}.{name}"), depth + 1)?;
                all.insert(name, value);
            }
            object(all)
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(wrong)?;
            let mut values = Vec::new();
            for (at, element) in elements.iter().enumerate() {
                values.push(read(element.get(), &format!("{key}[{at}]"), depth + 1)?);
            }
            of(Kind::ListValue(ListValue { values }))
        }
        Some(b'"') => of(Kind::StringValue(
            serde_json::from_str(json).map_err(wrong)?,
        )),
        Some(b't' | b'f') => of(Kind::BoolValue(json == "true")),
        Some(b'n') => of(Kind::NullValue(0)),
        _ => of(Kind::NumberValue(number(json).ok_or_else(|| {
            format!(
                "{key}: {json} cannot be sent as it is: numbers are doubles (53-bit precision). \
                 Write it as a text, as in {key}='\"{json}\"', if the parameter takes one"
            )
        })?)),
    })
}

/// Parses a number: integers must be exact as a double, others are rounded.
fn number(token: &str) -> Option<f64> {
    let value: f64 = token.parse().ok().filter(|value: &f64| value.is_finite())?;
    let whole = token
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let held = !whole || format!("{value:.0}") == token;
    held.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_would_become_others_are_refused_with_their_path() {
        for (text, path) in [
            ("9007199254740993", "k:"),
            ("12345678901234567890", "k:"),
            ("-9007199254740993", "k:"),
            ("1e400", "k:"),
            ("{\"a\":[1,{\"b\":9007199254740993}]}", "k.a[1].b:"),
        ] {
            let told = value(text, "k").unwrap_err();
            assert!(told.starts_with(path), "{told}");
            assert!(told.contains("as a text"), "{told}");
        }
        for text in ["9007199254740992", "9007199254740994", "-0", "0.1", "-1e3"] {
            assert!(value(text, "k").is_ok(), "{text}");
        }
        let quoted = value("\"9007199254740993\"", "k").unwrap();
        assert_eq!(
            quoted.kind,
            Some(Kind::StringValue("9007199254740993".into()))
        );
    }

    #[test]
    fn broken_json_is_no_text_and_a_text_is_no_json() {
        for text in ["[1", "{\"a\":", "\"a", "[a]", " {"] {
            let told = value(text, "k.x").unwrap_err();
            assert!(told.starts_with("k.x: "), "{told}");
        }
        for text in ["plain text", "", "a]", "007", "nan"] {
            let read = value(text, "k").unwrap().kind;
            assert_eq!(read, Some(Kind::StringValue(text.into())));
        }
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        assert!(value(&deep, "k").unwrap_err().contains("nested deeper"));
    }
}
