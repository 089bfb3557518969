#include "json_schema_check.h"

#include <cmath>
#include <map>
#include <stdexcept>
#include <string_view>

namespace dashgate::detail {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Value;

[[noreturn]] void reject(const std::string& place, const std::string& why) {
  throw std::invalid_argument("dashgate: " + place + " " + why);
}

void require(const Value& value, Value::KindCase kind, const char* name, const std::string& place) {
  if (value.kind_case() != kind) reject(place, std::string("is not ") + name);
}

void check_value(const Value& value, const FieldDescriptor& field, const std::string& place) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return check_json(value, *field.message_type(), place);
    case FieldDescriptor::CPPTYPE_ENUM:
      require(value, Value::kStringValue, "a text", place);
      if (field.enum_type()->FindValueByName(value.string_value()) == nullptr) {
        reject(place, "is not one of the names of its enum");
      }
      return;
    case FieldDescriptor::CPPTYPE_STRING:
      return require(value, Value::kStringValue, "a text", place);
    case FieldDescriptor::CPPTYPE_BOOL:
      return require(value, Value::kBoolValue, "true or false", place);
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return require(value, Value::kNumberValue, "a number", place);
    default:
      require(value, Value::kNumberValue, "a number", place);
      if (std::floor(value.number_value()) != value.number_value()) {
        reject(place, "is not an integer");
      }
  }
}

void check_field(const Value& value, const FieldDescriptor& field, const std::string& place) {
  if (field.is_map()) {
    require(value, Value::kStructValue, "an object", place);
    for (const auto& [key, item] : value.struct_value().fields()) {
      check_value(item, *field.message_type()->map_value(), place + "." + key);
    }
  } else if (field.is_repeated()) {
    require(value, Value::kListValue, "a list", place);
    int at = 0;
    for (const Value& item : value.list_value().values()) {
      check_value(item, field, place + "[" + std::to_string(at++) + "]");
    }
  } else {
    check_value(value, field, place);
  }
}

void check_fields(const Value& value, const Descriptor& type, const std::string& place) {
  const auto& fields = value.struct_value().fields();
  std::size_t known = 0;
  for (int at = 0; at < type.field_count(); ++at) {
    const FieldDescriptor& field = *type.field(at);
    auto found = fields.find(std::string(field.json_name()));
    if (found == fields.end()) found = fields.find(std::string(field.name()));
    if (found != fields.end()) ++known;
    const bool is_there = found != fields.end() && found->second.kind_case() != Value::kNullValue;
    if (is_there) {
      check_field(found->second, field, place + "." + std::string(field.json_name()));
    } else if (!is_optional(field)) {
      reject(place, "has no " + std::string(field.json_name()));
    }
  }
  // Its name is a text of the model.
  if (known < fields.size()) reject(place, "has a key that is not in the schema");
}

}  // namespace

Shape shape_of(const Descriptor& type) {
  static const std::map<std::string_view, Shape> kShapes{
      {"Timestamp", Shape::kText},      {"Duration", Shape::kText},
      {"FieldMask", Shape::kText},      {"Struct", Shape::kObject},
      {"ListValue", Shape::kList},      {"Value", Shape::kAny},
      {"DoubleValue", Shape::kWrapper}, {"FloatValue", Shape::kWrapper},
      {"Int64Value", Shape::kWrapper},  {"UInt64Value", Shape::kWrapper},
      {"Int32Value", Shape::kWrapper},  {"UInt32Value", Shape::kWrapper},
      {"BoolValue", Shape::kWrapper},   {"StringValue", Shape::kWrapper},
      {"BytesValue", Shape::kWrapper},
  };
  constexpr std::string_view kPackage = "google.protobuf.";
  const std::string_view name = type.full_name();
  if (name.substr(0, kPackage.size()) != kPackage) return Shape::kFields;
  if (name == "google.protobuf.Any") {
    throw std::invalid_argument("dashgate: google.protobuf.Any has no JSON Schema");
  }
  const auto found = kShapes.find(name.substr(kPackage.size()));
  return found == kShapes.end() ? Shape::kFields : found->second;
}

bool is_optional(const FieldDescriptor& field) {
  return field.has_optional_keyword() || field.containing_oneof() != nullptr;
}

void check_json(const Value& value, const Descriptor& type, const std::string& place) {
  switch (shape_of(type)) {
    case Shape::kText:
      return require(value, Value::kStringValue, "a text", place);
    case Shape::kObject:
      return require(value, Value::kStructValue, "an object", place);
    case Shape::kList:
      return require(value, Value::kListValue, "a list", place);
    case Shape::kAny:
      return;
    case Shape::kWrapper:
      return check_value(value, *type.FindFieldByName("value"), place);
    case Shape::kFields:
      require(value, Value::kStructValue, "an object", place);
      return check_fields(value, type, place);
  }
}

}  // namespace dashgate::detail
