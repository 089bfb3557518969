// Large files that are attached by path.
#ifndef DASHGATE_SRC_ATTACHED_FILES_H_
#define DASHGATE_SRC_ATTACHED_FILES_H_

#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "regular_file.h"

namespace dashgate::detail {

// A larger file is uploaded before the call instead of being read into the message.
constexpr std::uintmax_t kMostInMessage = 4 * 1024 * 1024;

// A file as it was when it was attached.
struct AttachedFile {
  std::filesystem::path path;
  FileIdentity identity;
};

// The files that parts name by a URI with a random id. Only this process knows them, so that a
// message from somewhere else can never name a file of this machine. Thread-safe.
class AttachedFiles {
 public:
  // Those of the process.
  static AttachedFiles& of_process();

  // Returns the URI of a file. The oldest file is forgotten if there are too many.
  std::string add(AttachedFile file);

  // Returns the file of a URI, if it is known.
  std::optional<AttachedFile> find(const std::string& uri) const;

  // Returns whether a URI is one of a file, of whatever process.
  static bool is_uri(std::string_view uri);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, AttachedFile> files_;
  std::deque<std::string> oldest_first_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_ATTACHED_FILES_H_
