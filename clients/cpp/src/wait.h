// Waits of a caller, which its deadline and its token end.
#ifndef DASHGATE_SRC_WAIT_H_
#define DASHGATE_SRC_WAIT_H_

#include <condition_variable>
#include <mutex>
#include <string>

#include "call.h"

namespace dashgate::detail {

// Waits until `is_done`, which the mutex protects and whose changes the condition reports. Returns
// whether that was before the deadline. Throws Error with CANCELLED as soon as the token is
// cancelled.
template <class Done>
bool wait(std::mutex& mutex, std::condition_variable& changed, const Done& is_done,
          const Deadline& deadline, const CancellationToken& cancellation,
          const std::string& request_id) {
  bool is_cancelled = false;
  const CancelOnRequest on_request(cancellation, [&] {
    const std::lock_guard lock(mutex);
    is_cancelled = true;
    changed.notify_all();
  });
  // Released before the token is, which waits for a cancellation in progress.
  std::unique_lock lock(mutex);
  const auto is_over = [&] { return is_cancelled || is_done(); };
  const bool is_in_time =
      deadline ? changed.wait_until(lock, *deadline, is_over) : (changed.wait(lock, is_over), true);
  if (is_cancelled) throw cancelled(request_id);
  return is_in_time;
}

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_WAIT_H_
