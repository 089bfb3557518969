#include "data_uri.h"

#include <algorithm>
#include <cstdint>

#include "files.h"

namespace dashgate::detail {
namespace {

// Returns the value of a digit.
std::optional<std::uint32_t> value_of(char digit) {
  const auto from = [digit](char first, std::uint32_t value) {
    return value + static_cast<std::uint32_t>(digit - first);
  };
  if (digit >= 'A' && digit <= 'Z') return from('A', 0);
  if (digit >= 'a' && digit <= 'z') return from('a', 26);
  if (digit >= '0' && digit <= '9') return from('0', 52);
  if (digit == '+') return 62;
  if (digit == '/') return 63;
  return std::nullopt;
}

// Returns whether a text is another one, which is in lower case, but for the case of letters.
bool equals_in_any_case(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(), [](char one, char other) {
    return one == other || (one >= 'A' && one <= 'Z' && one - 'A' + 'a' == other);
  });
}

}  // namespace

bool has_scheme(std::string_view uri, std::string_view scheme) {
  return equals_in_any_case(uri.substr(0, scheme.size()), scheme);
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 == 0) {
    for (int padding = 0; padding < 2 && !text.empty() && text.back() == '='; ++padding) {
      text.remove_suffix(1);
    }
  }
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char digit : text) {
    const auto value = value_of(digit);
    if (!value) return std::nullopt;
    bits = bits << 6U | *value;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> static_cast<unsigned>(count) & 0xffU);
  }
  return bytes;
}

std::optional<DataUri> parse_data_uri(std::string_view uri) {
  constexpr std::string_view kScheme = "data:";
  constexpr std::string_view kBase64 = ";base64";
  const std::size_t comma = uri.find(',');
  if (!has_scheme(uri, kScheme) || comma == std::string_view::npos) {
    return std::nullopt;
  }
  std::string_view type = uri.substr(kScheme.size(), comma - kScheme.size());
  const std::string_view rest = uri.substr(comma + 1);
  const bool is_base64 = type.size() >= kBase64.size() &&
                         equals_in_any_case(type.substr(type.size() - kBase64.size()), kBase64);
  if (is_base64) type.remove_suffix(kBase64.size());
  std::optional<std::string> bytes = is_base64 ? decode_base64(rest) : unescape(rest);
  if (!bytes) return std::nullopt;
  if (type.substr(0, 1) == ";") type = {};  // parameters without a type
  return DataUri{std::string(type), *std::move(bytes)};
}

}  // namespace dashgate::detail
