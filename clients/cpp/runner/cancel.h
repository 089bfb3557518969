// The cancellation of a call.
#ifndef DASHGATE_RUNNER_CANCEL_H_
#define DASHGATE_RUNNER_CANCEL_H_

#include <dashgate/cancellation.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "json.h"

namespace runner {

// When a job cancels its call.
struct Cancel {
  std::optional<std::chrono::milliseconds> after;
  std::optional<std::int64_t> after_events;

  static Cancel read(Object& call);
};

// Cancels after a delay, unless it has ended before.
class CancelLater {
 public:
  CancelLater(dashgate::CancellationSource source, std::optional<std::chrono::milliseconds> after);
  CancelLater(const CancelLater&) = delete;
  CancelLater& operator=(const CancelLater&) = delete;
  ~CancelLater();

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace runner

#endif  // DASHGATE_RUNNER_CANCEL_H_
