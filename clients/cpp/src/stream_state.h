// A streamed call under way.
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

// Reads on a completion queue of its own, and only while somebody wants an event. So the thread
// that reads is the one that waits, up to the idle limit, and a reader who takes his time is not
// idle.
class StreamState {
 public:
  // Begins the call. The service may go away afterwards.
  StreamState(std::unique_ptr<Call> call, v1::ConversationService::StubInterface& service,
              const v1::ConverseStreamRequest& request, std::chrono::milliseconds idle_timeout);
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;
  // Cancels what is not over, and waits until gRPC has let go of it.
  ~StreamState();

  // The next event, or nothing after the last. Throws Error when the call failed, and again
  // whenever it is asked again.
  const v1::ConverseStreamResponse* next();

  // Reads the rest.
  Answer finish();

  void cancel() noexcept { call_->context().TryCancel(); }
  const std::string& request_id() const noexcept { return request_id_; }

 private:
  // Waits for the one operation that is under way; says whether it went well.
  bool wait();
  // Learns how the call ended.
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
