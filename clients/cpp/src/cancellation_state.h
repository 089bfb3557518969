// What a source and its tokens share.
#ifndef DASHGATE_SRC_CANCELLATION_STATE_H_
#define DASHGATE_SRC_CANCELLATION_STATE_H_

#include <dashgate/cancellation.h>
#include <grpcpp/client_context.h>

#include <mutex>
#include <unordered_set>

namespace dashgate::detail {

// The calls to cancel. They are cancelled under the lock: TryCancel waits for nothing and calls
// nothing of ours, and a call that leaves waits until nobody cancels it any more.
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

// While it lives, the token's source cancels the call.
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
