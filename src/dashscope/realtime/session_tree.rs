//! A tree of JSON into which other keys can be merged.
//!
//! Unlike the JSON of calls it keeps nulls: a null of `session` disables something.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::chat::document::{Document, Object};
use crate::dashscope::json::Written;
use crate::error::{Error, Reason};

/// An object, or any other value as JSON.
#[derive(Debug)]
pub(super) enum Tree {
    /// An object.
    Object(Vec<(String, Tree)>),
    /// Another value, or an object that is not merged.
    Json(Box<RawValue>),
}

impl Tree {
    /// An object without keys.
    pub(super) fn new() -> Self {
        Self::Object(Vec::new())
    }

    /// Sets a key, whose parents become objects.
    pub(super) fn set(&mut self, path: &[&str], value: impl Serialize) -> Result<(), Error> {
        let value = to_raw_value(&value).map_err(|_| not_finite())?;
        self.put(path, Self::Json(value));
        Ok(())
    }

    /// Sets a key if there is a value.
    pub(super) fn set_if(
        &mut self,
        path: &[&str],
        value: Option<impl Serialize>,
    ) -> Result<(), Error> {
        match value {
            Some(value) => self.set(path, value),
            None => Ok(()),
        }
    }

    /// Sets a key to JSON, which must be valid.
    pub(super) fn put_json(&mut self, path: &[&str], json: &str) -> Result<(), Error> {
        let invalid = |_| Error::new(Reason::GatewayBug, "a constant is not valid JSON");
        let json = RawValue::from_string(json.to_owned()).map_err(invalid)?;
        self.put(path, Self::Json(json));
        Ok(())
    }

    /// Sets a key to a tree, whose parents become objects.
    pub(super) fn put(&mut self, path: &[&str], value: Self) {
        let Some((key, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if let Self::Json(_) = self {
            *self = Self::new();
        }
        let Self::Object(entries) = self else {
            return;
        };
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, inner)) => inner.put(rest, value),
            None => {
                let mut inner = Self::new();
                inner.put(rest, value);
                entries.push(((*key).to_owned(), inner));
            }
        }
    }

    /// Merges an object. Objects are merged key by key; any other value replaces the earlier one.
    pub(super) fn merge(&mut self, object: &Object) -> Result<(), Error> {
        for (key, value) in &object.0 {
            let tree = if let Document::Object(inner) = value {
                let taken = self.take(key);
                let mut tree = taken.filter(Self::is_object).unwrap_or_else(Self::new);
                tree.merge(inner)?;
                tree
            } else {
                Self::of(value)?
            };
            self.put(&[key], tree);
        }
        Ok(())
    }

    /// Takes the value of a key, which stays in its place.
    fn take(&mut self, key: &str) -> Option<Self> {
        let Self::Object(entries) = self else {
            return None;
        };
        let (_, inner) = entries.iter_mut().find(|(name, _)| name == key)?;
        Some(std::mem::replace(inner, Self::new()))
    }

    /// Whether it is an object without keys.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Object(entries) if entries.is_empty())
    }

    fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    fn of(value: &Document) -> Result<Self, Error> {
        to_raw_value(&Written(value))
            .map(Self::Json)
            .map_err(|_| not_finite())
    }
}

/// The error of a number that JSON cannot hold.
fn not_finite() -> Error {
    Error::field("setup", "every number must be finite")
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(json) => json.serialize(serializer),
            Self::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
