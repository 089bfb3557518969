#include "upload_cache.h"

#include <algorithm>
#include <utility>

namespace dashgate::detail {
namespace {

constexpr std::size_t kMostUploads = 1000;
constexpr std::chrono::hours kReserve(1);

}  // namespace

UploadKey UploadKey::of(const std::filesystem::path& path, std::string model) {
  return {std::filesystem::absolute(path), std::filesystem::file_size(path),
          std::filesystem::last_write_time(path), std::move(model)};
}

std::optional<std::string> UploadCache::find(const UploadKey& key, Time now) {
  const std::lock_guard lock(mutex_);
  const auto found = uploads_.find(key);
  if (found == uploads_.end() || found->second.expires - kReserve <= now) return std::nullopt;
  return found->second.uri;
}

void UploadCache::add(const UploadKey& key, const v1::UploadMediaResponse& upload) {
  const Upload fresh{upload.uri(), std::chrono::system_clock::from_time_t(
                                       static_cast<std::time_t>(upload.expires_at().seconds()))};
  const std::lock_guard lock(mutex_);
  if (uploads_.erase(key) > 0) {
    oldest_first_.erase(
        std::remove_if(oldest_first_.begin(), oldest_first_.end(),
                       [&](const UploadKey& other) { return !(other < key) && !(key < other); }),
        oldest_first_.end());
  } else if (oldest_first_.size() == kMostUploads) {
    uploads_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
  uploads_.emplace(key, fresh);
  oldest_first_.push_back(key);
}

}  // namespace dashgate::detail
