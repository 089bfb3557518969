#include <dashgate/json_schema.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "json.h"
#include "json_schema_check.h"

namespace dashgate {

using detail::Shape;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

namespace {

// Writes schemas; knows the types that it is in.
class Writer {
 public:
  std::string of_type(const Descriptor& type) {
    switch (detail::shape_of(type)) {
      case Shape::kText:
        return R"({"type":"string"})";
      case Shape::kObject:
        return R"({"type":"object"})";
      case Shape::kList:
        return R"({"type":"array"})";
      case Shape::kAny:
        return "{}";
      case Shape::kWrapper:
        return of_value(*type.FindFieldByName("value"));
      case Shape::kFields:
        return of_fields(type);
    }
    return "{}";
  }

 private:
  std::string of_fields(const Descriptor& type) {
    if (std::find(inside_.begin(), inside_.end(), &type) != inside_.end()) {
      throw std::invalid_argument("dashgate: " + std::string(type.full_name()) +
                                  " contains itself, and has no JSON Schema here");
    }
    inside_.push_back(&type);
    std::string properties;
    std::string required;
    for (int at = 0; at < type.field_count(); ++at) {
      const FieldDescriptor& field = *type.field(at);
      const std::string name = detail::quote(field.json_name());
      properties += (at == 0 ? "" : ",") + name + ":" + of_field(field);
      if (!detail::is_optional(field)) required += (required.empty() ? "" : ",") + name;
    }
    inside_.pop_back();
    return R"({"type":"object","properties":{)" + properties + R"(},"required":[)" + required +
           R"(],"additionalProperties":false})";
  }

  std::string of_field(const FieldDescriptor& field) {
    if (field.is_map()) {
      return R"({"type":"object","additionalProperties":)" +
             of_value(*field.message_type()->map_value()) + "}";
    }
    if (field.is_repeated()) return R"({"type":"array","items":)" + of_value(field) + "}";
    return of_value(field);
  }

  std::string of_value(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return of_type(*field.message_type());
      case FieldDescriptor::CPPTYPE_ENUM:
        return of_enum(*field.enum_type());
      case FieldDescriptor::CPPTYPE_STRING:
        return R"({"type":"string"})";
      case FieldDescriptor::CPPTYPE_BOOL:
        return R"({"type":"boolean"})";
      case FieldDescriptor::CPPTYPE_FLOAT:
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return R"({"type":"number"})";
      default:
        return R"({"type":"integer"})";
    }
  }

  static std::string of_enum(const google::protobuf::EnumDescriptor& type) {
    std::string names;
    for (int at = 0; at < type.value_count(); ++at) {
      names += (at == 0 ? "" : ",") + detail::quote(type.value(at)->name());
    }
    return R"({"type":"string","enum":[)" + names + "]}";
  }

  std::vector<const Descriptor*> inside_;
};

}  // namespace

std::string json_schema(const Descriptor& type) { return Writer().of_type(type); }

void parse_json(std::string_view json, google::protobuf::Message& message) {
  google::protobuf::Value value;
  detail::from_json(json, value);
  detail::check_json(value, *message.GetDescriptor(), "the value");
  detail::from_json(json, message);
}

}  // namespace dashgate
