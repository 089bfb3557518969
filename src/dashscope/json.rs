//! Documents from JSON and to JSON, and the small writer that builds a request.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::chat::document::{Document, Object, Real};

/// Above this a number with a fraction of zero is not surely the whole number that was meant.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A document that is read from JSON.
#[derive(Debug)]
pub(super) struct Read(pub(super) Document);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadVisitor).map(Self)
    }
}

struct ReadVisitor;

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
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Document, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Document, E> {
        Ok(Document::Number(Real(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Document, E> {
        Ok(Document::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Document, E> {
        Ok(Document::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let mut list = Vec::new();
        while let Some(Read(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Document::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let mut object = Gathered::default();
        while let Some(key) = entries.next_key::<String>()? {
            let Read(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(Document::Object(object.finish()))
    }
}

/// Collects the keys of an object. A key that comes twice has its last value, as with most readers.
#[derive(Debug, Default)]
pub(super) struct Gathered(Vec<(String, Document)>);

impl Gathered {
    /// Adds a key.
    pub(super) fn insert(&mut self, key: String, value: Document) {
        self.0.push((key, value));
    }

    /// The object. Linear in all but name: duplicates are looked for by sorting positions.
    pub(super) fn finish(self) -> Object {
        // So few that looking through all of them is quicker than a map of them.
        const FEW: usize = 16;
        let Self(mut entries) = self;
        if entries.len() <= FEW {
            let mut at = 0;
            while let Some((key, _)) = entries.get(at) {
                let again = |(later, _): &(String, Document)| later == key;
                match entries.iter().skip(at + 1).any(again) {
                    true => drop(entries.remove(at)),
                    false => at += 1,
                }
            }
            return Object(entries);
        }
        let mut last = std::collections::HashMap::with_capacity(entries.len());
        for (at, (key, _)) in entries.iter().enumerate() {
            last.insert(key.clone(), at);
        }
        let kept = |(at, (key, value)): (usize, (String, Document))| {
            (last.get(&key) == Some(&at)).then_some((key, value))
        };
        Object(entries.into_iter().enumerate().filter_map(kept).collect())
    }
}

/// A document as JSON. Nulls in objects are left out, those in lists stay.
pub(super) struct Written<'a>(pub(super) &'a Document);

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
pub(super) struct WrittenObject<'a>(pub(super) &'a Object);

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

/// A number as JSON: whole ones without a fraction, because a document knows floats alone and
/// DashScope refuses `2.0` where it wants `2`.
#[derive(Clone, Copy)]
pub(super) struct Number(pub(super) Real);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0.0;
        if !value.is_finite() {
            return Err(S::Error::custom("a number must be finite"));
        }
        if value.fract() == 0.0 && value.abs() < LARGEST_WHOLE {
            return serializer.serialize_i64(value as i64);
        }
        serializer.serialize_f64(value)
    }
}
