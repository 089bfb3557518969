#include <dashgate/content.h>

#include <algorithm>

#include "sniffing.h"

namespace dashgate {
namespace {

bool begins_with(std::string_view bytes, std::string_view magic) {
  return bytes.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin(),
                    [](char wanted, char byte) { return wanted == '.' || wanted == byte; });
}

}  // namespace

std::string sniff(std::string_view first_bytes, const std::filesystem::path& name) {
  for (const detail::Magic& magic : detail::kMagic) {
    if (begins_with(first_bytes, magic.bytes)) return std::string(magic.mime_type);
  }
  std::string extension = name.extension().string();
  if (extension.empty()) return {};
  extension.erase(0, 1);
  // Letter by letter, because the locale must not matter.
  std::transform(extension.begin(), extension.end(), extension.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  for (const auto& [known, mime_type] : detail::kExtensions) {
    if (extension == known) return std::string(mime_type);
  }
  return {};
}

}  // namespace dashgate
