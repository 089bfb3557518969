// The uploads of a client that can be used again.
#ifndef DASHGATE_SRC_UPLOAD_CACHE_H_
#define DASHGATE_SRC_UPLOAD_CACHE_H_

#include <dashgate/v1/media_service.pb.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>

namespace dashgate::detail {

// A file in the state in which it was uploaded, for a model.
struct UploadKey {
  std::filesystem::path path;
  std::uintmax_t size = 0;
  std::filesystem::file_time_type modified;
  std::string model;

  // Reads size and time of a file. Throws std::filesystem::filesystem_error.
  static UploadKey of(const std::filesystem::path& path, std::string model);

  friend bool operator<(const UploadKey& a, const UploadKey& b) {
    return std::tie(a.path, a.size, a.modified, a.model) <
           std::tie(b.path, b.size, b.modified, b.model);
  }
};

// Remembers uploads until an hour before they expire. Thread-safe.
class UploadCache {
 public:
  using Time = std::chrono::system_clock::time_point;

  // Returns the URI of an upload that does not expire soon.
  std::optional<std::string> find(const UploadKey& key,
                                  Time now = std::chrono::system_clock::now());

  // Remembers an upload. The oldest is forgotten if there are too many.
  void add(const UploadKey& key, const v1::UploadMediaResponse& upload);

 private:
  struct Upload {
    std::string uri;
    Time expires;
  };

  std::mutex mutex_;
  std::map<UploadKey, Upload> uploads_;
  std::deque<UploadKey> oldest_first_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_UPLOAD_CACHE_H_
