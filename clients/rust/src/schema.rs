//! The JSON Schema of Rust types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};

/// Returns the JSON Schema of a type as JSON text, in the form that models accept: one object
/// without references, whose objects have no other properties than those that are named.
pub(crate) fn json_schema<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(close).transform(&mut schema);
    schema.as_value().to_string()
}

/// Closes an object that does not say what other properties it has.
fn close(schema: &mut schemars::Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
}

/// Returns the name of a type as DashScope accepts it: letters, digits, `_` and `-`.
pub(crate) fn name<T: JsonSchema>() -> String {
    let is_accepted = |letter: &char| letter.is_ascii_alphanumeric() || "_-".contains(*letter);
    T::schema_name()
        .chars()
        .filter(is_accepted)
        .take(64)
        .collect()
}
