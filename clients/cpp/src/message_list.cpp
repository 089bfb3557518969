#include "message_list.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "json.h"

namespace dashgate::detail {
namespace {

using google::protobuf::Value;

v1::Role read_role(const Located& role) {
  const std::string& name = role.text();
  if (name == "system" || name == "developer") return v1::ROLE_SYSTEM;
  if (name == "user") return v1::ROLE_USER;
  if (name == "assistant") return v1::ROLE_ASSISTANT;
  if (name == "tool") return v1::ROLE_TOOL;
  role.refuse("it is not system, developer, user, assistant or tool");
}

void read_content(const Located& content, v1::Message& message) {
  if (content.is_text()) {
    message.add_content()->set_text(content.text());
    return;
  }
  if (!content.is_list()) content.refuse("it is not a text or a list of parts");
  for (const Located& part : content.items()) *message.add_content() = read_part(part);
}

v1::ToolCall read_tool_call(const Located& call, int at) {
  call.check_keys({"id", "type", "index", "function"});
  const auto type = call.find("type");
  if (type && type->text() != "function") type->refuse("it is not function");
  const Located function = call.at("function");
  function.check_keys({"name", "arguments"});
  v1::ToolCall read;
  const auto index = call.find("index");
  read.set_index(index ? index->index() : at);
  if (const auto id = call.find("id")) read.set_id(id->text());
  read.set_type("function");
  read.set_name(function.at("name").text());
  if (read.name().empty()) function.at("name").refuse("it is empty");
  if (const auto arguments = function.find("arguments")) read.set_arguments(arguments->text());
  return read;
}

v1::Message read_message(const Located& message) {
  message.check_keys({"role", "content", "tool_calls", "tool_call_id", "reasoning_content"});
  v1::Message read;
  read.set_role(read_role(message.at("role")));
  if (const auto content = message.find("content")) read_content(*content, read);
  if (const auto calls = message.find("tool_calls")) {
    for (const Located& call : calls->items()) {
      *read.add_tool_calls() = read_tool_call(call, read.tool_calls_size());
    }
  }
  if (const auto id = message.find("tool_call_id")) read.set_tool_call_id(id->text());
  if (const auto text = message.find("reasoning_content")) read.set_reasoning_text(text->text());
  return read;
}

}  // namespace

void Located::refuse(const std::string& why) const {
  throw std::invalid_argument("dashgate: " + place_ + ": " + why);
}

bool Located::is_text() const { return value_.kind_case() == Value::kStringValue; }

bool Located::is_list() const { return value_.kind_case() == Value::kListValue; }

const std::string& Located::text() const {
  if (!is_text()) refuse("it is not a text");
  if (!is_utf8(value_.string_value())) refuse("it is not Unicode");
  return value_.string_value();
}

int Located::index() const {
  const double number = value_.number_value();
  if (value_.kind_case() != Value::kNumberValue || number < 0 ||
      number > std::numeric_limits<int>::max() || number != std::floor(number)) {
    refuse("it is not an integer of 0 or more");
  }
  return static_cast<int>(number);
}

std::vector<Located> Located::items() const {
  if (!is_list()) refuse("it is not a list");
  std::vector<Located> items;
  for (const Value& item : value_.list_value().values()) {
    items.emplace_back(item, place_ + "[" + std::to_string(items.size()) + "]");
  }
  return items;
}

std::optional<Located> Located::find(const std::string& key) const {
  if (value_.kind_case() != Value::kStructValue) refuse("it is not an object");
  const auto found = value_.struct_value().fields().find(key);
  if (found == value_.struct_value().fields().end() ||
      found->second.kind_case() == Value::kNullValue) {
    return std::nullopt;
  }
  return Located(found->second, place_ + "." + key);
}

Located Located::at(const std::string& key) const {
  std::optional<Located> value = find(key);
  if (!value) refuse("it has no " + key);
  return *std::move(value);
}

void Located::check_keys(const std::set<std::string>& known) const {
  if (value_.kind_case() != Value::kStructValue) refuse("it is not an object");
  for (const auto& [key, value] : value_.struct_value().fields()) {
    if (value.kind_case() == Value::kNullValue || known.count(key) > 0) continue;
    Located(value, place_ + "." + key).refuse("the key is not known");
  }
}

void read_messages(const google::protobuf::ListValue& list, v1::Conversation& conversation) {
  int at = 0;
  for (const Value& message : list.values()) {
    *conversation.add_messages() =
        read_message(Located(message, "messages[" + std::to_string(at++) + "]"));
  }
}

}  // namespace dashgate::detail
