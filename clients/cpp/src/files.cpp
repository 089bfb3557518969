#include "files.h"

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <system_error>

namespace dashgate::detail {

void throw_unreadable(const std::filesystem::path& path, int error) {
  throw std::filesystem::filesystem_error(
      "dashgate: the file cannot be read", path,
      std::error_code(error == 0 ? EIO : error, std::generic_category()));
}

std::ifstream open_file(const std::filesystem::path& path) {
  // Opening a directory succeeds; only reading it fails.
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) {
    throw_unreadable(path, EISDIR);
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_unreadable(path, errno);
  return file;
}

std::string read_all(std::istream& media, std::size_t expected) {
  std::string bytes;
  bytes.reserve(expected + 1);
  constexpr std::size_t kPiece = 256 * 1024;
  for (std::size_t length = 0;;) {
    bytes.resize(length + kPiece);
    media.read(bytes.data() + length, static_cast<std::streamsize>(kPiece));
    length += static_cast<std::size_t>(media.gcount());
    bytes.resize(length);
    if (!media) return bytes;
  }
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file = open_file(path);
  std::error_code unknown_size;
  const std::uintmax_t size = std::filesystem::file_size(path, unknown_size);
  errno = 0;
  std::string bytes = read_all(file, unknown_size ? 0 : static_cast<std::size_t>(size));
  if (file.bad()) throw_unreadable(path, errno);
  return bytes;
}

std::string read_start(const std::filesystem::path& path) {
  std::ifstream file = open_file(path);
  std::string start(4096, '\0');
  errno = 0;
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  if (file.bad()) throw_unreadable(path, errno);
  start.resize(static_cast<std::size_t>(file.gcount()));
  return start;
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
