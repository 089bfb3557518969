// The uploads of a client that can be used again.
#ifndef DASHGATE_SRC_UPLOAD_CACHE_H_
#define DASHGATE_SRC_UPLOAD_CACHE_H_

#include <dashgate/v1/media_service.pb.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>

#include "call.h"
#include "regular_file.h"

namespace dashgate::detail {

// What an upload can be used for: a file in one state, for a model and as a type.
struct UploadKey {
  FileIdentity file;
  std::string model;
  std::string mime_type;

  friend bool operator<(const UploadKey& a, const UploadKey& b) {
    return std::tie(a.file, a.model, a.mime_type) < std::tie(b.file, b.model, b.mime_type);
  }
};

// Remembers uploads until an hour before they expire. Thread-safe.
class UploadCache {
 public:
  using Time = std::chrono::system_clock::time_point;
  using Upload = std::function<v1::UploadMediaResponse()>;
  using Late = std::function<Error()>;

  // Returns the URI of an upload, which is made if it is not known. Of several callers at once, one
  // makes it; if it fails, another one does. Throws what `upload` throws, and, if the caller does
  // not wait any longer, what `late` returns, or Error with CANCELLED.
  std::string get(const UploadKey& key, const Upload& upload, const Late& late,
                  const Deadline& deadline, const CancellationToken& cancellation,
                  const std::string& request_id);

  // Returns the URI of an upload that does not expire soon.
  std::optional<std::string> find(const UploadKey& key,
                                  Time now = std::chrono::system_clock::now());

  // Remembers an upload. The oldest is forgotten if there are too many.
  void add(const UploadKey& key, const v1::UploadMediaResponse& upload);

 private:
  struct Made {
    std::string uri;
    Time expires;
  };

  // An upload in progress. The lock of the cache protects it.
  struct Attempt {
    bool is_over = false;
    std::string uri;  // empty if it failed
  };

  void end(const UploadKey& key, const std::string& uri);
  // Requires the lock.
  std::optional<std::string> find_locked(const UploadKey& key, Time now) const;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<UploadKey, Made> uploads_;
  std::deque<UploadKey> oldest_first_;
  std::map<UploadKey, std::shared_ptr<Attempt>> attempts_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_UPLOAD_CACHE_H_
