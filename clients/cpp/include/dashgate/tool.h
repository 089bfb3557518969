// A function that the model may call.
#ifndef DASHGATE_TOOL_H_
#define DASHGATE_TOOL_H_

#include <functional>
#include <string>

namespace dashgate {

// A function that Client::run_tools declares and calls.
struct Tool {
  std::string name;         // letters, digits, `_` and `-`, at most 64
  std::string description;  // what it does and when to call it
  std::string parameters;   // the JSON Schema of its arguments, a JSON text
  // Receives the arguments as JSON text, as written by the model, which may be invalid; returns the
  // result. Its exceptions are passed to the caller of run_tools unchanged.
  std::function<std::string(const std::string& arguments)> function;
};

}  // namespace dashgate

#endif  // DASHGATE_TOOL_H_
