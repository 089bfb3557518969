// The syntax of JSON.
#ifndef DASHGATE_SRC_JSON_SYNTAX_H_
#define DASHGATE_SRC_JSON_SYNTAX_H_

#include <string_view>

namespace dashgate::detail {

// Throws std::invalid_argument, which has nothing of the text, if it is not JSON as of RFC 8259:
// the parser of protobuf also takes comments, trailing commas, and keys and texts in other quotes
// or none. Texts may be of any bytes. Lists and objects are at most 100 within each other: for some
// hundred thousand, that parser takes minutes.
void check_syntax(std::string_view json);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_JSON_SYNTAX_H_
