// Files and URIs.
#ifndef DASHGATE_SRC_FILES_H_
#define DASHGATE_SRC_FILES_H_

#include <filesystem>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

namespace dashgate::detail {

// Reads a stream to its end, or until it is bad.
std::string read_all(std::istream& media);

// Throws what throw_unreadable() does if the system would read the path only up to a NUL.
void check_path(const std::filesystem::path& path);

// Returns the path of a `file:` URI. Throws std::invalid_argument if it names another machine.
std::filesystem::path path_of_uri(std::string_view uri);

// Replaces the escapes of a URI, such as `%20`. Returns nothing if one is incomplete.
std::optional<std::string> unescape(std::string_view text);

// Throws std::filesystem::filesystem_error with the reason of errno.
[[noreturn]] void throw_unreadable(const std::filesystem::path& path, int error);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_FILES_H_
