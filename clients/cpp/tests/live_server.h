// A server of live sessions for tests.
#ifndef DASHGATE_TESTS_LIVE_SERVER_H_
#define DASHGATE_TESTS_LIVE_SERVER_H_

#include <dashgate/dashgate.h>
#include <dashgate/v1/live_service.grpc.pb.h>
#include <grpcpp/server.h>
#include <grpcpp/server_context.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace tests {

using Messages =
    grpc::ServerReaderWriter<dashgate::v1::ConverseLiveResponse, dashgate::v1::ConverseLiveRequest>;
using Texts = grpc::ServerReaderWriter<dashgate::v1::SynthesizeLiveResponse,
                                       dashgate::v1::SynthesizeLiveRequest>;

// Plays each call, after its setup was read.
class LiveServer {
 public:
  LiveServer();
  ~LiveServer();

  dashgate::ClientOptions options() const;

  // Each receives the number of the call, from 1.
  std::function<grpc::Status(int, grpc::ServerContext&, const dashgate::v1::LiveSetup&, Messages&)>
      live;
  std::function<grpc::Status(int, grpc::ServerContext&, const dashgate::v1::SynthesisSetup&,
                             Texts&)>
      speak;

  // Returns the metadata of each call.
  std::vector<std::multimap<std::string, std::string>> seen() const;

 private:
  class Service;

  int note(const grpc::ServerContext& context);

  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  mutable std::mutex mutex_;
  std::vector<std::multimap<std::string, std::string>> seen_;
};

// Events for tests.
dashgate::v1::ConverseLiveResponse session_started(std::int32_t sequence, bool is_resumed = false);
dashgate::v1::ConverseLiveResponse response_delta(std::int32_t sequence, const std::string& text);
dashgate::v1::ConverseLiveResponse session_ended(std::int32_t sequence);

// Answers each text with itself, and resumes sessions after the sequence of the client.
grpc::Status echo(const dashgate::v1::LiveSetup& setup, Messages& messages);
// Does so in every call.
void echo_all(LiveServer& server);

// Returns the text of a delta, or what shows that there is none.
std::string text_of(const std::optional<dashgate::v1::ConverseLiveResponse>& event);

}  // namespace tests

#endif  // DASHGATE_TESTS_LIVE_SERVER_H_
