// A streamed call in progress.
#ifndef DASHGATE_SRC_STREAM_STATE_H_
#define DASHGATE_SRC_STREAM_STATE_H_

#include <dashgate/answer.h>
#include <dashgate/error.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "call.h"
#include "fold.h"

namespace dashgate::detail {

// Reads on its own completion queue, and only while an event is requested. The reading thread is
// the one that waits, up to the idle timeout; the time that the reader needs does not count as
// idle.
class StreamState {
 public:
  // Starts the call. The service may be destroyed afterwards.
  StreamState(std::unique_ptr<Call> call, v1::ConversationService::StubInterface& service,
              const v1::ConverseStreamRequest& request, std::chrono::milliseconds idle_timeout);
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;
  // Cancels the call if it has not ended, and waits until gRPC has released it.
  ~StreamState();

  // Returns the next event, or null after the last. Throws Error if the call failed, also when
  // called again.
  const v1::ConverseStreamResponse* next();

  // Reads the remaining events and returns the answer.
  Answer finish();

  void cancel() noexcept { call_->context().TryCancel(); }
  const std::string& request_id() const noexcept { return request_id_; }

 private:
  // Waits for the pending operation; returns whether it succeeded.
  bool wait();
  // Reads the status of the call.
  void end();

  std::unique_ptr<Call> call_;
  std::string request_id_;
  std::chrono::milliseconds idle_timeout_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReaderInterface<v1::ConverseStreamResponse>> reader_;
  v1::ConverseStreamResponse event_;
  Fold fold_;
  bool is_sent_ = false;
  bool is_idle_ = false;
  bool is_over_ = false;
  std::optional<Error> error_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_STREAM_STATE_H_
