//! The fields of a JSON object that must all be known.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::log::printable;

/// The fields of an object that were not taken yet.
pub(crate) struct Fields<'a> {
    fields: &'a Map<String, Value>,
    taken: Vec<&'static str>,
    place: String,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value, place: &str) -> Result<Self, Error> {
        let fields = value
            .as_object()
            .ok_or_else(|| invalid(place, "not an object"))?;
        Ok(Self {
            fields,
            taken: Vec::new(),
            place: place.to_owned(),
        })
    }

    /// The place of a field.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    /// Whether the object has a field that is not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// Returns a field; `None` if it is missing or null.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.taken.push(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Returns a text; `None` if it is missing or null.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, Error> {
        let place = self.place(name);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let text = |value| text(value).ok_or_else(|| invalid(&place, "not a text"));
        self.take(name).map(text).transpose()
    }

    /// Returns an object, which must be there.
    pub(crate) fn object(&mut self, name: &'static str) -> Result<Self, Error> {
        let place = self.place(name);
        let value = self.take(name).ok_or_else(|| invalid(&place, "missing"))?;
        Self::of(value, &place)
    }

    /// Refuses what was not taken and is not null.
    pub(crate) fn end(self) -> Result<(), Error> {
        let is_unknown = |(name, value): &(&String, &Value)| {
            !value.is_null() && !self.taken.contains(&name.as_str())
        };
        match self.fields.iter().find(is_unknown) {
            Some((name, _)) => Err(invalid(&self.place(&printable(name)), "unknown")),
            None => Ok(()),
        }
    }
}

/// Returns the items of a list.
pub(crate) fn list<'a>(value: &'a Value, place: &str) -> Result<&'a [Value], Error> {
    let list = value.as_array().map(Vec::as_slice);
    list.ok_or_else(|| invalid(place, "not a list"))
}

/// The error of a value.
pub(crate) fn invalid(place: &str, problem: &str) -> Error {
    Error::of_argument(format!("{place}: {problem}"))
}
