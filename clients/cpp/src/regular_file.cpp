#include "regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "files.h"

namespace dashgate::detail {
namespace {

// Opening a pipe would wait for its writer, and a terminal could become that of the process.
constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr std::size_t kPiece = 256 * 1024;

int open_for_reading(const std::filesystem::path& path) {
  check_path(path);
  int opened = -1;
  do {
    opened = open(path.c_str(), kFlags);
  } while (opened < 0 && errno == EINTR);
  if (opened < 0) throw_unreadable(path, errno);
  return opened;
}

}  // namespace

RegularFile::Descriptor::~Descriptor() { close(number); }

RegularFile::RegularFile(const std::filesystem::path& path)
    : path_(path), descriptor_(open_for_reading(path)) {
  struct stat status{};
  // Of what was opened: the path may name something else by now.
  if (fstat(descriptor_.number, &status) != 0) throw_unreadable(path, errno);
  if (S_ISDIR(status.st_mode)) throw_unreadable(path, EISDIR);
  if (!S_ISREG(status.st_mode)) {
    throw std::filesystem::filesystem_error(
        "dashgate: the file cannot be read, because it is a pipe, a socket or a device", path,
        std::make_error_code(std::errc::not_supported));
  }
  identity_.device = static_cast<std::uint64_t>(status.st_dev);
  identity_.inode = static_cast<std::uint64_t>(status.st_ino);
  identity_.size = static_cast<std::uint64_t>(status.st_size);
#ifdef __APPLE__
  const timespec& modified = status.st_mtimespec;
#else
  const timespec& modified = status.st_mtim;
#endif
  identity_.modified_seconds = static_cast<std::int64_t>(modified.tv_sec);
  identity_.modified_nanoseconds = static_cast<std::int64_t>(modified.tv_nsec);
}

std::string RegularFile::read(std::size_t most) {
  std::string bytes(most, '\0');
  std::size_t length = 0;
  while (length < most) {
    const ssize_t count = ::read(descriptor_.number, bytes.data() + length, most - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_unreadable(path_, errno);
    if (count == 0) break;
    length += static_cast<std::size_t>(count);
  }
  bytes.resize(length);
  return bytes;
}

std::string RegularFile::read_all() {
  // The size is a hint only: that of some files of the system is 0.
  std::string bytes = read(static_cast<std::size_t>(identity_.size));
  while (true) {
    const std::string piece = read(kPiece);
    if (piece.empty()) return bytes;
    bytes += piece;
  }
}

}  // namespace dashgate::detail
