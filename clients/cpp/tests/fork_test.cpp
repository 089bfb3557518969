// A client created before a fork works in both processes, because it connects with its first call.
// gRPC must not run before the fork, so the server is a separate process.
#include <dashgate/dashgate.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <iostream>
#include <string>

namespace {

namespace v1 = dashgate::v1;

class Conversations final : public v1::ConversationService::Service {
  grpc::Status Converse(grpc::ServerContext*, const v1::ConverseRequest*,
                        v1::ConverseResponse* response) override {
    response->set_model("answered");
    return grpc::Status::OK;
  }
};

// Serves until the process is terminated; writes its port first.
[[noreturn]] void serve(int tell) {
  Conversations conversations;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&conversations);
  const auto server = builder.BuildAndStart();
  if (write(tell, &port, sizeof port) != sizeof port) _exit(1);
  server->Wait();
  _exit(0);
}

bool is_answered(const dashgate::Client& client) {
  dashgate::Conversation conversation("m");
  conversation.user("hello");
  try {
    return client.converse(conversation).model() == "answered";
  } catch (const dashgate::Error& error) {
    std::cerr << error.what() << '\n';
    return false;
  }
}

}  // namespace

int main() {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return 1;
  const pid_t server = fork();
  if (server == 0) serve(ends[1]);
  int port = 0;
  if (read(ends[0], &port, sizeof port) != sizeof port) return 1;

  dashgate::ClientOptions options;
  options.target = "127.0.0.1:" + std::to_string(port);
  const dashgate::Client client(options);
  const pid_t child = fork();
  if (child == 0) _exit(is_answered(client) ? 0 : 1);
  const bool is_parent_well = is_answered(client);
  int status = 1;
  waitpid(child, &status, 0);
  kill(server, SIGTERM);
  waitpid(server, nullptr, 0);
  std::cout << "parent " << is_parent_well << ", child " << (status == 0) << '\n';
  return is_parent_well && status == 0 ? 0 : 1;
}
