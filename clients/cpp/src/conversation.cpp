#include <dashgate/conversation.h>

#include <utility>

#include "json.h"
#include "message_list.h"

namespace dashgate {

Conversation::Conversation(std::string model, std::string system, std::string name) {
  raw_.set_name(std::move(name));
  raw_.set_model(std::move(model));
  if (!system.empty()) add(v1::ROLE_SYSTEM, collect(std::move(system)));
}

Conversation::Conversation(v1::Conversation raw) : raw_(std::move(raw)) {}

Conversation Conversation::from_messages(std::string model,
                                         const google::protobuf::ListValue& messages) {
  Conversation conversation(std::move(model));
  detail::read_messages(messages, conversation.raw_);
  return conversation;
}

Conversation Conversation::from_messages(std::string model, std::string_view messages) {
  google::protobuf::ListValue list;
  detail::from_json(messages, list);
  return from_messages(std::move(model), list);
}

Conversation Conversation::from_json(std::string_view json) {
  v1::Conversation raw;
  detail::from_json(json, raw);
  return Conversation(std::move(raw));
}

std::string Conversation::to_json() const { return detail::to_json(raw_); }

Conversation& Conversation::append(const Answer& answer) {
  if (raw_.name().empty()) {
    *raw_.add_messages() = answer.message();
    return *this;
  }
  // The gateway has stored them with the answer.
  raw_.clear_messages();
  if (answer.raw().has_history_used()) raw_.set_last_turn(answer.raw().history_used().turn());
  return *this;
}

Conversation& Conversation::tool_result(const v1::ToolCall& call, std::string text) {
  add(v1::ROLE_TOOL, collect(std::move(text)));
  raw_.mutable_messages()->rbegin()->set_tool_call_id(call.id());
  return *this;
}

Conversation& Conversation::declare_tool(std::string name, std::string description,
                                         std::string parameters) {
  v1::FunctionTool* function = nullptr;
  for (v1::Tool& tool : *raw_.mutable_tools()) {
    if (tool.has_function() && tool.function().name() == name) function = tool.mutable_function();
  }
  if (function == nullptr) function = raw_.add_tools()->mutable_function();
  function->set_name(std::move(name));
  function->set_description(std::move(description));
  function->set_parameters(std::move(parameters));
  return *this;
}

Conversation& Conversation::tool_choice(v1::ToolChoiceMode mode) {
  raw_.mutable_tool_choice()->set_mode(mode);
  return *this;
}

Conversation& Conversation::tool_choice(std::string function_name) {
  raw_.mutable_tool_choice()->set_function_name(std::move(function_name));
  return *this;
}

Conversation& Conversation::add(v1::Role role, Contents contents) {
  v1::Message& message = *raw_.add_messages();
  message.set_role(role);
  for (v1::Content& content : contents) *message.add_content() = std::move(content);
  return *this;
}

}  // namespace dashgate
