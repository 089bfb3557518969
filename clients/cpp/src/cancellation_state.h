// The shared state of a source and its tokens.
#ifndef DASHGATE_SRC_CANCELLATION_STATE_H_
#define DASHGATE_SRC_CANCELLATION_STATE_H_

#include <dashgate/cancellation.h>

#include <functional>
#include <mutex>
#include <unordered_set>

namespace dashgate::detail {

// What to cancel. It is cancelled while the lock is held: cancelling does not block and takes no
// token, and a call that is removed waits for a cancellation in progress.
class CancellationState {
 public:
  void cancel() noexcept;
  bool is_cancelled() noexcept;
  void add(const CancelOnRequest* call);
  void remove(const CancelOnRequest* call) noexcept;

 private:
  std::mutex mutex_;
  bool cancelled_ = false;
  std::unordered_set<const CancelOnRequest*> calls_;
};

// Registers a call for cancellation during its lifetime. The function must not throw.
class CancelOnRequest {
 public:
  CancelOnRequest(const CancellationToken& token, std::function<void()> cancel);
  CancelOnRequest(const CancelOnRequest&) = delete;
  CancelOnRequest& operator=(const CancelOnRequest&) = delete;
  ~CancelOnRequest();

 private:
  friend class CancellationState;

  std::shared_ptr<CancellationState> state_;
  std::function<void()> cancel_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CANCELLATION_STATE_H_
