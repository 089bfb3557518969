// A function that the model may call.
#ifndef DASHGATE_TOOL_H_
#define DASHGATE_TOOL_H_

#include <functional>
#include <string>

namespace dashgate {

// What Client::run_tools declares and calls.
struct Tool {
  std::string name;         // letters, digits, `_` and `-`, at most 64
  std::string description;  // what it does and when to call it
  std::string parameters;   // the JSON Schema of its arguments, a JSON text
  // From the arguments, a JSON text as the model wrote it, to the result, a text. What it throws
  // reaches the caller of run_tools as it is.
  std::function<std::string(const std::string& arguments)> function;
};

}  // namespace dashgate

#endif  // DASHGATE_TOOL_H_
