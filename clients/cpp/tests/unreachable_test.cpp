// Deadlines that end before the gateway was reached.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

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

// gRPC does not retry these, so that their errors have the cause, unless the deadline was first.
TEST(Unreachable, SoAreUploadsAndSessions) {
  const Client client = client_of(kClosed, milliseconds(0));
  expect_unreachable(failure_of([&] { client.cancel_call("r"); }), kClosed);
  expect_unreachable(failure_of([&] { client.upload_bytes("m", "GIF89a"); }), kClosed);
  dashgate::LiveSession session = client.live("m");
  expect_unreachable(failure_of([&] { session.next(); }), kClosed);
  dashgate::v1::LiveSetup setup;
  setup.mutable_resume()->set_session_id("s");
  setup.mutable_resume()->set_token("t");
  const Client another = client_of(kClosed, milliseconds(0));
  dashgate::LiveSession resumed = another.live(setup);
  expect_unreachable(failure_of([&] { resumed.next(); }), kClosed);
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
  const Client client(grpc::CreateChannel(kClosed, grpc::InsecureChannelCredentials()));
  dashgate::CallOptions options;
  options.timeout = milliseconds(0);
  expect_unreachable(failure_of([&] { client.converse(tests::question(), options); }), kClosed);
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
