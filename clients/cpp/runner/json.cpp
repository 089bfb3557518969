#include "json.h"

#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <utility>

namespace runner {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

void parse(const std::string& json, google::protobuf::Message& message, const std::string& name) {
  const auto status = google::protobuf::util::JsonStringToMessage(json, &message);
  if (!status.ok()) throw Fault(name + ": " + status.ToString());
}

}  // namespace

Object::Object(const Struct& fields, std::string name) : fields_(fields), name_(std::move(name)) {}

bool Object::has(const std::string& key) {
  asked_.insert(key);
  return fields_.fields().contains(key);
}

std::string Object::text(const std::string& key) {
  std::optional<std::string> text = optional_text(key);
  if (!text) wrong(key, "missing");
  return *std::move(text);
}

std::optional<std::string> Object::optional_text(const std::string& key) {
  const Value* value = find(key, Value::kStringValue);
  if (value == nullptr) return std::nullopt;
  return value->string_value();
}

std::optional<std::int64_t> Object::optional_integer(const std::string& key) {
  const Value* value = find(key, Value::kNumberValue);
  if (value == nullptr) return std::nullopt;
  return std::llround(value->number_value());
}

bool Object::flag(const std::string& key) {
  const Value* value = find(key, Value::kBoolValue);
  return value != nullptr && value->bool_value();
}

std::optional<Object> Object::optional_object(const std::string& key) {
  const Value* value = find(key, Value::kStructValue);
  if (value == nullptr) return std::nullopt;
  return Object(value->struct_value(), name_ + "." + key);
}

std::vector<Value> Object::list(const std::string& key) {
  const Value* value = find(key, Value::kListValue);
  if (value == nullptr) return {};
  return {value->list_value().values().begin(), value->list_value().values().end()};
}

std::vector<std::pair<std::string, std::string>> Object::texts(const std::string& key) {
  std::vector<std::pair<std::string, std::string>> texts;
  const Value* value = find(key, Value::kStructValue);
  if (value == nullptr) return texts;
  for (const auto& [name, item] : value->struct_value().fields()) {
    if (item.kind_case() != Value::kStringValue) wrong(key, "not an object of texts");
    texts.emplace_back(name, item.string_value());
  }
  return texts;
}

void Object::message(const std::string& key, google::protobuf::Message& message) {
  const Value* value = find(key, Value::kStructValue);
  if (value != nullptr) parse(to_json(*value), message, name_ + "." + key);
}

void Object::finish() const {
  for (const auto& [key, value] : fields_.fields()) {
    if (asked_.count(key) == 0) wrong(key, "not known to this runner");
  }
}

const Value* Object::find(const std::string& key, Value::KindCase kind) {
  asked_.insert(key);
  const auto found = fields_.fields().find(key);
  if (found == fields_.fields().end() || found->second.kind_case() == Value::kNullValue) {
    return nullptr;
  }
  if (found->second.kind_case() != kind) wrong(key, "not of the type that it should be");
  return &found->second;
}

void Object::wrong(const std::string& key, const std::string& what) const {
  throw Fault(name_ + "." + key + " is " + what);
}

Object parse_object(const std::string& json) {
  Struct fields;
  parse(json, fields, "job");
  return Object(fields, "job");
}

Object as_object(const Value& value, const std::string& name) {
  if (value.kind_case() != Value::kStructValue) throw Fault(name + " is not an object");
  return Object(value.struct_value(), name);
}

std::string to_json(const google::protobuf::Message& message) {
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json);
  if (!status.ok()) throw Fault(std::string(message.GetTypeName()) + ": " + status.ToString());
  return json;
}

std::string quote(std::string_view text) {
  Value value;
  value.set_string_value(std::string(text));
  return to_json(value);
}

std::string to_json(const std::vector<std::string>& items) {
  std::string json = "[";
  for (const std::string& item : items) {
    if (json.size() > 1) json += ',';
    json += item;
  }
  return json + "]";
}

void ObjectText::add(std::string_view key, std::string_view json) {
  if (!inside_.empty()) inside_ += ',';
  inside_ += quote(key);
  inside_ += ':';
  inside_ += json;
}

}  // namespace runner
