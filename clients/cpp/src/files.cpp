#include "files.h"

#include <cerrno>
#include <cstdint>
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

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file = open_file(path);
  std::string bytes;
  std::error_code unknown_size;
  const std::uintmax_t size = std::filesystem::file_size(path, unknown_size);
  if (!unknown_size) bytes.reserve(static_cast<std::size_t>(size) + 1);
  constexpr std::size_t kPiece = 256 * 1024;
  for (std::size_t length = 0;;) {
    bytes.resize(length + kPiece);
    errno = 0;
    file.read(bytes.data() + length, static_cast<std::streamsize>(kPiece));
    length += static_cast<std::size_t>(file.gcount());
    bytes.resize(length);
    if (file.bad()) throw_unreadable(path, errno);
    if (!file) return bytes;
  }
}

}  // namespace dashgate::detail
