// Reading files.
#ifndef DASHGATE_SRC_FILES_H_
#define DASHGATE_SRC_FILES_H_

#include <filesystem>
#include <fstream>
#include <string>

namespace dashgate::detail {

// Opens a file to be read. Throws std::filesystem::filesystem_error.
std::ifstream open_file(const std::filesystem::path& path);

// The bytes of a file. Throws std::filesystem::filesystem_error.
std::string read_file(const std::filesystem::path& path);

// Says that a file cannot be read, and why, by errno.
[[noreturn]] void throw_unreadable(const std::filesystem::path& path, int error);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_FILES_H_
