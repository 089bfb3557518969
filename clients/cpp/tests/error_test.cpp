#include <dashgate/client/v1/error_details.pb.h>
#include <gtest/gtest.h>

#include <type_traits>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
namespace wire = dashgate::client::v1;
using dashgate::Error;

static_assert(std::is_nothrow_copy_constructible_v<Error>);

void pack(wire::Status& status, const std::string& type, const google::protobuf::Message& detail) {
  google::protobuf::Any& any = *status.add_details();
  any.set_type_url("type.googleapis.com/" + type);
  any.set_value(detail.SerializeAsString());
}

Error fail_with(const grpc::Status& status,
                const std::multimap<std::string, std::string>& trailers = {}) {
  tests::Server server;
  server.converse = [&](int, grpc::ServerContext& context, const v1::ConverseRequest&,
                        v1::ConverseResponse&) {
    for (const auto& [name, value] : trailers) context.AddTrailingMetadata(name, value);
    return status;
  };
  const dashgate::Client client(server.options());
  dashgate::CallOptions options;
  options.request_id = "mine";
  return tests::failure_of([&] { client.converse(tests::question(), options); });
}

TEST(Error, HasAllThatTheGatewaySays) {
  wire::Status details;
  wire::ErrorInfo info;
  info.set_reason("UPSTREAM_RATE");
  pack(details, "google.rpc.ErrorInfo", info);
  v1::CallFailure failure;
  failure.set_reason(v1::UPSTREAM_RATE);
  failure.set_output_started(true);
  failure.set_attempts(2);
  failure.mutable_usage()->set_output_tokens(7);
  failure.set_model("m");
  failure.set_upstream_code("Throttling.RateQuota");
  failure.set_upstream_http_status(429);
  failure.set_upstream_request_id("u-1");
  pack(details, "dashgate.v1.CallFailure", failure);
  wire::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  pack(details, "google.rpc.RetryInfo", retry);
  wire::BadRequest bad;
  bad.add_field_violations()->set_field("conversation.model");
  bad.mutable_field_violations(0)->set_description("is empty");
  pack(details, "google.rpc.BadRequest", bad);
  wire::RequestInfo request;
  request.set_request_id("r-1");
  pack(details, "google.rpc.RequestInfo", request);
  pack(details, "google.rpc.OfTomorrow", request);
  details.add_details()->set_type_url("type.googleapis.com/google.rpc.RequestInfo");
  details.mutable_details()->rbegin()->set_value("\xff broken");

  const Error error = fail_with(
      grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "slow down", details.SerializeAsString()),
      {{"grpc-retry-pushback-ms", "9000"}});
  EXPECT_EQ(error.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_STREQ(error.code_name(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(error.message(), "slow down");
  EXPECT_EQ(error.reason(), v1::UPSTREAM_RATE);
  EXPECT_EQ(error.raw_reason(), "UPSTREAM_RATE");
  ASSERT_TRUE(error.usage());
  EXPECT_EQ(error.usage()->output_tokens(), 7);
  EXPECT_TRUE(error.output_started());
  EXPECT_EQ(error.model(), "m");
  EXPECT_EQ(error.upstream_code(), "Throttling.RateQuota");
  EXPECT_EQ(error.upstream_http_status(), 429);
  EXPECT_EQ(error.upstream_request_id(), "u-1");
  EXPECT_EQ(error.attempts(), 2);
  EXPECT_EQ(error.request_id(), "r-1");
  EXPECT_EQ(error.retry_after(), std::chrono::milliseconds(1500));
  ASSERT_EQ(error.field_violations().size(), 1U);
  EXPECT_EQ(error.field_violations()[0].field, "conversation.model");
  EXPECT_EQ(error.field_violations()[0].description, "is empty");
  EXPECT_EQ(error.status().error_details(), details.SerializeAsString());
  EXPECT_STREQ(error.what(), "RESOURCE_EXHAUSTED UPSTREAM_RATE: slow down (request id r-1)");
  EXPECT_TRUE(error.retryable());
  // Without the details, which are bytes.
  EXPECT_EQ(error.headers().count("grpc-status-details-bin"), 0U);
  EXPECT_EQ(error.headers().find("grpc-retry-pushback-ms")->second, "9000");
}

TEST(Error, WithoutDetailsHasTheNameThatWasSent) {
  const Error error = fail_with(grpc::Status(grpc::StatusCode::ABORTED, "no"));
  EXPECT_EQ(error.reason(), v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_EQ(error.raw_reason(), "");
  EXPECT_FALSE(error.usage());
  EXPECT_FALSE(error.output_started());
  EXPECT_EQ(error.request_id(), "mine");
  EXPECT_FALSE(error.attempts());
  EXPECT_FALSE(error.upstream_http_status());
  EXPECT_FALSE(error.retry_after());
}

TEST(Error, PushbackIsWhenToCallAgain) {
  const grpc::Status status(grpc::StatusCode::ABORTED, "no");
  const Error later = fail_with(status, {{"grpc-retry-pushback-ms", "250"}});
  EXPECT_EQ(later.retry_after(), std::chrono::milliseconds(250));
  EXPECT_TRUE(later.retryable());
  for (const char* refusal : {"-1", "soon"}) {
    const Error never =
        fail_with({grpc::StatusCode::UNAVAILABLE, "no"}, {{"grpc-retry-pushback-ms", refusal}});
    EXPECT_FALSE(never.retry_after());
    EXPECT_FALSE(never.retryable());
  }
}

TEST(Error, OnlyAnUnreachableGatewayIsRetryableWithoutATime) {
  dashgate::ClientOptions options;
  options.target = "127.0.0.1:1";
  options.timeout = std::chrono::seconds(20);
  const dashgate::Client client(options);
  const Error refused = tests::failure_of([&] { client.converse(tests::question()); });
  EXPECT_EQ(refused.code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(refused.retryable());
  EXPECT_FALSE(refused.retry_after());
  EXPECT_FALSE(fail_with({grpc::StatusCode::INTERNAL, "no"}).retryable());
  EXPECT_FALSE(Error(Error::Fields()).retryable());
}

TEST(Error, ADeadlineThatEndsHereHasTheReasonOfTheGateway) {
  tests::Server server;
  server.converse = [](int, grpc::ServerContext& context, auto&&...) {
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  const dashgate::Client client(server.options());
  dashgate::CallOptions options;
  options.timeout = std::chrono::milliseconds(100);
  options.request_id = "mine";
  const Error error = tests::failure_of([&] { client.converse(tests::question(), options); });
  EXPECT_EQ(error.reason(), v1::DEADLINE_EXCEEDED);
  EXPECT_EQ(error.raw_reason(), "DEADLINE_EXCEEDED");
  EXPECT_STREQ(error.what(), "DEADLINE_EXCEEDED: Deadline Exceeded (request id mine)");
  // One that a server reports without details is its own.
  EXPECT_EQ(fail_with({grpc::StatusCode::DEADLINE_EXCEEDED, "late"}).raw_reason(), "");
}

TEST(Error, EachPartIsInItsTextOnce) {
  Error::Fields fields;
  fields.message = "call r-1 failed";
  fields.request_id = "r-1";
  EXPECT_STREQ(Error(fields).what(), "UNKNOWN: call r-1 failed");
}

TEST(Error, AnIdThatIsAPartOfAWordIsInTheText) {
  Error::Fields fields;
  fields.code = grpc::StatusCode::DEADLINE_EXCEEDED;
  fields.message = "Deadline Exceeded";
  fields.request_id = "x";
  EXPECT_STREQ(Error(fields).what(), "DEADLINE_EXCEEDED: Deadline Exceeded (request id x)");
  for (const std::string message :
       {"call x failed", "x: it failed", "failed (request id x)", "x"}) {
    fields.message = message;
    EXPECT_EQ(Error(fields).what(), "DEADLINE_EXCEEDED: " + message);
  }
}

TEST(Error, ATimeBeyondAllTimeDoesNotOverflow) {
  wire::Status details;
  wire::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(std::numeric_limits<std::int64_t>::max());
  pack(details, "google.rpc.RetryInfo", retry);
  const Error error =
      fail_with(grpc::Status(grpc::StatusCode::ABORTED, "no", details.SerializeAsString()));
  EXPECT_GT(error.retry_after(), std::chrono::hours(24));
}

}  // namespace
