#include "cancel.h"

#include <utility>

#include "arguments.h"

namespace runner {

Cancel Cancel::read(Object& call) {
  Cancel cancel;
  if (std::optional<Object> object = call.optional_object("cancel")) {
    cancel.after = optional_span(*object, "after_ms");
    cancel.after_events = object->optional_integer("after_events");
    object->finish();
  }
  return cancel;
}

CancelLater::CancelLater(dashgate::CancellationSource source,
                         std::optional<std::chrono::milliseconds> after) {
  if (!after) return;
  thread_ = std::thread([this, source = std::move(source), after]() mutable {
    std::unique_lock lock(mutex_);
    if (!over_.wait_for(lock, *after, [this] { return is_over_; })) source.cancel();
  });
}

CancelLater::~CancelLater() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  over_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace runner
