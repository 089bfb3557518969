// Reads files.
#ifndef DASHGATE_SRC_FILES_H_
#define DASHGATE_SRC_FILES_H_

#include <filesystem>
#include <fstream>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

namespace dashgate::detail {

// Opens a file for reading. Throws std::filesystem::filesystem_error.
std::ifstream open_file(const std::filesystem::path& path);

// Returns the bytes of a file. Throws std::filesystem::filesystem_error.
std::string read_file(const std::filesystem::path& path);

// Reads a stream to its end, or until it is bad.
std::string read_all(std::istream& media, std::size_t expected = 0);

// Returns the first bytes of a file, enough to detect its type. Throws
// std::filesystem::filesystem_error.
std::string read_start(const std::filesystem::path& path);

// Returns the path of a `file:` URI. Throws std::invalid_argument if it names another machine.
std::filesystem::path path_of_uri(std::string_view uri);

// Replaces the escapes of a URI, such as `%20`. Returns nothing if one is incomplete.
std::optional<std::string> unescape(std::string_view text);

// Throws std::filesystem::filesystem_error with the reason of errno.
[[noreturn]] void throw_unreadable(const std::filesystem::path& path, int error);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_FILES_H_
