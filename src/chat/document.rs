//! A JSON-like document, for data without a typed field. Not JSON text: the outer layers convert
//! it.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The maximum nesting of objects and lists. Each takes up to three of the hundred levels that
/// protobuf decoders accept, and no known document has ten.
pub const MAX_LEVELS: u32 = 24;

/// The memory of an entry of an object or list, beside its text.
const ENTRY: usize = size_of::<(String, Document)>();

/// A number that is compared and hashed by its bits, as options and documents require.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// A JSON-like value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Document {
    /// A null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Real),
    /// A string.
    String(String),
    /// A list.
    List(Vec<Document>),
    /// An object.
    Object(Object),
}

impl Document {
    fn weight(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::String(text) => text.len(),
            Self::List(list) => list.iter().map(|value| ENTRY + value.weight()).sum(),
            Self::Object(object) => object.weight(),
        }
    }
}

/// Keys and values in the order of arrival. Keys are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Object(pub Vec<(String, Document)>);

impl Object {
    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About the bytes of memory that it takes.
    pub fn weight(&self) -> usize {
        let entries = self.0.iter();
        entries
            .map(|(key, value)| ENTRY + key.len() + value.weight())
            .sum()
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Document> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Merges another object; its values replace those with the same key. Takes time proportional
    /// to both: for repeated merges use [`Merged`].
    pub fn merge(&mut self, other: Object) {
        if self.0.is_empty() {
            *self = other;
        } else if !other.0.is_empty() {
            let mut merged = Merged::from(std::mem::take(self));
            merged.merge(other);
            *self = merged.take();
        }
    }
}

/// An object for repeated merges, each in time proportional to the merged object.
#[derive(Clone, Debug, Default)]
pub struct Merged(Keyed<Document>);

impl Merged {
    /// Merges another object; its values replace those with the same key.
    pub fn merge(&mut self, other: Object) {
        for (key, value) in other.0 {
            match self.0.value_mut(&key) {
                Some(old) => *old = value,
                None => self.0.add(key, value),
            }
        }
    }

    /// Takes the object and leaves an empty one.
    pub fn take(&mut self) -> Object {
        Object(self.0.take())
    }
}

impl From<Object> for Merged {
    fn from(object: Object) -> Self {
        let mut merged = Self::default();
        for (key, value) in object.0 {
            merged.0.add(key, value);
        }
        merged
    }
}

/// Keys and values in the order of arrival, with fast lookup.
#[derive(Clone, Debug)]
pub struct Keyed<V> {
    entries: Vec<(String, V)>,
    /// The position of each key. Empty while there are few keys.
    places: HashMap<String, usize>,
}

/// Up to this many keys, a linear search is faster than hashing.
const FEW_KEYS: usize = 16;

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<V> Keyed<V> {
    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&V> {
        self.entries.get(self.place(key)?).map(|(_, value)| value)
    }

    /// The value of a key, mutable.
    pub fn value_mut(&mut self, key: &str) -> Option<&mut V> {
        let place = self.place(key)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// All keys and values.
    pub fn entries(&self) -> &[(String, V)] {
        &self.entries
    }

    /// All keys, and their values mutable.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = (&String, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Takes all keys and values, and leaves none.
    pub fn take(&mut self) -> Vec<(String, V)> {
        self.places.clear();
        std::mem::take(&mut self.entries)
    }

    fn place(&self, key: &str) -> Option<usize> {
        if self.places.is_empty() {
            return self.entries.iter().position(|(name, _)| name == key);
        }
        self.places.get(key).copied()
    }

    /// Adds a key, which must be absent.
    pub fn add(&mut self, key: String, value: V) {
        let at = self.entries.len();
        if at == FEW_KEYS && self.places.is_empty() {
            let entries = self.entries.iter().enumerate();
            self.places = entries.map(|(at, (key, _))| (key.clone(), at)).collect();
        }
        if at >= FEW_KEYS {
            self.places.insert(key.clone(), at);
        }
        self.entries.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(keys: std::ops::Range<u32>, value: bool) -> Object {
        let entry = |n: u32| (n.to_string(), Document::Bool(value));
        Object(keys.map(entry).collect())
    }

    #[test]
    fn merging_keeps_order_and_the_last_value() {
        for many in [3, FEW_KEYS as u32 - 1, FEW_KEYS as u32, 100] {
            let mut merged = Merged::default();
            merged.merge(object(0..many, false));
            merged.merge(object(many - 1..many + 2, true));
            let mut expected = object(0..many + 2, false);
            for (_, value) in &mut expected.0[many as usize - 1..] {
                *value = Document::Bool(true);
            }
            assert_eq!(merged.0.value("0"), expected.value("0"));
            assert_eq!(merged.take(), expected, "{many} keys");
            assert!(merged.0.is_empty() && merged.0.value("0").is_none());
            let mut plain = object(0..many, false);
            plain.merge(object(many - 1..many + 2, true));
            assert_eq!(plain, expected);
        }
    }
}
