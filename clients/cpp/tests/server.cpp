#include "server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <thread>
#include <utility>

namespace tests {

namespace v1 = dashgate::v1;

class Server::Calls final : public v1::CallService::Service {
 public:
  explicit Calls(Server& server) : server_(server) {}

  grpc::Status CancelCall(grpc::ServerContext* /*context*/, const v1::CancelCallRequest* request,
                          v1::CancelCallResponse* /*response*/) override {
    const std::lock_guard lock(server_.mutex_);
    server_.cancelled_ids_.push_back(request->request_id());
    return grpc::Status::OK;
  }

 private:
  Server& server_;
};

class Server::Conversations final : public v1::ConversationService::Service {
 public:
  explicit Conversations(Server& server) : server_(server) {}

  grpc::Status Converse(grpc::ServerContext* context, const v1::ConverseRequest* request,
                        v1::ConverseResponse* response) override {
    const int number = server_.note(*context, request->request_id());
    return server_.converse(number, *context, *request, *response);
  }
  grpc::Status ConverseStream(grpc::ServerContext* context,
                              const v1::ConverseStreamRequest* request,
                              EventWriter* writer) override {
    const int number = server_.note(*context, request->request_id());
    grpc::Status status = server_.stream(number, *context, *request, *writer);
    if (context->IsCancelled()) server_.note_cancelled();
    return status;
  }

 private:
  Server& server_;
};

class Server::Media final : public v1::MediaService::Service {
 public:
  explicit Media(Server& server) : server_(server) {}

  grpc::Status UploadMedia(grpc::ServerContext* context, ChunkReader* reader,
                           v1::UploadMediaResponse* response) override {
    server_.note(*context, {});
    grpc::Status status = server_.upload(*context, *reader, *response);
    if (context->IsCancelled()) server_.note_cancelled();
    return status;
  }

 private:
  Server& server_;
};

Server::Server(const std::string& address)
    : calls_(std::make_unique<Calls>(*this)),
      conversations_(std::make_unique<Conversations>(*this)),
      media_(std::make_unique<Media>(*this)),
      address_(address) {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(calls_.get());
  builder.RegisterService(conversations_.get());
  builder.RegisterService(media_.get());
  server_ = builder.BuildAndStart();
  if (address == "127.0.0.1:0") address_ = "127.0.0.1:" + std::to_string(port);
}

Server::~Server() { server_->Shutdown(std::chrono::system_clock::now()); }

void Server::shut_down() {
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(10));
}

dashgate::ClientOptions Server::options() const {
  dashgate::ClientOptions options;
  options.target = address_;
  options.api_key = "";
  return options;
}

std::vector<Seen> Server::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

std::vector<std::string> Server::cancelled_ids() const {
  const std::lock_guard lock(mutex_);
  return cancelled_ids_;
}

int Server::note(const grpc::ServerContext& context, std::string request_id) {
  Seen seen;
  for (const auto& [name, value] : context.client_metadata()) {
    seen.metadata.emplace(std::string(name.data(), name.size()),
                          std::string(value.data(), value.size()));
  }
  seen.request_id = std::move(request_id);
  const std::lock_guard lock(mutex_);
  seen_.push_back(std::move(seen));
  return static_cast<int>(seen_.size());
}

bool Server::wait_for_cancel(const grpc::ServerContext& context) {
  // The synchronous server cannot wait for a cancellation, so it polls.
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!context.IsCancelled()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

void Server::note_cancelled() {
  {
    const std::lock_guard lock(mutex_);
    ++cancelled_;
  }
  changed_.notify_all();
}

bool Server::wait_for_cancelled_calls(int count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return cancelled_ >= count; });
}

v1::ConverseStreamResponse started() {
  v1::ConverseStreamResponse event;
  event.mutable_started()->set_model("m");
  event.mutable_started()->set_request_id("r");
  event.mutable_started()->set_upstream_request_id("u");
  return event;
}

v1::ConverseStreamResponse text_delta(const std::string& text, int choice) {
  v1::ConverseStreamResponse event;
  event.mutable_delta()->set_choice_index(choice);
  event.mutable_delta()->set_text(text);
  return event;
}

v1::ConverseStreamResponse completed() {
  v1::ConverseStreamResponse event;
  v1::ChoiceEnd& end = *event.mutable_completed()->add_choices();
  end.set_finish_reason(v1::FINISH_REASON_STOP);
  end.set_raw_finish_reason("stop");
  return event;
}

dashgate::Conversation question(const std::string& text) {
  dashgate::Conversation conversation("m");
  conversation.user(text);
  return conversation;
}

}  // namespace tests
