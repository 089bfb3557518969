#include "attached_files.h"

#include <utility>

#include "call.h"

namespace dashgate::detail {
namespace {

constexpr std::string_view kScheme = "dashgate-file:";
constexpr std::size_t kMostFiles = 10'000;

}  // namespace

AttachedFiles& AttachedFiles::of_process() {
  static AttachedFiles files;
  return files;
}

std::string AttachedFiles::add(AttachedFile file) {
  std::string uri = std::string(kScheme) + make_uuid();
  const std::lock_guard lock(mutex_);
  if (oldest_first_.size() == kMostFiles) {
    files_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
  files_.emplace(uri, std::move(file));
  oldest_first_.push_back(uri);
  return uri;
}

std::optional<AttachedFile> AttachedFiles::find(const std::string& uri) const {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(uri);
  if (found == files_.end()) return std::nullopt;
  return found->second;
}

bool AttachedFiles::is_uri(std::string_view uri) {
  return uri.substr(0, kScheme.size()) == kScheme;
}

}  // namespace dashgate::detail
