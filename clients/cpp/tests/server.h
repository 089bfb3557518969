// A scripted gateway for tests.
#ifndef DASHGATE_TESTS_SERVER_H_
#define DASHGATE_TESTS_SERVER_H_

#include <dashgate/dashgate.h>
#include <dashgate/v1/call_service.grpc.pb.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <dashgate/v1/media_service.grpc.pb.h>
#include <grpcpp/server.h>
#include <grpcpp/server_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace tests {

using EventWriter = grpc::ServerWriter<dashgate::v1::ConverseStreamResponse>;
using ChunkReader = grpc::ServerReader<dashgate::v1::UploadMediaRequest>;

// A recorded call.
struct Seen {
  std::multimap<std::string, std::string> metadata;
  std::string request_id;
};

// Answers as configured, on its own socket, and records its requests.
class Server {
 public:
  // Listens on a free port of 127.0.0.1, or on the given address.
  explicit Server(const std::string& address = "127.0.0.1:0");
  ~Server();

  // Takes no more calls, and waits until those that run have ended.
  void shut_down();

  std::string address() const { return address_; }
  dashgate::ClientOptions options() const;

  // Each receives the number of the call, from 1.
  std::function<grpc::Status(int, grpc::ServerContext&, const dashgate::v1::ConverseRequest&,
                             dashgate::v1::ConverseResponse&)>
      converse;
  std::function<grpc::Status(int, grpc::ServerContext&, const dashgate::v1::ConverseStreamRequest&,
                             EventWriter&)>
      stream;
  std::function<grpc::Status(grpc::ServerContext&, ChunkReader&,
                             dashgate::v1::UploadMediaResponse&)>
      upload;

  std::vector<Seen> seen() const;
  // Waits until the client has cancelled this call; returns whether it did so in time.
  static bool wait_for_cancel(const grpc::ServerContext& context);
  // Waits until that many calls have ended by cancellation.
  bool wait_for_cancelled_calls(int count) const;
  void note_cancelled();
  // The request ids that CancelCall has received.
  std::vector<std::string> cancelled_ids() const;

 private:
  class Calls;
  class Conversations;
  class Media;

  int note(const grpc::ServerContext& context, std::string request_id);

  std::unique_ptr<Calls> calls_;
  std::unique_ptr<Conversations> conversations_;
  std::unique_ptr<Media> media_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Seen> seen_;
  int cancelled_ = 0;
  std::vector<std::string> cancelled_ids_;
};

// Events for tests.
dashgate::v1::ConverseStreamResponse started();
dashgate::v1::ConverseStreamResponse text_delta(const std::string& text, int choice = 0);
dashgate::v1::ConverseStreamResponse completed();

dashgate::Conversation question(const std::string& text = "hello");

// Returns the error that the call throws.
template <class Call>
dashgate::Error failure_of(Call call) {
  try {
    call();
  } catch (const dashgate::Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return dashgate::Error({});
}

}  // namespace tests

#endif  // DASHGATE_TESTS_SERVER_H_
