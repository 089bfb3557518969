#include "json.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "json_syntax.h"

namespace dashgate::detail {
namespace {

// Returns how many bytes the first character of a text has; 0 if it is not UTF-8.
std::size_t length_of_character(std::string_view text) {
  // The first bytes of sequences, and what the second byte is then. The others exclude overlong
  // forms, surrogates and what is beyond Unicode.
  struct Sequence {
    unsigned char first, last, lowest, highest;
    std::size_t length;
  };
  constexpr std::array<Sequence, 9> kSequences{{{0x00, 0x7f, 0, 0, 1},
                                                {0xc2, 0xdf, 0x80, 0xbf, 2},
                                                {0xe0, 0xe0, 0xa0, 0xbf, 3},
                                                {0xe1, 0xec, 0x80, 0xbf, 3},
                                                {0xed, 0xed, 0x80, 0x9f, 3},
                                                {0xee, 0xef, 0x80, 0xbf, 3},
                                                {0xf0, 0xf0, 0x90, 0xbf, 4},
                                                {0xf1, 0xf3, 0x80, 0xbf, 4},
                                                {0xf4, 0xf4, 0x80, 0x8f, 4}}};
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const auto sequence =
      std::find_if(kSequences.begin(), kSequences.end(), [&](const Sequence& candidate) {
        return byte(0) >= candidate.first && byte(0) <= candidate.last;
      });
  if (sequence == kSequences.end() || text.size() < sequence->length) return 0;
  if (sequence->length > 1 && (byte(1) < sequence->lowest || byte(1) > sequence->highest)) return 0;
  for (std::size_t at = 2; at < sequence->length; ++at) {
    if ((byte(at) & 0xc0U) != 0x80U) return 0;
  }
  return sequence->length;
}

}  // namespace

std::string to_json(const google::protobuf::Message& message) {
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json);
  if (!status.ok()) throw std::invalid_argument("dashgate: no JSON: " + status.ToString());
  return json;
}

void from_json(std::string_view json, google::protobuf::Message& message) {
  check_syntax(json);
  const auto status =
      google::protobuf::util::JsonStringToMessage({json.data(), json.size()}, &message);
  if (status.ok()) return;
  // Its message may have texts of the JSON.
  throw std::invalid_argument("dashgate: the JSON is not that of " +
                              std::string(message.GetDescriptor()->full_name()));
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = length_of_character(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string repair_utf8(std::string text) {
  if (is_utf8(text)) return text;
  std::string repaired;
  bool is_wrong = false;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t length = length_of_character(rest);
    if (length > 0) repaired += rest.substr(0, length);
    if (length == 0 && !is_wrong) repaired += "\xef\xbf\xbd";
    is_wrong = length == 0;
    rest.remove_prefix(is_wrong ? 1 : length);
  }
  return repaired;
}

std::string quote(std::string_view text) {
  google::protobuf::Value value;
  value.set_string_value(std::string(text));
  return to_json(value);
}

}  // namespace dashgate::detail
