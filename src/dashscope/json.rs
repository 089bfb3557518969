//! Conversion between documents and JSON.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::chat::document::{Document, Object, Real};

/// The first double from which on not every integer has a double of its own: one parsed from JSON
/// may not be the number that was written.
pub(crate) const FIRST_UNSURE: f64 = 9_007_199_254_740_992.0;

/// The first integer that does not fit into 64 bits.
const LARGEST_WHOLE: f64 = 18_446_744_073_709_551_616.0;

/// [`FIRST_UNSURE`] as an integer.
const FIRST_UNSURE_WHOLE: u64 = 9_007_199_254_740_992;

/// The maximum nesting of a document that is read strictly. No known one is deeper; deeper ones are
/// read as trees, which track their depth in the response.
const STRICT_LEVELS: u32 = 8;

/// A document read strictly from JSON: a duplicate key is an error, and so are too many levels and
/// an integer that neither a double nor 64 bits can hold. An integer that needs all of 64 bits
/// becomes a string of its digits.
#[derive(Debug)]
pub(crate) struct Read(pub(crate) Document);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(ReadVisitor(STRICT_LEVELS))
            .map(Self)
    }
}

/// Reads a value with at most this many levels.
#[derive(Clone, Copy)]
struct ReadVisitor(u32);

impl ReadVisitor {
    /// The reader of nested values.
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let left = self.0.checked_sub(1);
        left.map(Self).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for ReadVisitor {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ReadVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Document, E> {
        Ok(integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Document, E> {
        Ok(integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Document, E> {
        if value.fract() == 0.0 && value.abs() >= FIRST_UNSURE {
            return Err(E::custom("a number may have been rounded"));
        }
        Ok(Document::Number(Real(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Document, E> {
        Ok(Document::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Document, E> {
        Ok(Document::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Document::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let inner = self.inner()?;
        let mut object = Gathered::default();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            object.insert(key, value);
        }
        let object = object.unique();
        let object = object.ok_or_else(|| de::Error::custom("duplicate key"))?;
        Ok(Document::Object(object))
    }
}

/// An integer, as its digits if it may not be exact as a number.
pub(crate) fn integer<N: Copy + ToString + TryInto<i64>>(value: N) -> Document {
    match value.try_into() {
        Ok(number) if number.unsigned_abs() < FIRST_UNSURE_WHOLE => {
            Document::Number(Real(number as f64))
        }
        _ => Document::String(value.to_string()),
    }
}

/// Collects the keys of an object.
#[derive(Debug, Default)]
pub(crate) struct Gathered(Vec<(String, Document)>);

impl Gathered {
    /// Adds a key.
    pub(crate) fn insert(&mut self, key: String, value: Document) {
        self.0.push((key, value));
    }

    /// The object, or `None` if a key is duplicate.
    pub(crate) fn unique(self) -> Option<Object> {
        // For few keys, a linear search is faster than a set.
        const FEW: usize = 16;
        let Self(entries) = self;
        let twice = if entries.len() <= FEW {
            let before = |at: usize, key: &str| entries.iter().take(at).any(|(k, _)| k == key);
            let mut keys = entries.iter().enumerate();
            keys.any(|(at, (key, _))| before(at, key))
        } else {
            let keys: HashSet<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
            keys.len() < entries.len()
        };
        (!twice).then_some(Object(entries))
    }
}

/// A document as JSON. Nulls are omitted from objects and kept in lists.
pub(crate) struct Written<'a>(pub(crate) &'a Document);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Document::Null => serializer.serialize_unit(),
            Document::Bool(value) => serializer.serialize_bool(*value),
            Document::Number(value) => Number(*value).serialize(serializer),
            Document::String(value) => serializer.serialize_str(value),
            Document::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Written(item))?;
                }
                list.end()
            }
            Document::Object(object) => WrittenObject(object).serialize(serializer),
        }
    }
}

/// An object as JSON, without nulls.
pub(crate) struct WrittenObject<'a>(pub(crate) &'a Object);

impl Serialize for WrittenObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.0.0 {
            if *value != Document::Null {
                map.serialize_entry(key, &Written(value))?;
            }
        }
        map.end()
    }
}

/// A number as JSON. Integers have no fraction, because a document has only doubles and DashScope
/// rejects `2.0` where it expects `2`. Integers beyond 64 bits were rejected before.
#[derive(Clone, Copy)]
pub(crate) struct Number(pub(crate) Real);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0.0;
        if !value.is_finite() {
            return Err(S::Error::custom("a number must be finite"));
        }
        if value.fract() == 0.0 && value.abs() < LARGEST_WHOLE {
            // Exact: the double is an integer, and 128 bits hold it.
            return serializer.serialize_i128(value as i128);
        }
        serializer.serialize_f64(value)
    }
}

/// Detects the end of an object in a text that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct ObjectEnd {
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Inside,
    Whole,
    NoObject,
}

impl ObjectEnd {
    /// Adds the next piece.
    pub(crate) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            match self.state {
                State::Before | State::Inside => self.step(byte),
                State::Whole | State::NoObject => return,
            }
        }
    }

    /// Whether the object is complete.
    pub(crate) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' => {
                self.state = State::Inside;
                self.depth = self.depth.saturating_add(1);
            }
            _ if self.state == State::Before => self.state = State::NoObject,
            b'"' => self.in_string = true,
            b'}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.state = State::Whole;
                }
            }
            _ => {}
        }
    }
}

/// Whether a text begins an object.
pub(crate) fn begins_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_object_is_found_for_every_split() {
        for (text, is_whole) in [
            ("{}", true),
            (" \n{\"a\": {\"}\": \"\\\"}\"}} ", true),
            ("{\"a\": {\"}\": \"\\\"}\"}", false),
            ("{\"a\":\"}", false),
            ("[{}]", false),
            ("1", false),
            ("", false),
        ] {
            for at in 0..=text.len() {
                let mut end = ObjectEnd::default();
                end.push(&text[..at]);
                end.push(&text[at..]);
                assert_eq!(end.is_whole(), is_whole, "{text} {at}");
            }
        }
    }
}
