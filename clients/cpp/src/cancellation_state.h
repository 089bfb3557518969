// The shared state of a source and its tokens.
#ifndef DASHGATE_SRC_CANCELLATION_STATE_H_
#define DASHGATE_SRC_CANCELLATION_STATE_H_

#include <dashgate/cancellation.h>
#include <grpcpp/client_context.h>

#include <mutex>
#include <unordered_set>

namespace dashgate::detail {

// The calls to cancel. They are cancelled while the lock is held: TryCancel does not block and runs
// no code of this library, and a call that is removed waits for a cancellation in progress.
class CancellationState {
 public:
  void cancel() noexcept;
  bool is_cancelled() noexcept;
  void add(grpc::ClientContext* call);
  void remove(grpc::ClientContext* call) noexcept;

 private:
  std::mutex mutex_;
  bool cancelled_ = false;
  std::unordered_set<grpc::ClientContext*> calls_;
};

// Registers a call for cancellation during its lifetime.
class CancelOnRequest {
 public:
  CancelOnRequest(const CancellationToken& token, grpc::ClientContext& call);
  CancelOnRequest(const CancelOnRequest&) = delete;
  CancelOnRequest& operator=(const CancelOnRequest&) = delete;
  ~CancelOnRequest();

 private:
  std::shared_ptr<CancellationState> state_;
  grpc::ClientContext* call_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CANCELLATION_STATE_H_
