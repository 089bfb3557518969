//! The schema's messages, from the descriptors of server reflection: new fields can be set and
//! printed without changes.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorSet,
};

use crate::grpc::pb;

/// The type of a field with arbitrary keys.
pub(crate) const STRUCT: &str = ".google.protobuf.Struct";

/// Messages and enumerations by full name, as in `.dashgate.v1.Message`.
pub(crate) struct Schema {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, EnumDescriptorProto>,
}

impl Schema {
    /// Reads the descriptors.
    pub(crate) fn read() -> Self {
        // A test decodes them; invalid ones would only lack fields.
        let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap_or_default();
        let (mut messages, mut enums) = (HashMap::new(), HashMap::new());
        for file in set.file {
            let package = file.package().to_owned();
            for message in file.message_type {
                for nested in &message.nested_type {
                    let name = format!(".{package}.{}.{}", message.name(), nested.name());
                    messages.insert(name, nested.clone());
                }
                messages.insert(format!(".{package}.{}", message.name()), message);
            }
            for one in file.enum_type {
                enums.insert(format!(".{package}.{}", one.name()), one);
            }
        }
        Self { messages, enums }
    }

    /// The fields of a message; empty if it is unknown.
    pub(crate) fn fields(&self, message: &str) -> &[FieldDescriptorProto] {
        let found = self.messages.get(message);
        found.map_or(&[], |message| &message.field)
    }

    /// Whether a message is the type of the entries of a map.
    pub(crate) fn is_map_entry(&self, message: &str) -> bool {
        let found = self.messages.get(message);
        let options = found.and_then(|message| message.options.as_ref());
        options.is_some_and(prost_types::MessageOptions::map_entry)
    }

    /// The values of an enumeration.
    pub(crate) fn values(&self, name: &str) -> &[EnumValueDescriptorProto] {
        self.enums.get(name).map_or(&[], |one| &one.value)
    }
}
