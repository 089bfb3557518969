// A function that the model may call.
#ifndef DASHGATE_TOOL_H_
#define DASHGATE_TOOL_H_

#include <dashgate/json_schema.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace dashgate {

/// A function that Client::run_tools declares and calls.
struct Tool {
  std::string name;         ///< letters, digits, `_` and `-`, at most 64
  std::string description;  ///< what it does and when to call it
  std::string parameters;   ///< the JSON Schema of its arguments, a JSON text
  /// Receives the arguments as JSON text, as written by the model, which may be invalid; returns
  /// the result. Its exceptions are passed to the caller of run_tools unchanged.
  std::function<std::string(const std::string& arguments)> function;
};

namespace detail {
/// Returns the result of a function whose arguments cannot be read, for the model.
std::string invalid_arguments(const std::invalid_argument& error);
}  // namespace detail

/// Returns a tool whose parameters are the fields of a protobuf message, and whose function takes
/// that message. If the model writes arguments that do not satisfy the schema, the function is not
/// called, and the model is shown the error.
template <class Message>
Tool make_tool(std::string name, std::string description,
               std::function<std::string(const Message& arguments)> function) {
  Tool tool;
  tool.name = std::move(name);
  tool.description = std::move(description);
  tool.parameters = json_schema(*Message::descriptor());
  tool.function = [function = std::move(function)](const std::string& arguments) {
    Message message;
    try {
      parse_json(arguments, message);
    } catch (const std::invalid_argument& error) {
      return detail::invalid_arguments(error);
    }
    return function(message);
  };
  return tool;
}

}  // namespace dashgate

#endif  // DASHGATE_TOOL_H_
