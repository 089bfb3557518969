//! JSON values that satisfy a JSON Schema, for tool arguments and structured answers.

use serde_json::{Map, Value, json};

/// Nested objects are empty below this depth: schemas may be recursive.
const MAX_DEPTH: usize = 8;

/// A value that satisfies a schema; every string without a given value is `text`.
pub(super) fn sample(schema: &Value, text: &str) -> Value {
    Sample { root: schema, text }.value(schema, 0)
}

struct Sample<'a> {
    /// The schema with the definitions.
    root: &'a Value,
    text: &'a str,
}

impl Sample<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let definition = self.root.pointer(reference.trim_start_matches('#'));
            return definition.map_or(Value::Null, |found| self.value(found, depth + 1));
        }
        let first = |name: &str| schema.get(name).and_then(|list| list.get(0));
        if let Some(given) = schema.get("const").or_else(|| first("enum")) {
            return given.clone();
        }
        if let Some(variant) = first("anyOf").or_else(|| first("oneOf")) {
            return self.value(variant, depth + 1);
        }
        let kind = schema.get("type");
        let kind = kind.and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str()));
        let properties = schema.get("properties").and_then(Value::as_object);
        match kind.unwrap_or(if properties.is_some() {
            "object"
        } else {
            "string"
        }) {
            "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
            "boolean" => json!(true),
            "null" => Value::Null,
            "array" => match (schema.get("minItems"), schema.get("items")) {
                (Some(_), Some(items)) => json!([self.value(items, depth + 1)]),
                _ => json!([]),
            },
            "object" => {
                let mut object = Map::new();
                for (name, schema) in properties.into_iter().flatten() {
                    object.insert(name.clone(), self.value(schema, depth + 1));
                }
                object.into()
            }
            _ => json!(self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_types_of_the_schema() {
        let schema = json!({"$defs": {"Point": {"type": "object",
                "properties": {"x": {"type": "number", "minimum": 3}}}},
            "properties": {"name": {"type": "string"}, "unit": {"enum": ["m", "km"]},
                "on": {"type": ["boolean", "null"]}, "at": {"$ref": "#/$defs/Point"},
                "none": {"type": "array"},
                "some": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
                "either": {"anyOf": [{"type": "null"}, {"type": "string"}]},
                "fixed": {"const": 7}}});
        assert_eq!(
            sample(&schema, "hi"),
            json!({"name": "hi", "unit": "m", "on": true, "at": {"x": 3}, "none": [],
                "some": [1], "either": null, "fixed": 7})
        );
    }

    #[test]
    fn a_recursive_schema_has_an_end() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(sample(&schema, "").to_string().len() < 200);
    }
}
