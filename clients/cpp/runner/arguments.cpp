#include "arguments.h"

#include <fstream>
#include <iterator>

namespace runner {

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Fault(path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<std::chrono::milliseconds> optional_span(Object& object, const std::string& key) {
  const auto number = object.optional_integer(key);
  if (!number) return std::nullopt;
  return std::chrono::milliseconds(*number);
}

dashgate::Metadata metadata_of(Object& object) {
  const auto entries = object.texts("metadata");
  return {entries.begin(), entries.end()};
}

}  // namespace runner
