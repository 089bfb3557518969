// The JSON Schema of a protobuf message, for tools and for structured output.
#ifndef DASHGATE_JSON_SCHEMA_H_
#define DASHGATE_JSON_SCHEMA_H_

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

namespace dashgate {

/// Returns the JSON Schema of a message type, a JSON text. A field is required unless it is
/// `optional` or in a `oneof`. Throws std::invalid_argument for a type that contains itself.
std::string json_schema(const google::protobuf::Descriptor& type);

/// Reads a message from a JSON text that satisfies the schema of its type. Throws
/// std::invalid_argument, which names the place of what is missing or of another type.
void parse_json(std::string_view json, google::protobuf::Message& message);

}  // namespace dashgate

#endif  // DASHGATE_JSON_SCHEMA_H_
