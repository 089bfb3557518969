// Structured output: answers as values of a type.
#ifndef DASHGATE_OUTPUT_H_
#define DASHGATE_OUTPUT_H_

#include <dashgate/answer.h>

#include <string>

namespace dashgate {

/// A value that was parsed from the text of an answer.
template <class Value>
struct Output {
  Value value;    ///< the value
  Answer answer;  ///< its answer
};

/// What the model is shown of a type.
struct OutputSchema {
  std::string name;    ///< letters, digits, `_` and `-`, at most 64
  std::string schema;  ///< the JSON Schema, a JSON text
};

}  // namespace dashgate

#endif  // DASHGATE_OUTPUT_H_
