//! Messages of the schema written as JSON, so that a call and its answer can be data.

use dashgate::grpc::pb;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

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
