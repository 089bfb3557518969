#include "files.h"

#include <cerrno>
#include <charconv>
#include <stdexcept>
#include <system_error>

namespace dashgate::detail {

void throw_unreadable(const std::filesystem::path& path, int error) {
  throw std::filesystem::filesystem_error(
      "dashgate: the file cannot be read", path,
      std::error_code(error == 0 ? EIO : error, std::generic_category()));
}

void check_path(const std::filesystem::path& path) {
  const auto& name = path.native();
  if (name.find('\0') != name.npos) throw_unreadable(path, EINVAL);
}

std::string read_all(std::istream& media) {
  std::string bytes;
  constexpr std::size_t kPiece = 256 * 1024;
  for (std::size_t length = 0;;) {
    bytes.resize(length + kPiece);
    media.read(bytes.data() + length, static_cast<std::streamsize>(kPiece));
    length += static_cast<std::size_t>(media.gcount());
    bytes.resize(length);
    if (!media) return bytes;
  }
}

std::optional<std::string> unescape(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      plain += text[at];
      continue;
    }
    const std::string_view digits = text.substr(at + 1, 2);
    unsigned value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || digits.size() != 2 || end != digits.data() + 2) return std::nullopt;
    plain += static_cast<char>(value);
    at += 2;
  }
  return plain;
}

std::filesystem::path path_of_uri(std::string_view uri) {
  std::string_view path = uri.substr(std::string_view("file:").size());
  if (path.substr(0, 2) == "//") {
    path.remove_prefix(2);
    const std::string_view host = path.substr(0, path.find('/'));
    if (!host.empty() && host != "localhost") {
      throw std::invalid_argument("dashgate: `" + std::string(uri) +
                                  "` is a file of another machine");
    }
    path.remove_prefix(host.size());
  }
  const std::optional<std::string> plain = unescape(path);
  if (!plain || plain->empty()) {
    throw std::invalid_argument("dashgate: `" + std::string(uri) + "` names no file");
  }
  return *plain;
}

}  // namespace dashgate::detail
