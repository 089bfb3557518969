// A streamed call in progress.
#ifndef DASHGATE_SRC_STREAM_STATE_H_
#define DASHGATE_SRC_STREAM_STATE_H_

#include <dashgate/answer.h>
#include <dashgate/error.h>
#include <dashgate/options.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "call.h"
#include "call_canceller.h"
#include "connection_pool.h"
#include "fold.h"
#include "log.h"
#include "stream_progress.h"

namespace dashgate::detail {

// What a stream has of its client.
struct StreamClient {
  std::shared_ptr<ConnectionPool> pool;
  std::shared_ptr<CallCanceller> canceller;
  std::shared_ptr<const Log> log;
  Metadata metadata;
  std::chrono::milliseconds idle_timeout;
};

// A call to be streamed.
struct StreamSetup {
  v1::ConverseStreamRequest request;
  Metadata metadata;
  Deadline deadline;
  CancellationToken cancellation;
  int max_retries = 0;
  bool is_named = false;  // the caller chose the request id
  bool is_late = false;   // the deadline was over before the call
};

// Reads on its own completion queue, and only while an event is requested. The reading thread is
// the one that waits, up to the idle timeout; the time that the reader needs does not count as
// idle. If the connection is lost, the stream continues on another one.
class StreamState {
 public:
  // Starts the call, if there is a connection for it. Otherwise the first read waits for one, and
  // starts it.
  StreamState(StreamClient client, StreamSetup setup);
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;
  // Cancels the call if it has not ended, and waits until gRPC has released it.
  ~StreamState();

  // Returns the next event, or null after the last. Throws Error if the call failed, also when
  // called again.
  const v1::ConverseStreamResponse* next();

  // Reads the remaining events and returns the answer.
  Answer finish();

  // Returns the answer of the events so far, or nothing before the first one.
  std::optional<Answer> partial() const;

  // Returns the metadata of the response; empty before the first event.
  const Metadata& headers() const noexcept { return headers_; }

  // Thread-safe.
  void cancel() noexcept;
  int resumes() const noexcept { return progress_.resumes(); }
  const std::string& request_id() const noexcept { return request_.request_id(); }

 private:
  // Waits for a connection and starts the call; returns the error if there is none.
  std::optional<Error> connect();
  // Opens a connection's call.
  void open();
  // Returns whether the gateway may have the call, which has not been cancelled. Requires the lock.
  bool may_have_it() const;
  // Reads an event of the connection; returns whether there was one.
  bool read();
  // Waits for the pending operation; returns whether it succeeded.
  bool wait();
  // Reads the status of the connection's call; returns its error, if there is one.
  std::optional<Error> status();
  // Waits before another attempt; returns false if the stream was cancelled.
  bool pause(std::chrono::milliseconds delay);
  // Returns the delay before another attempt, or nothing if the stream has ended.
  std::optional<std::chrono::milliseconds> next_attempt(std::optional<Error>& failed);
  void end(std::optional<Error> error);
  // Ends the call at the gateway, once, if that waits for this stream.
  void leave(bool is_late) noexcept;

  const StreamClient client_;
  v1::ConverseStreamRequest request_;
  const Metadata metadata_;
  const Deadline deadline_;
  const int max_retries_;
  const bool is_late_;
  int retries_ = 0;
  CallLog log_;
  StreamProgress progress_;
  ConnectionLease lease_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReaderInterface<v1::ConverseStreamResponse>> reader_;
  v1::ConverseStreamResponse event_;
  Fold fold_;
  Metadata headers_;
  bool has_headers_ = false;
  bool is_open_ = false;
  bool is_sent_ = false;
  bool is_idle_ = false;
  bool is_over_ = false;
  std::optional<Error> error_;
  std::atomic<bool> is_left_{false};
  std::mutex leaving_;
  // Protects what follows.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<Call> call_;
  int opened_ = 0;
  bool had_it_ = false;  // when it was cancelled
  bool is_cancelled_ = false;
  // The last member: it may call cancel().
  CancelOnRequest cancel_on_request_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_STREAM_STATE_H_
