//! Access to the keys of an object in a tree, with conversions: see `lenient.rs`.

use std::borrow::Cow;

use super::json::FIRST_UNSURE;
use super::json_text::Text;
use crate::chat::document::{Document, Object, Real};

/// The keys of an object, which are removed as they are read. The rest is kept.
pub(crate) struct Fields(Vec<(String, Document)>);

impl From<Object> for Fields {
    fn from(object: Object) -> Self {
        Self(object.0)
    }
}

impl Fields {
    /// The keys of a value that is an object; the value itself otherwise.
    pub(crate) fn of(document: Document) -> Result<Self, Document> {
        if let Document::Object(object) = document {
            return Ok(Self::from(object));
        }
        Err(document)
    }

    /// The value of a key, by reference.
    pub(crate) fn slot(&mut self, key: &str) -> Option<&mut Document> {
        let found = self.0.iter_mut().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// Removes the value of a key, if present and not null.
    pub(crate) fn take(&mut self, key: &str) -> Option<Document> {
        let taken = std::mem::replace(self.slot(key)?, Document::Null);
        (taken != Document::Null).then_some(taken)
    }

    /// Removes and converts a value. If that fails, the value stays.
    pub(crate) fn with<T>(
        &mut self,
        key: &str,
        read: impl Fn(Document) -> Result<T, Document>,
    ) -> Option<T> {
        match read(self.take(key)?) {
            Ok(value) => Some(value),
            Err(odd) => {
                if let Some(slot) = self.slot(key) {
                    *slot = odd;
                }
                None
            }
        }
    }

    /// Removes a string, or a number as a string.
    pub(crate) fn text(&mut self, key: &str) -> Option<Text<'static>> {
        self.with(key, text)
    }

    /// Removes an integer, or a string of digits.
    pub(crate) fn whole<T: TryFrom<i64>>(&mut self, key: &str) -> Option<T> {
        self.with(key, |document| {
            let whole = whole(&document).and_then(|whole| T::try_from(whole).ok());
            whole.ok_or(document)
        })
    }

    /// Removes a list, or a single value as a list of one. Items that cannot be converted stay.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        read: impl Fn(Document) -> Result<T, Document>,
    ) -> Option<Vec<T>> {
        let taken = self.take(key)?;
        let items = if let Document::List(items) = taken {
            items
        } else {
            vec![taken]
        };
        // Without reserved capacity: most of a long list may be nulls.
        let (mut good, mut odd) = (Vec::new(), Vec::new());
        for item in items.into_iter().filter(|item| *item != Document::Null) {
            match read(item) {
                Ok(item) => good.push(item),
                Err(item) => odd.push(item),
            }
        }
        if let Some(slot) = self.slot(key).filter(|_| !odd.is_empty()) {
            *slot = Document::List(odd);
        }
        Some(good)
    }

    /// The remaining keys.
    pub(crate) fn rest(self) -> Object {
        let kept = self.0.into_iter();
        Object(kept.filter(|(_, value)| *value != Document::Null).collect())
    }
}

/// A string, or a number as a string.
pub(crate) fn text(document: Document) -> Result<Text<'static>, Document> {
    if let Document::Number(Real(number)) = document {
        return Ok(Text(Cow::Owned(number.to_string())));
    }
    only_text(document)
}

/// A string, and nothing else.
pub(crate) fn only_text(document: Document) -> Result<Text<'static>, Document> {
    if let Document::String(text) = document {
        return Ok(Text(Cow::Owned(text)));
    }
    Err(document)
}

/// An integer, or a string of digits.
pub(crate) fn whole(document: &Document) -> Option<i64> {
    match document {
        Document::Number(Real(number)) => {
            let fits = number.fract() == 0.0 && number.abs() < FIRST_UNSURE;
            fits.then_some(*number as i64)
        }
        Document::String(text) => text.trim().parse().ok(),
        Document::Null | Document::Bool(_) | Document::List(_) | Document::Object(_) => None,
    }
}

/// A number, or a string of one.
pub(crate) fn number(document: Document) -> Result<f64, Document> {
    let read = match &document {
        Document::Number(Real(number)) => Some(*number),
        Document::String(text) => text.trim().parse().ok(),
        Document::Null | Document::Bool(_) | Document::List(_) | Document::Object(_) => None,
    };
    read.filter(|number: &f64| number.is_finite())
        .ok_or(document)
}

/// A boolean, and nothing else.
pub(crate) fn flag(document: Document) -> Result<bool, Document> {
    if let Document::Bool(flag) = document {
        return Ok(flag);
    }
    Err(document)
}
