#include <dashgate/content.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>

#include "sniffing.h"

namespace dashgate {
namespace {

// Removes the text up to the mark, and the mark, and returns that text; without a mark, all of it.
std::string_view cut(std::string_view& text, char mark) {
  const std::size_t at = text.find(mark);
  const std::string_view head = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return head;
}

std::size_t number(std::string_view text, int base) {
  std::size_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

bool holds_at(std::string_view bytes, std::string_view digits, std::string_view mask,
              std::size_t at) {
  if (bytes.size() < at + digits.size() / 2) return false;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const auto byte = static_cast<std::uint8_t>(bytes[at + i / 2]);
    const std::size_t bits = mask.empty() ? 0xff : number(mask.substr(i, 2), 16);
    if ((byte & bits) != number(digits.substr(i, 2), 16)) return false;
  }
  return true;
}

// OFFSET:HEX, OFFSET-LAST:HEX or OFFSET:HEX/MASK.
bool holds(std::string_view bytes, std::string_view condition) {
  std::string_view place = cut(condition, ':');
  const std::string_view digits = cut(condition, '/');
  const std::size_t first = number(cut(place, '-'), 10);
  const std::size_t last = place.empty() ? first : number(place, 10);
  for (std::size_t at = first; at <= last; ++at) {
    if (holds_at(bytes, digits, condition, at)) return true;
  }
  return false;
}

bool all_hold(std::string_view bytes, std::string_view match) {
  while (!match.empty()) {
    if (!holds(bytes, cut(match, ' '))) return false;
  }
  return true;
}

std::string_view by_name(const std::filesystem::path& name) {
  std::string extension = name.extension().string();
  if (extension.empty()) return {};
  extension.erase(0, 1);
  // By character, so that the locale has no effect.
  std::transform(extension.begin(), extension.end(), extension.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  for (const auto& [known, types] : detail::kExtensions) {
    if (extension == known) return types;
  }
  return {};
}

std::string_view top_level(std::string_view type) { return cut(type, '/'); }

}  // namespace

std::string sniff(std::string_view first_bytes, const std::filesystem::path& name,
                  std::string_view kind) {
  const std::string_view named = by_name(name);
  if (kind.empty()) kind = top_level(named);
  std::string_view types = named;
  for (const detail::Rule& rule : detail::kRules) {
    if (!all_hold(first_bytes, rule.match)) continue;
    if (!rule.types.empty()) types = rule.types;
    break;
  }
  std::string_view rest = types;
  while (!rest.empty()) {
    const std::string_view type = cut(rest, ' ');
    if (top_level(type) == kind) return std::string(type);
  }
  return std::string(cut(types, ' '));
}

}  // namespace dashgate
