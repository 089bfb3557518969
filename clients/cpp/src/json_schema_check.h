// Whether JSON satisfies the schema of a message type.
#ifndef DASHGATE_SRC_JSON_SCHEMA_CHECK_H_
#define DASHGATE_SRC_JSON_SCHEMA_CHECK_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/struct.pb.h>

#include <string>

namespace dashgate::detail {

// How proto3 JSON writes a message type: some of protobuf's own types are not objects of fields.
enum class Shape { kFields, kText, kObject, kList, kAny, kWrapper };

// Returns the shape of a type. Throws std::invalid_argument for google.protobuf.Any.
Shape shape_of(const google::protobuf::Descriptor& type);

// Returns whether a field may be missing.
bool is_optional(const google::protobuf::FieldDescriptor& field);

// Checks what the parser of protobuf lets pass: missing fields, and texts in place of numbers.
// Throws std::invalid_argument with the place.
void check_json(const google::protobuf::Value& value, const google::protobuf::Descriptor& type,
                const std::string& place);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_JSON_SCHEMA_CHECK_H_
