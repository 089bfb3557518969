//! Messages of the schema written as JSON, so that a call and its answer can be data.

use dashgate::grpc::pb;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};

/// The message that this JSON says, with the field names of the schema.
#[track_caller]
pub fn message<M: Message + Default>(json: &Value) -> M {
    let path = std::any::type_name::<M>();
    let name = format!("dashgate.v1.{}", path.rsplit("::").next().unwrap());
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let kind = pool.get_message_by_name(&name).unwrap();
    let message = DynamicMessage::deserialize(kind, json)
        .unwrap_or_else(|error| panic!("no {name}: {error}: {json}"));
    M::decode(&*message.encode_to_vec()).unwrap()
}

/// A message of this name as JSON, with the field names of the schema.
pub fn json_of<M: Message>(name: &str, message: &M) -> Value {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let kind = pool
        .get_message_by_name(&format!("dashgate.v1.{name}"))
        .unwrap();
    let message = DynamicMessage::decode(kind, &*message.encode_to_vec()).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);
    let json = message.serialize_with_options(serde_json::value::Serializer, &options);
    json.unwrap()
}

/// The usage as DashScope wrote it: the counts with a field, and the other keys where they stood.
pub fn counted(usage: &pb::Usage) -> Value {
    let mut written = json_of("Usage", usage);
    let Value::Object(keys) = &mut written else {
        panic!("a usage is an object")
    };
    if let Some(seconds) = keys.remove("audio_seconds") {
        keys.insert("seconds".to_owned(), seconds);
    }
    keys.remove("extra");
    add(&mut written, object(usage.extra.as_ref()));
    written
}

/// Adds keys that no field holds. None of them may have one.
fn add(written: &mut Value, extra: Value) {
    let (Value::Object(written), Value::Object(extra)) = (written, extra) else {
        panic!("extra keys stand in an object")
    };
    for (key, value) in extra {
        match written.get_mut(&key) {
            Some(inner) => add(inner, value),
            None => drop(written.insert(key, value)),
        }
    }
}

/// A struct as JSON, its whole numbers as such.
pub fn object(fields: Option<&prost_types::Struct>) -> Value {
    use prost_types::value::Kind;
    fn value(from: &prost_types::Value) -> Value {
        match from.kind.as_ref().unwrap() {
            Kind::NullValue(_) => Value::Null,
            Kind::NumberValue(number) if number.fract() == 0.0 => json!(*number as i64),
            Kind::NumberValue(number) => json!(number),
            Kind::StringValue(text) => json!(text),
            Kind::BoolValue(yes) => json!(yes),
            Kind::StructValue(fields) => object(Some(fields)),
            Kind::ListValue(list) => list.values.iter().map(value).collect(),
        }
    }
    let fields = fields.into_iter().flat_map(|fields| &fields.fields);
    Value::Object(
        fields
            .map(|(key, from)| (key.clone(), value(from)))
            .collect(),
    )
}
