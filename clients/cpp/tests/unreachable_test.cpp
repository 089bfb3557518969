// Deadlines that end before the gateway was reached.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "folder.h"
#include "server.h"
#include "variable.h"

namespace {

using dashgate::Client;
using dashgate::Error;
using std::chrono::milliseconds;
using tests::failure_of;

// No server listens there: a port below those that the system chooses.
const std::string kClosed = "127.0.0.1:5999";

Client client_of(const std::string& target, milliseconds timeout = milliseconds(100)) {
  dashgate::ClientOptions options;
  options.target = target;
  options.api_key = "";
  options.timeout = timeout;
  return Client(options);
}

void expect_unreachable(const Error& error, const std::string& address) {
  EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE) << error.what();
  EXPECT_EQ(error.reason(), dashgate::v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_EQ(error.raw_reason(), "");
  EXPECT_TRUE(error.retryable());
  EXPECT_FALSE(error.retry_after());
  EXPECT_FALSE(error.request_id().empty());
  EXPECT_EQ(error.message(), address + ": no connection could be made in time");
}

TEST(Unreachable, ADeadlineWithoutAConnectionIsUnavailable) {
  const Client client = client_of(kClosed);
  expect_unreachable(failure_of([&] { client.converse(tests::question()); }), kClosed);
  expect_unreachable(failure_of([&] { client.stream(tests::question()).final_answer(); }), kClosed);
  expect_unreachable(failure_of([&] { client.get_model("m"); }), kClosed);
  expect_unreachable(failure_of([&] { client.get_conversation("conversations/c"); }), kClosed);
}

// Answers nothing until the call is over.
void be_slow(tests::Server& server) {
  server.converse = [](int, grpc::ServerContext& context, auto&&...) {
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  server.stream = [](int, grpc::ServerContext& context, auto&&...) {
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
}

// A listener that accepts connections and sends nothing, as a proxy whose gateway is away.
class Silent {
 public:
  Silent() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(socket_, any, size), 0);
    EXPECT_EQ(listen(socket_, 100), 0);
    EXPECT_EQ(getsockname(socket_, any, &size), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  Silent(const Silent&) = delete;
  Silent& operator=(const Silent&) = delete;
  ~Silent() { close(socket_); }

  const std::string& address() const { return address_; }

 private:
  int socket_;
  std::string address_;
};

using Form = std::pair<const char*, std::function<void()>>;

// Every kind of call.
std::vector<Form> forms(const Client& client) {
  dashgate::v1::LiveSetup setup;
  setup.mutable_resume()->set_session_id("s");
  setup.mutable_resume()->set_token("t");
  return {
      {"converse", [&] { client.converse(tests::question()); }},
      {"stream", [&] { client.stream(tests::question()).final_answer(); }},
      {"run_tools",
       [&] {
         dashgate::Conversation asked = tests::question();
         client.run_tools(asked, {});
       }},
      {"stream_tools",
       [&] {
         dashgate::Conversation asked = tests::question();
         client.stream_tools(asked, {}).final_answer();
       }},
      {"list_models", [&] { client.list_models(); }},
      {"get_conversation", [&] { client.get_conversation("conversations/c"); }},
      {"create_conversation", [&] { client.create_conversation(); }},
      {"cancel_call", [&] { client.cancel_call("r"); }},
      {"upload", [&] { client.upload_bytes("m", "GIF89a"); }},
      {"live", [&] { client.live("m").next(); }},
      {"live with a session", [&, setup] { client.live(setup).next(); }},
      {"speak", [&] { client.speak("m").next(); }},
  };
}

// gRPC does not retry uploads and sessions, whose errors would have the cause at a closed port.
TEST(Unreachable, SoIsEveryKindOfCallAtASilentListener) {
  const Silent silent;
  const Client client = client_of(silent.address());
  for (const auto& [name, call] : forms(client)) {
    SCOPED_TRACE(name);
    expect_unreachable(failure_of(call), silent.address());
  }
}

// Nothing was sent, so that there is no call to end at the gateway.
TEST(Unreachable, ClosingAClientDoesNotWaitForStreamsWithoutAConnection) {
  const Silent silent;
  std::optional<Client> client(client_of(silent.address()));
  failure_of([&] { client->stream(tests::question()).final_answer(); });
  {
    dashgate::CallOptions options;
    options.timeout = std::chrono::hours(1);
    dashgate::Stream left = client->stream(tests::question(), options);
    std::this_thread::sleep_for(milliseconds(50));
  }
  const auto begun = std::chrono::steady_clock::now();
  client.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, milliseconds(1500));
}

class UnreachableFile : public tests::FolderTest {};

// One of the calls uploads the file, the others wait for it.
TEST_F(UnreachableFile, CallsThatWaitForAnUploadAreUnreachableToo) {
  const Silent silent;
  const Client client = client_of(silent.address());
  dashgate::Conversation asked("m");
  const std::string bytes = "ID3" + std::string(5 * 1024 * 1024, '\0');
  asked.user(dashgate::audio(write("large.mp3", bytes)), "what?");
  std::vector<std::thread> calls;
  for (const int timeout : {300, 300, 600, 900}) {
    calls.emplace_back([&, timeout] {
      dashgate::CallOptions options;
      options.timeout = milliseconds(timeout);
      expect_unreachable(failure_of([&] { client.converse(asked, options); }), silent.address());
    });
  }
  for (std::thread& call : calls) call.join();
}

// A loop that repeats what is retryable until its deadline would not end.
TEST(Unreachable, ADeadlineThatWasOverBeforeItsCallIsNot) {
  const Client client = client_of(kClosed, milliseconds(0));
  for (const auto& [name, call] : forms(client)) {
    SCOPED_TRACE(name);
    const Error error = failure_of(call);
    EXPECT_EQ(error.code(), grpc::StatusCode::DEADLINE_EXCEEDED) << error.what();
    EXPECT_EQ(error.raw_reason(), "DEADLINE_EXCEEDED");
    EXPECT_FALSE(error.retryable());
    EXPECT_FALSE(error.request_id().empty());
  }
}

// The last call of a connection that takes no more, of a gateway that shuts down.
TEST(Unreachable, AGatewayThatShutsDownDuringASlowCallIsNot) {
  tests::Server server;
  be_slow(server);
  const Client client = client_of(server.address(), milliseconds(1200));
  std::thread closer([&] {
    while (server.seen().empty()) std::this_thread::sleep_for(milliseconds(5));
    server.shut_down();
  });
  const Error error = failure_of([&] { client.converse(tests::question()); });
  closer.join();
  EXPECT_EQ(error.code(), grpc::StatusCode::DEADLINE_EXCEEDED) << error.what();
  EXPECT_FALSE(error.retryable());
}

TEST(Unreachable, AGatewayThatWentAwayDuringACall) {
  auto server = std::make_unique<tests::Server>();
  const std::string address = server->address();
  server->converse = [](auto&&...) { return grpc::Status::OK; };
  const Client client = client_of(address, milliseconds(2000));
  client.converse(tests::question());
  server->converse = [](int, grpc::ServerContext& context, auto&&...) {
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  std::thread killer([&] {
    while (server->seen().size() < 2) std::this_thread::sleep_for(milliseconds(5));
    server.reset();
  });
  const Error error = failure_of([&] { client.converse(tests::question()); });
  killer.join();
  EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE) << error.what();
  EXPECT_TRUE(error.retryable());
}

TEST(Unreachable, SoAreNamesThatAreUnknownAndSocketsThatAreAbsent) {
  // The library has the cause of this one.
  const Error unknown =
      failure_of([] { client_of("gateway.invalid:50051").converse(tests::question()); });
  EXPECT_EQ(unknown.code(), grpc::StatusCode::UNAVAILABLE) << unknown.what();
  EXPECT_TRUE(unknown.retryable());
  EXPECT_NE(unknown.message().find("gateway.invalid:50051"), std::string::npos) << unknown.what();
  for (const std::string address : {"dns:///127.0.0.1:5999", "unix:/nonexistent/dashgate"}) {
    const Client client = client_of(address);
    expect_unreachable(failure_of([&] { client.converse(tests::question()); }), address);
  }
}

TEST(Unreachable, AlsoOnAChannelOfTheProgram) {
  const Silent silent;
  const Client client(grpc::CreateChannel(silent.address(), grpc::InsecureChannelCredentials()));
  dashgate::CallOptions options;
  options.timeout = milliseconds(100);
  expect_unreachable(failure_of([&] { client.converse(tests::question(), options); }),
                     silent.address());
}

// gRPC has the addresses of a name only, and writes one of IPv6 in its own form.
TEST(Unreachable, TheTargetIsInTheError) {
  const std::string address = "[::1]:5999";
  const Client client = client_of(address);
  for (const Error& error : {failure_of([&] { client.upload_bytes("m", "GIF89a"); }),
                             failure_of([&] { client.live("m").next(); }),
                             failure_of([&] { client.cancel_call("r"); })}) {
    EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(error.message().rfind(address + ": ", 0), 0U) << error.what();
    EXPECT_TRUE(error.retryable());
  }
}

TEST(Unreachable, AStreamThatIsIdleWithoutAConnection) {
  dashgate::ClientOptions options;
  options.target = kClosed;
  options.idle_timeout = milliseconds(100);
  const Client client(options);
  expect_unreachable(failure_of([&] { client.stream(tests::question()).final_answer(); }), kClosed);
}

TEST(Unreachable, IsInTheLog) {
  const tests::Variable variable("DASHGATE_LOG", "debug");
  testing::internal::CaptureStderr();
  failure_of([] { client_of(kClosed).converse(tests::question()); });
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_NE(lines.find("dashgate: Converse UNAVAILABLE "), std::string::npos) << lines;
}

void expect_slow(const std::string& target) {
  // A busy machine connects within it.
  const Client client = client_of(target, milliseconds(1000));
  for (const Error& error :
       {failure_of([&] { client.converse(tests::question()); }),
        failure_of([&] { client.stream(tests::question()).final_answer(); })}) {
    EXPECT_EQ(error.code(), grpc::StatusCode::DEADLINE_EXCEEDED) << error.what();
    EXPECT_EQ(error.raw_reason(), "DEADLINE_EXCEEDED");
    EXPECT_FALSE(error.retryable());
  }
}

TEST(Unreachable, ASlowGatewayIsNot) {
  tests::Server server;
  be_slow(server);
  expect_slow(server.address());
  const auto folder = std::filesystem::temp_directory_path();
  const std::string path = "unix:" + (folder / ("slow-" + std::to_string(getpid()))).string();
  tests::Server local(path);
  be_slow(local);
  expect_slow(path);
}

}  // namespace
