//! Collects the violations of a request, so that all are reported together.

use std::fmt::Display;

use crate::chat::document::{Document, Object, Real};
use crate::error::{Error, Reason, Violation};

/// The invalid fields of a request.
#[derive(Default)]
pub(super) struct FieldViolations {
    list: Vec<Violation>,
}

/// The maximum number of violations reported. The details of a status must stay small.
const MAX_FAULTS: usize = 8;

/// The first integer that does not fit into 64 bits.
const LARGEST_WHOLE: f64 = 18_446_744_073_709_551_616.0;

impl FieldViolations {
    /// Adds an invalid field, with how to fix it.
    pub(super) fn add(&mut self, field: impl Display, description: impl Into<String>) {
        if self.list.len() < MAX_FAULTS {
            let description = description.into();
            self.list.push(Violation {
                field: field.to_string(),
                description,
            });
        }
    }

    /// Returns all violations as one error, or `Ok` if there are none.
    pub(super) fn check(self) -> Result<(), Error> {
        let Some(first) = self.list.first() else {
            return Ok(());
        };
        let mut message = format!("{}: {}", first.field, first.description);
        if self.list.len() > 1 {
            message.push_str(&format!(" (and {} more fields)", self.list.len() - 1));
        }
        let error = Error::new(Reason::InvalidRequest, message);
        Err(self.list.into_iter().fold(error, Error::with_violation))
    }

    /// A number that is valid in JSON.
    pub(super) fn real(&mut self, field: impl Display, value: Option<f64>) -> Option<Real> {
        let value = value?;
        if !value.is_finite() {
            self.add(field, "must be a finite number");
        }
        Some(Real(value))
    }

    /// Checks that unknown keys have no name of a typed field.
    pub(super) fn no_overlap(&mut self, field: impl Display, extra: &Object, taken: &[&str]) {
        for (key, _) in &extra.0 {
            if taken.contains(&key.as_str()) {
                self.add(
                    format!("{field}.{key}"),
                    "is set by a typed field too; set it in one place only",
                );
            }
        }
    }

    /// Checks that all numbers of an object can be sent exactly: integers beyond 64 bits have lost
    /// digits.
    pub(super) fn numbers(&mut self, field: impl Display, object: &Object) {
        for (key, value) in &object.0 {
            if !self.is_full() {
                self.number(&format_args!("{field}.{key}"), value);
            }
        }
    }

    fn number(&mut self, field: &dyn Display, value: &Document) {
        match value {
            Document::Number(Real(number)) if !number.is_finite() => {
                self.add(field, "must be a finite number");
            }
            Document::Number(Real(number))
                if number.fract() == 0.0 && number.abs() >= LARGEST_WHOLE =>
            {
                self.add(
                    field,
                    "is a whole number of more than 64 bits; send it as a string",
                );
            }
            Document::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    if !self.is_full() {
                        self.number(&format_args!("{field}[{at}]"), item);
                    }
                }
            }
            Document::Object(object) => self.numbers(field, object),
            Document::Null | Document::Bool(_) | Document::Number(_) | Document::String(_) => {}
        }
    }

    fn is_full(&self) -> bool {
        self.list.len() >= MAX_FAULTS
    }

    /// Checks that a text is one JSON object.
    pub(super) fn json_object(&mut self, field: impl Display, text: &str) {
        if let Err(error) = serde_json::from_str::<JsonObject>(text) {
            let (line, column) = (error.line(), error.column());
            let place = format!("must be a JSON object; wrong at line {line}, column {column}");
            self.add(field, place);
        }
    }
}

/// Any JSON object. Parsing validates it and keeps nothing.
struct JsonObject;

impl<'de> serde::Deserialize<'de> for JsonObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Any = serde::de::IgnoredAny;
        std::collections::HashMap::<String, Any>::deserialize(deserializer).map(|_| Self)
    }
}
