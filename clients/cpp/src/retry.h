// When a call is made again.
#ifndef DASHGATE_SRC_RETRY_H_
#define DASHGATE_SRC_RETRY_H_

#include <dashgate/error.h>

#include <chrono>
#include <optional>

#include "call.h"

namespace dashgate::detail {

// Returns the delay before a call that was throttled is made again: the time of the gateway and a
// jitter. Returns nothing if the error is another one, if `retries_left` is 0, or if the deadline
// is before that.
std::optional<std::chrono::milliseconds> throttle_delay(
    const Error& failed, int retries_left, const Deadline& deadline,
    std::chrono::system_clock::time_point now = std::chrono::system_clock::now());

// Returns the delay before a call that gRPC does not retry is made again after UNAVAILABLE, as the
// service config has it. `attempts` is how often it was made.
std::optional<std::chrono::milliseconds> unavailable_delay(
    const Error& failed, int attempts, const Deadline& deadline,
    std::chrono::system_clock::time_point now = std::chrono::system_clock::now());

// Waits, or throws Error with CANCELLED as soon as the token is cancelled.
void pause(std::chrono::milliseconds delay, const CancellationToken& cancellation,
           const std::string& request_id);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_RETRY_H_
