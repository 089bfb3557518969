//! The messages of the schema, by the descriptors that reflection serves: what is added to the
//! schema can be set and shown by the command line at once.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorSet,
};

use crate::grpc::pb;

/// A field of this type takes any keys.
pub(crate) const STRUCT: &str = ".google.protobuf.Struct";

/// The messages and the enumerations, by their full names, as in `.dashgate.v1.Message`.
pub(crate) struct Schema {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, EnumDescriptorProto>,
}

impl Schema {
    /// Reads the descriptors.
    pub(crate) fn read() -> Self {
        // A test decodes them; without them there would be no fields.
        let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap_or_default();
        let (mut messages, mut enums) = (HashMap::new(), HashMap::new());
        for file in set.file {
            let package = file.package().to_owned();
            for message in file.message_type {
                messages.insert(format!(".{package}.{}", message.name()), message);
            }
            for one in file.enum_type {
                enums.insert(format!(".{package}.{}", one.name()), one);
            }
        }
        Self { messages, enums }
    }

    /// The fields of a message; none if there is no such message.
    pub(crate) fn fields(&self, message: &str) -> &[FieldDescriptorProto] {
        let found = self.messages.get(message);
        found.map_or(&[], |message| &message.field)
    }

    /// The values of an enumeration.
    pub(crate) fn values(&self, name: &str) -> &[EnumValueDescriptorProto] {
        self.enums.get(name).map_or(&[], |one| &one.value)
    }
}
