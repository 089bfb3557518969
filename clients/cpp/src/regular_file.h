// Files that are read by their path.
#ifndef DASHGATE_SRC_REGULAR_FILE_H_
#define DASHGATE_SRC_REGULAR_FILE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <tuple>

namespace dashgate::detail {

// Which file it is, and in which state.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_seconds = 0;
  std::int64_t modified_nanoseconds = 0;

  auto values() const noexcept {
    return std::tie(device, inode, size, modified_seconds, modified_nanoseconds);
  }
  friend bool operator==(const FileIdentity& a, const FileIdentity& b) noexcept {
    return a.values() == b.values();
  }
  friend bool operator<(const FileIdentity& a, const FileIdentity& b) noexcept {
    return a.values() < b.values();
  }
};

// A regular file that is open for reading. Pipes, sockets, devices and directories are refused
// without waiting: reading them could take forever.
class RegularFile {
 public:
  // Opens a file. Throws std::filesystem::filesystem_error.
  explicit RegularFile(const std::filesystem::path& path);
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  // Of the file that was opened, at that time.
  const FileIdentity& identity() const noexcept { return identity_; }

  // Returns the next bytes; fewer than `most` only at the end. Throws
  // std::filesystem::filesystem_error.
  std::string read(std::size_t most);

  // Returns all bytes that are left. Throws std::filesystem::filesystem_error.
  std::string read_all();

 private:
  // Closes the descriptor.
  struct Descriptor {
    explicit Descriptor(int opened) noexcept : number(opened) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor();

    const int number;
  };

  const std::filesystem::path path_;
  const Descriptor descriptor_;
  FileIdentity identity_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_REGULAR_FILE_H_
