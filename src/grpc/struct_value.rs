//! Conversion between protobuf's `Struct` and a [`Document`].

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::chat::document::{Document, Object, Real};

/// Converts a `Struct` to an object.
pub fn object(from: Struct) -> Object {
    Object(
        from.fields
            .into_iter()
            .map(|(key, value)| (key, document(value)))
            .collect(),
    )
}

fn document(from: Value) -> Document {
    match from.kind {
        None | Some(Kind::NullValue(_)) => Document::Null,
        Some(Kind::BoolValue(value)) => Document::Bool(value),
        Some(Kind::NumberValue(value)) => Document::Number(Real(value)),
        Some(Kind::StringValue(value)) => Document::String(value),
        Some(Kind::ListValue(list)) => {
            Document::List(list.values.into_iter().map(document).collect())
        }
        Some(Kind::StructValue(fields)) => Document::Object(object(fields)),
    }
}

/// Converts an object to a `Struct`; `None` if it is empty.
pub fn fields(from: Object) -> Option<Struct> {
    (!from.is_empty()).then(|| filled(from))
}

fn filled(from: Object) -> Struct {
    let fields = from
        .0
        .into_iter()
        .map(|(key, document)| (key, value(document)));
    Struct {
        fields: fields.collect(),
    }
}

fn value(from: Document) -> Value {
    let kind = match from {
        Document::Null => Kind::NullValue(0),
        Document::Bool(value) => Kind::BoolValue(value),
        Document::Number(Real(value)) => Kind::NumberValue(value),
        Document::String(value) => Kind::StringValue(value),
        Document::List(list) => Kind::ListValue(ListValue {
            values: list.into_iter().map(value).collect(),
        }),
        Document::Object(fields) => Kind::StructValue(filled(fields)),
    };
    Value { kind: Some(kind) }
}
