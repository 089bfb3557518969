#include "retry.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>

#include "wait.h"

namespace dashgate::detail {
namespace {

constexpr int kMaxAttempts = 5;
constexpr std::chrono::milliseconds kFirstBackoff(500);

// Returns a delay times a random factor.
std::chrono::milliseconds spread(std::chrono::milliseconds delay, double least, double most) {
  std::random_device random;
  std::uniform_real_distribution<double> factor(least, most);
  const double length = static_cast<double>(delay.count()) * factor(random);
  return std::chrono::milliseconds(static_cast<std::int64_t>(length));
}

// Returns the delay unless the deadline is before its end.
std::optional<std::chrono::milliseconds> within(const Deadline& deadline,
                                                std::chrono::system_clock::time_point now,
                                                std::chrono::milliseconds delay) {
  using std::chrono::milliseconds;
  if (deadline && std::chrono::duration_cast<milliseconds>(*deadline - now) <= delay) {
    return std::nullopt;
  }
  return delay;
}

}  // namespace

std::optional<std::chrono::milliseconds> throttle_delay(const Error& failed, int retries_left,
                                                        const Deadline& deadline,
                                                        std::chrono::system_clock::time_point now) {
  constexpr double kJitter = 1.1;
  if (failed.code() != grpc::StatusCode::RESOURCE_EXHAUSTED || !failed.retry_after() ||
      retries_left <= 0) {
    return std::nullopt;
  }
  return within(deadline, now, spread(*failed.retry_after(), 1, kJitter));
}

std::optional<std::chrono::milliseconds> unavailable_delay(
    const Error& failed, int attempts, const Deadline& deadline,
    std::chrono::system_clock::time_point now) {
  if (failed.code() != grpc::StatusCode::UNAVAILABLE || attempts >= kMaxAttempts) {
    return std::nullopt;
  }
  if (failed.retry_after()) return within(deadline, now, *failed.retry_after());
  // A pushback without a time forbids retries.
  if (failed.headers().count("grpc-retry-pushback-ms") > 0) return std::nullopt;
  return within(deadline, now, spread(kFirstBackoff * (1 << (attempts - 1)), 0, 1));
}

void pause(std::chrono::milliseconds delay, const CancellationToken& cancellation,
           const std::string& request_id) {
  std::mutex mutex;
  std::condition_variable changed;
  const auto is_done = [] { return false; };
  wait(mutex, changed, is_done, from_now(delay), cancellation, request_id);
}

}  // namespace dashgate::detail
