// Calls that were throttled, and the other retries of this library.
#include "retry.h"

#include <dashgate/client/v1/error_details.pb.h>
#include <gtest/gtest.h>

#include <thread>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
namespace wire = dashgate::client::v1;
using dashgate::Client;
using dashgate::Error;
using dashgate::detail::throttle_delay;
using dashgate::detail::unavailable_delay;
using std::chrono::milliseconds;
using tests::failure_of;
using Time = std::chrono::system_clock::time_point;

Error error_with(grpc::StatusCode code, std::optional<milliseconds> retry_after) {
  Error::Fields fields;
  fields.code = code;
  fields.retry_after = retry_after;
  return Error(fields);
}

grpc::Status throttled(std::int64_t after_ms) {
  wire::Status details;
  wire::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(after_ms / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int>(after_ms % 1000 * 1'000'000));
  google::protobuf::Any& any = *details.add_details();
  any.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  any.set_value(retry.SerializeAsString());
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, "slow", details.SerializeAsString()};
}

TEST(ThrottleDelay, IsTheTimeOfTheGatewayAndALittleMore) {
  const Error failed = error_with(grpc::StatusCode::RESOURCE_EXHAUSTED, milliseconds(1000));
  for (int at = 0; at < 100; ++at) {
    const auto delay = throttle_delay(failed, 1, std::nullopt);
    ASSERT_TRUE(delay);
    EXPECT_GE(*delay, milliseconds(1000));
    EXPECT_LE(*delay, milliseconds(1100));
  }
}

TEST(ThrottleDelay, NeedsATimeARetryAndADeadlineThatIsLater) {
  const Error failed = error_with(grpc::StatusCode::RESOURCE_EXHAUSTED, milliseconds(1000));
  const Time now;
  EXPECT_FALSE(throttle_delay(failed, 0, std::nullopt));
  EXPECT_FALSE(throttle_delay(failed, 1, now + milliseconds(999), now));
  EXPECT_TRUE(throttle_delay(failed, 1, now + milliseconds(1101), now));
  EXPECT_FALSE(throttle_delay(error_with(grpc::StatusCode::RESOURCE_EXHAUSTED, std::nullopt), 1,
                              std::nullopt));
  EXPECT_FALSE(
      throttle_delay(error_with(grpc::StatusCode::UNAVAILABLE, milliseconds(1)), 1, std::nullopt));
}

TEST(UnavailableDelay, IsThatOfTheServiceConfig) {
  const Error failed = error_with(grpc::StatusCode::UNAVAILABLE, std::nullopt);
  EXPECT_LE(unavailable_delay(failed, 1, std::nullopt), milliseconds(500));
  EXPECT_LE(unavailable_delay(failed, 4, std::nullopt), milliseconds(4000));
  EXPECT_FALSE(unavailable_delay(failed, 5, std::nullopt));
  EXPECT_EQ(unavailable_delay(error_with(grpc::StatusCode::UNAVAILABLE, milliseconds(7)), 1,
                              std::nullopt),
            milliseconds(7));
  EXPECT_FALSE(
      unavailable_delay(error_with(grpc::StatusCode::INTERNAL, milliseconds(7)), 1, std::nullopt));
  Error::Fields refused = failed.fields();
  refused.headers = {{"grpc-retry-pushback-ms", "-1"}};
  EXPECT_FALSE(unavailable_delay(Error(refused), 1, std::nullopt));
}

TEST(Throttled, ACallIsMadeAgainWithTheSameRequestId) {
  tests::Server server;
  server.converse = [](int number, auto&&...) {
    return number < 3 ? throttled(1) : grpc::Status::OK;
  };
  dashgate::ClientOptions options = server.options();
  options.max_retries = 2;
  Client(options).converse(tests::question());
  const auto seen = server.seen();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].request_id, seen[2].request_id);
}

TEST(Throttled, TheOptionOfTheCallCounts) {
  tests::Server server;
  server.converse = [](auto&&...) { return throttled(1); };
  dashgate::ClientOptions options = server.options();
  options.max_retries = 5;
  const Client client(options);
  dashgate::CallOptions call;
  call.max_retries = 1;
  const Error error = failure_of([&] { client.converse(tests::question(), call); });
  EXPECT_EQ(error.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server.seen().size(), 2U);
}

TEST(Throttled, AStreamIsMadeAgainBeforeItsFirstEvent) {
  tests::Server server;
  server.stream = [](int number, auto&&, auto&&, tests::EventWriter& writer) {
    if (number == 1) return throttled(1);
    writer.Write(tests::started());
    if (number == 3) return throttled(1);
    writer.Write(tests::text_delta("now"));
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
  const Client client(server.options());
  dashgate::CallOptions options;
  options.max_retries = 3;
  EXPECT_EQ(client.stream(tests::question(), options).final_answer().text(), "now");
  EXPECT_EQ(failure_of([&] { client.stream(tests::question(), options).final_answer(); }).code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server.seen().size(), 3U);
}

TEST(Throttled, CancellingEndsTheWait) {
  tests::Server server;
  server.converse = [](auto&&...) { return throttled(600'000); };
  const Client client(server.options());
  dashgate::CancellationSource source;
  dashgate::CallOptions options;
  options.timeout = std::chrono::hours(1);
  options.max_retries = 1;
  options.cancellation = source.token();
  std::thread other([&] {
    while (server.seen().empty()) std::this_thread::yield();
    source.cancel();
  });
  EXPECT_EQ(failure_of([&] { client.converse(tests::question(), options); }).code(),
            grpc::StatusCode::CANCELLED);
  other.join();
}

}  // namespace
