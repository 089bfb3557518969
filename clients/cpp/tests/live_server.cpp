#include "live_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

namespace tests {

namespace v1 = dashgate::v1;

class LiveServer::Service final : public v1::LiveService::Service {
 public:
  explicit Service(LiveServer& server) : server_(server) {}

  grpc::Status ConverseLive(grpc::ServerContext* context, Messages* messages) override {
    const int number = server_.note(*context);
    v1::ConverseLiveRequest first;
    if (!messages->Read(&first)) return {grpc::StatusCode::INVALID_ARGUMENT, "no setup"};
    return server_.live(number, *context, first.setup(), *messages);
  }
  grpc::Status SynthesizeLive(grpc::ServerContext* context, Texts* texts) override {
    const int number = server_.note(*context);
    v1::SynthesizeLiveRequest first;
    if (!texts->Read(&first)) return {grpc::StatusCode::INVALID_ARGUMENT, "no setup"};
    return server_.speak(number, *context, first.setup(), *texts);
  }

 private:
  LiveServer& server_;
};

LiveServer::LiveServer() : service_(std::make_unique<Service>(*this)) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  address_ = "127.0.0.1:" + std::to_string(port);
}

LiveServer::~LiveServer() { server_->Shutdown(std::chrono::system_clock::now()); }

dashgate::ClientOptions LiveServer::options() const {
  dashgate::ClientOptions options;
  options.target = address_;
  options.api_key = "";
  return options;
}

std::vector<std::multimap<std::string, std::string>> LiveServer::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

int LiveServer::note(const grpc::ServerContext& context) {
  std::multimap<std::string, std::string> metadata;
  for (const auto& [name, value] : context.client_metadata()) {
    metadata.emplace(std::string(name.data(), name.size()),
                     std::string(value.data(), value.size()));
  }
  const std::lock_guard lock(mutex_);
  seen_.push_back(std::move(metadata));
  return static_cast<int>(seen_.size());
}

v1::ConverseLiveResponse session_started(std::int32_t sequence, bool is_resumed) {
  v1::ConverseLiveResponse event;
  event.set_sequence(sequence);
  event.mutable_session_started()->set_session_id("session-1");
  event.mutable_session_started()->set_resume_token("token-1");
  event.mutable_session_started()->set_resumed(is_resumed);
  return event;
}

v1::ConverseLiveResponse response_delta(std::int32_t sequence, const std::string& text) {
  v1::ConverseLiveResponse event;
  event.set_sequence(sequence);
  event.mutable_response_delta()->set_text(text);
  return event;
}

v1::ConverseLiveResponse session_ended(std::int32_t sequence) {
  v1::ConverseLiveResponse event;
  event.set_sequence(sequence);
  event.mutable_session_ended()->set_responses(1);
  return event;
}

grpc::Status echo(const v1::LiveSetup& setup, Messages& messages) {
  std::int32_t sequence = setup.has_resume() ? setup.resume().last_sequence() : 1;
  messages.Write(session_started(sequence, setup.has_resume()));
  v1::ConverseLiveRequest request;
  while (messages.Read(&request)) messages.Write(response_delta(++sequence, request.text()));
  messages.Write(session_ended(++sequence));
  return grpc::Status::OK;
}

void echo_all(LiveServer& server) {
  server.live = [](int, auto&&, const v1::LiveSetup& setup, Messages& messages) {
    return echo(setup, messages);
  };
}

std::string text_of(const std::optional<v1::ConverseLiveResponse>& event) {
  return event ? event->response_delta().text() : "no event";
}

}  // namespace tests
