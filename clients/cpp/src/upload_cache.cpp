#include "upload_cache.h"

#include <algorithm>
#include <utility>

#include "wait.h"

namespace dashgate::detail {
namespace {

constexpr std::size_t kMostUploads = 1000;
constexpr std::chrono::hours kReserve(1);

}  // namespace

std::string UploadCache::get(const UploadKey& key, const Upload& upload, const Late& late,
                             const Deadline& deadline, const CancellationToken& cancellation,
                             const std::string& request_id) {
  while (true) {
    std::shared_ptr<Attempt> other;
    {
      const std::lock_guard lock(mutex_);
      if (auto uri = find_locked(key, std::chrono::system_clock::now())) return *std::move(uri);
      const auto [at, is_mine] = attempts_.try_emplace(key);
      if (is_mine) {
        at->second = std::make_shared<Attempt>();
        break;
      }
      other = at->second;
    }
    const auto is_over = [&] { return other->is_over; };
    if (!wait(mutex_, changed_, is_over, deadline, cancellation, request_id)) throw Error(late());
    // Nothing changes it any more.
    if (!other->uri.empty()) return other->uri;
  }
  try {
    const v1::UploadMediaResponse made = upload();
    add(key, made);
    end(key, made.uri());
    return made.uri();
  } catch (...) {
    end(key, {});
    throw;
  }
}

void UploadCache::end(const UploadKey& key, const std::string& uri) {
  const std::lock_guard lock(mutex_);
  const auto at = attempts_.find(key);
  at->second->uri = uri;
  at->second->is_over = true;
  attempts_.erase(at);
  changed_.notify_all();
}

std::optional<std::string> UploadCache::find(const UploadKey& key, Time now) {
  const std::lock_guard lock(mutex_);
  return find_locked(key, now);
}

std::optional<std::string> UploadCache::find_locked(const UploadKey& key, Time now) const {
  const auto found = uploads_.find(key);
  if (found == uploads_.end() || found->second.expires - kReserve <= now) return std::nullopt;
  return found->second.uri;
}

void UploadCache::add(const UploadKey& key, const v1::UploadMediaResponse& upload) {
  const Made fresh{upload.uri(), std::chrono::system_clock::from_time_t(
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
