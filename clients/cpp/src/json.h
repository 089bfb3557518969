// The JSON form of messages.
#ifndef DASHGATE_SRC_JSON_H_
#define DASHGATE_SRC_JSON_H_

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

namespace dashgate::detail {

// Returns a message in proto3 JSON. Throws std::invalid_argument if it cannot be written, for
// example because of a text that is not UTF-8.
std::string to_json(const google::protobuf::Message& message);

// Reads a message in proto3 JSON. Throws std::invalid_argument, which has nothing of the text.
void from_json(std::string_view json, google::protobuf::Message& message);

// Returns whether a text is UTF-8, in which no surrogate is.
bool is_utf8(std::string_view text);

// Returns a text whose bytes that are not UTF-8 are replaced by U+FFFD, one for each run of them.
std::string repair_utf8(std::string text);

// Returns a text as a JSON string.
std::string quote(std::string_view text);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_JSON_H_
