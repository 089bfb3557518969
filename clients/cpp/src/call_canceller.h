// Ends calls at the gateway by their request ids, after their streams were left.
#ifndef DASHGATE_SRC_CALL_CANCELLER_H_
#define DASHGATE_SRC_CALL_CANCELLER_H_

#include <dashgate/options.h>
#include <grpcpp/completion_queue.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "connection_pool.h"

namespace dashgate::detail {

// Thread-safe. Shared by a client and its streams. Its thread starts with the first call that is
// cancelled. gRPC's callback interface has threads of its own, but it must not release the last
// reference to a channel on them.
class CallCanceller {
 public:
  explicit CallCanceller(std::shared_ptr<ConnectionPool> pool) : pool_(std::move(pool)) {}
  CallCanceller(const CallCanceller&) = delete;
  CallCanceller& operator=(const CallCanceller&) = delete;
  // Waits as finish() does.
  ~CallCanceller();

  // Cancels a call, without waiting.
  void cancel(const std::string& request_id, const Metadata& of_client,
              const Metadata& of_call) noexcept;

  // Waits, for at most 2 seconds, until all these calls are cancelled.
  void finish() noexcept;

 private:
  struct Pending;

  void run() noexcept;

  std::shared_ptr<ConnectionPool> pool_;
  grpc::CompletionQueue queue_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int pending_ = 0;
  std::thread thread_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CALL_CANCELLER_H_
