// Reads files.
#ifndef DASHGATE_SRC_FILES_H_
#define DASHGATE_SRC_FILES_H_

#include <filesystem>
#include <fstream>
#include <string>

namespace dashgate::detail {

// Opens a file for reading. Throws std::filesystem::filesystem_error.
std::ifstream open_file(const std::filesystem::path& path);

// Returns the bytes of a file. Throws std::filesystem::filesystem_error.
std::string read_file(const std::filesystem::path& path);

// Throws std::filesystem::filesystem_error with the reason of errno.
[[noreturn]] void throw_unreadable(const std::filesystem::path& path, int error);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_FILES_H_
