//! Finds keys that an object of a script has twice: serde_json would keep the last value silently.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// The paths of duplicate keys in a JSON document, `limit` at most. Its syntax is checked
/// elsewhere.
pub(super) fn duplicate_keys(json: &str, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let value = Value {
        path: String::new(),
        found: &mut found,
        limit,
    };
    // What was found before an error of the syntax is still valid.
    let _ = value.deserialize(&mut serde_json::Deserializer::from_str(json));
    found
}

/// A value at a path.
struct Value<'a> {
    path: String,
    found: &'a mut Vec<String>,
    limit: usize,
}

impl Value<'_> {
    fn child(&mut self, path: String) -> Value<'_> {
        Value {
            path,
            found: self.found,
            limit: self.limit,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = match self.path.is_empty() {
                true => key.clone(),
                false => format!("{}.{key}", self.path),
            };
            if !keys.insert(key) && self.found.len() < self.limit {
                self.found.push(path.clone());
            }
            map.next_value_seed(self.child(path))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        for index in 0.. {
            let path = format!("{}[{index}]", self.path);
            if list.next_element_seed(self.child(path))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duplicate_key_is_found_with_its_path() {
        let json = r#"{"rules": [{"name": "a"}, {"name": "b", "name": null, "reply":
            {"answer": {"text": "x", "usage": {"a": 1, "a": {"b": 2.5, "b": true}}},
             "headers": {"x": "1", "X": "2"}}}], "rules": []}"#;
        let found = [
            "rules[1].name",
            "rules[1].reply.answer.usage.a",
            "rules[1].reply.answer.usage.a.b",
            "rules",
        ];
        assert_eq!(duplicate_keys(json, 10), found);
        assert_eq!(duplicate_keys(json, 2), found[..2]);
        for json in [
            "",
            "{",
            "[1, -1, 2.5, null, true, \"a\"]",
            r#"{"a":{"a":1}}"#,
        ] {
            assert!(duplicate_keys(json, 10).is_empty(), "{json}");
        }
    }
}
