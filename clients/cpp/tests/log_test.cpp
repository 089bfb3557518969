// The log.
#include "log.h"

#include <gtest/gtest.h>

#include "server.h"
#include "variable.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using dashgate::detail::LogLevel;
using dashgate::detail::parse_log_level;
using tests::failure_of;

// Returns the lines of the log with other numbers.
std::string log_of(const char* level, const std::function<void()>& what) {
  const tests::Variable variable("DASHGATE_LOG", level);
  testing::internal::CaptureStderr();
  what();
  return testing::internal::GetCapturedStderr();
}

TEST(LogLevel, IsOffForUnknownValues) {
  EXPECT_EQ(parse_log_level("info"), LogLevel::kInfo);
  EXPECT_EQ(parse_log_level("debug"), LogLevel::kDebug);
  for (const char* off : {"off", "", "INFO", "trace"}) {
    EXPECT_EQ(parse_log_level(off), LogLevel::kOff) << off;
  }
  EXPECT_EQ(parse_log_level(nullptr), LogLevel::kOff);
}

void call_and_fail(tests::Server& server) {
  dashgate::ClientOptions options = server.options();
  options.api_key = "dg-secret";
  options.metadata = {{"x-mine", "private"}};
  const Client client(options);
  dashgate::CallOptions call;
  call.request_id = "r-1";
  client.converse(tests::question("hush"), call);
  failure_of([&] { client.converse(tests::question("hush"), call); });
  client.stream(tests::question("hush"), call).final_answer();
}

TEST(Log, HasALineForEachCallAndNoContent) {
  tests::Server server;
  server.converse = [](int number, auto&&...) {
    return number == 1 ? grpc::Status::OK
                       : grpc::Status(grpc::StatusCode::NOT_FOUND, "private message");
  };
  server.stream = [](int, auto&&, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
  const std::string lines = log_of("info", [&] { call_and_fail(server); });
  const std::string end = ", request id r-1, " + server.address() + "\n";
  EXPECT_EQ(lines.find("dashgate: Converse OK "), 0U) << lines;
  EXPECT_NE(lines.find(" ms" + end + "dashgate: Converse NOT_FOUND "), std::string::npos) << lines;
  EXPECT_NE(lines.find("dashgate: ConverseStream OK "), std::string::npos) << lines;
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 3);
  for (const char* secret : {"dg-secret", "private", "hush"}) {
    EXPECT_EQ(lines.find(secret), std::string::npos) << lines;
  }
}

TEST(Log, OfDetailsHasConnectionsAndRetries) {
  tests::Server server;
  server.converse = [](int number, grpc::ServerContext& context, auto&&...) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "1");
    return number == 1 ? grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "") : grpc::Status::OK;
  };
  const std::string lines = log_of("debug", [&] {
    dashgate::ClientOptions options = server.options();
    options.max_retries = 1;
    Client(options).converse(tests::question());
  });
  EXPECT_EQ(lines.find("dashgate: connection 1, " + server.address() + "\n"), 0U) << lines;
  EXPECT_NE(lines.find("dashgate: Converse retry 1 in 1 ms, request id "), std::string::npos)
      << lines;
}

TEST(Log, ACallIsOneLineWhateverItsIdAndReasonAre) {
  const std::string lines = log_of("", [] {
    const auto log = std::make_shared<const dashgate::detail::Log>(LogLevel::kDebug, "127.0.0.1:1");
    dashgate::detail::CallLog call(log, "Converse",
                                   "a\nb\x1b[0m\xc3\xa9\x7f" + std::string(300, 'x'));
    call.retry(1, std::chrono::milliseconds(5));
    dashgate::Error::Fields fields;
    fields.code = grpc::StatusCode::ABORTED;
    fields.raw_reason = "X\r\n" + std::string(300, 'Y');
    call.fail(dashgate::Error(fields));
  });
  const std::string id = "request id a?b?[0m??" + std::string(191, 'x') + ", 127.0.0.1:1\n";
  EXPECT_EQ(lines.find("dashgate: Converse retry 1 in 5 ms, " + id), 0U) << lines;
  const std::string reason = "X??" + std::string(197, 'Y') + " ";
  EXPECT_NE(lines.find("dashgate: Converse ABORTED " + reason), std::string::npos) << lines;
  EXPECT_EQ(lines.substr(lines.size() - id.size()), id);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
}

TEST(Log, IsOffByDefault) {
  tests::Server server;
  server.converse = [](auto&&...) { return grpc::Status::OK; };
  const auto call = [&] { Client(server.options()).converse(tests::question()); };
  EXPECT_EQ(log_of("", call), "");
}

TEST(Log, AStreamThatIsLeftIsCancelled) {
  tests::Server server;
  server.stream = [](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::started());
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  const std::string lines = log_of("info", [&] {
    const Client client(server.options());
    dashgate::Stream stream = client.stream(tests::question());
    EXPECT_NE(stream.begin(), stream.end());
  });
  EXPECT_EQ(lines.find("dashgate: ConverseStream CANCELLED "), 0U) << lines;
}

}  // namespace
