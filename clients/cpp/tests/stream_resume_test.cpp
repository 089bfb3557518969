#include <grpcpp/support/client_interceptor.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string_view>
#include <thread>
#include <vector>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::CallOptions;
using dashgate::Client;
using dashgate::Error;
using dashgate::Stream;
using tests::failure_of;

const grpc::Status kLost(grpc::StatusCode::UNAVAILABLE, "connection lost");

v1::ConverseStreamResponse numbered(v1::ConverseStreamResponse event, int sequence) {
  event.set_sequence(sequence);
  return event;
}

v1::ConverseStreamResponse resumable() {
  v1::ConverseStreamResponse event = tests::started();
  event.mutable_started()->set_resumable(true);
  return numbered(event, 1);
}

// Sends two events, and loses the connection. Later calls fail.
void lose_connections(tests::Server& server) {
  server.stream = [](int number, auto&&, auto&&, tests::EventWriter& writer) {
    if (number > 1) return kLost;
    writer.Write(resumable());
    writer.Write(numbered(tests::text_delta("one"), 2));
    return kLost;
  };
}

// Sends two events, and then nothing until the call is cancelled.
void wait_for_leaving(tests::Server& server) {
  server.stream = [](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    writer.Write(resumable());
    writer.Write(numbered(tests::text_delta("one"), 2));
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
}

TEST(StreamResume, ContinuesAfterTheLastEvent) {
  tests::Server server;
  std::vector<int> after;
  server.stream = [&](int number, auto&&, const v1::ConverseStreamRequest& request,
                      tests::EventWriter& writer) {
    after.push_back(request.after_sequence());
    EXPECT_TRUE(request.resumable());
    if (number == 1) {
      writer.Write(resumable());
      writer.Write(numbered(tests::text_delta("one"), 2));
      return kLost;
    }
    writer.Write(numbered(tests::text_delta(", two"), 3));
    if (number == 2) return kLost;
    writer.Write(numbered(tests::completed(), 4));
    return grpc::Status::OK;
  };
  const Client client(server.options());
  Stream stream = client.stream(tests::question());
  EXPECT_EQ(stream.final_answer().text(), "one, two");
  EXPECT_EQ(stream.resumes(), 2);
  EXPECT_EQ(after, (std::vector<int>{0, 2, 3}));
  const auto seen = server.seen();
  EXPECT_EQ(seen[1].request_id, seen[0].request_id);
  EXPECT_EQ(seen[2].request_id, seen[0].request_id);
  EXPECT_TRUE(server.cancelled_ids().empty());
}

TEST(StreamResume, CancelBetweenTwoAttemptsEndsTheCall) {
  tests::Server server;
  lose_connections(server);
  std::string id;
  {
    const Client client(server.options());
    Stream stream = client.stream(tests::question());
    id = stream.request_id();
    std::thread other([&] {
      while (server.seen().size() < 4) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      stream.cancel();
    });
    const Error error = failure_of([&] { stream.final_answer(); });
    other.join();
    EXPECT_EQ(error.code(), grpc::StatusCode::CANCELLED);
    EXPECT_TRUE(error.output_started());
  }
  EXPECT_EQ(server.cancelled_ids(), std::vector<std::string>{id});
}

TEST(StreamResume, ATokenBetweenTwoAttemptsEndsTheCall) {
  tests::Server server;
  lose_connections(server);
  dashgate::CancellationSource source;
  std::string id;
  {
    const Client client(server.options());
    CallOptions options;
    options.cancellation = source.token();
    Stream stream = client.stream(tests::question(), options);
    id = stream.request_id();
    std::thread other([&] {
      while (server.seen().size() < 4) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      source.cancel();
    });
    EXPECT_EQ(failure_of([&] { stream.final_answer(); }).code(), grpc::StatusCode::CANCELLED);
    other.join();
  }
  EXPECT_EQ(server.cancelled_ids(), std::vector<std::string>{id});
}

TEST(StreamResume, ATokenThatIsCancelledBeforeTheStartEndsNoOtherCallOfThisId) {
  tests::Server server;
  wait_for_leaving(server);
  dashgate::CancellationSource source;
  source.cancel();
  {
    const Client client(server.options());
    CallOptions options;
    options.cancellation = source.token();
    options.request_id = "shared";
    Stream stream = client.stream(tests::question(), options);
    EXPECT_EQ(failure_of([&] { stream.final_answer(); }).code(), grpc::StatusCode::CANCELLED);
    const Stream unread = client.stream(tests::question(), options);
  }
  EXPECT_TRUE(server.seen().empty());
  EXPECT_TRUE(server.cancelled_ids().empty());
}

TEST(StreamResume, LeavingBeforeTheHeadersEndsTheCall) {
  tests::Server server;
  server.stream = [](int, grpc::ServerContext& context, auto&&...) {
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  {
    const Client client(server.options());
    for (std::size_t count = 1; count <= 20; ++count) {
      Stream stream = client.stream(tests::question());
      while (server.seen().size() < count) std::this_thread::yield();
    }
  }
  EXPECT_EQ(server.cancelled_ids().size(), 20U);
}

TEST(StreamResume, ADeadlineBeforeTheHeadersEndsTheCall) {
  tests::Server server;
  server.stream = [](int, grpc::ServerContext& context, auto&&...) {
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  {
    const Client client(server.options());
    CallOptions options;
    options.timeout = std::chrono::milliseconds(500);
    failure_of([&] { client.stream(tests::question(), options).final_answer(); });
  }
  EXPECT_EQ(server.cancelled_ids().size(), 1U);
}

TEST(StreamResume, TheDeadlineEndsThePauses) {
  tests::Server server;
  lose_connections(server);
  const Client client(server.options());
  CallOptions options;
  options.timeout = std::chrono::milliseconds(400);
  const auto begun = std::chrono::steady_clock::now();
  const Error error = failure_of([&] { client.stream(tests::question(), options).final_answer(); });
  EXPECT_TRUE(error.output_started());
  // All attempts would need six seconds.
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(3));
}

// The deadline ends between two attempts.
TEST(StreamResume, AGatewayThatDoesNotComeBackInTimeIsUnavailable) {
  tests::Server server;
  server.stream = [](int number, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    // gRPC would retry it, and make the delay its own.
    if (number > 1) context.AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
    if (number > 1) return kLost;
    writer.Write(resumable());
    writer.Write(numbered(tests::text_delta("one"), 2));
    return kLost;
  };
  const Client client(server.options());
  CallOptions options;
  options.timeout = std::chrono::milliseconds(1000);
  Stream stream = client.stream(tests::question(), options);
  const Error error = failure_of([&] { stream.final_answer(); });
  EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE) << error.what();
  EXPECT_EQ(error.message(), "connection lost");
  EXPECT_TRUE(error.output_started());
  EXPECT_GT(stream.resumes(), 0);
}

// There is no connection for the next attempt.
TEST(StreamResume, AGatewayThatIsAwayUntilTheDeadlineIsUnavailable) {
  auto server = std::make_unique<tests::Server>();
  const std::string address = server->address();
  std::promise<void> sent;
  server->stream = [&](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    writer.Write(resumable());
    writer.Write(numbered(tests::text_delta("one"), 2));
    sent.set_value();
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  const Client client(server->options());
  CallOptions options;
  options.timeout = std::chrono::milliseconds(1500);
  Stream stream = client.stream(tests::question(), options);
  std::thread killer([&] {
    sent.get_future().wait();
    server.reset();
  });
  const Error error = failure_of([&] { stream.final_answer(); });
  killer.join();
  EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE) << error.what();
  EXPECT_NE(error.message().find(address), std::string::npos) << error.what();
  EXPECT_TRUE(error.retryable());
  EXPECT_TRUE(error.output_started());
  EXPECT_GT(stream.resumes(), 0);
}

TEST(StreamResume, DestroyingTheClientWaitsForTheCallsThatWereLeft) {
  tests::Server server;
  wait_for_leaving(server);
  std::string id;
  {
    const Client client(server.options());
    Stream stream = client.stream(tests::question());
    id = stream.request_id();
    for (const auto& text : stream.text_deltas()) {
      EXPECT_EQ(text, "one");
      break;
    }
  }
  EXPECT_EQ(server.cancelled_ids(), std::vector<std::string>{id});
}

// Holds the call that ends another one, until it may begin.
class HoldCancelCall final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* info) override {
    if (std::string_view(info->method()) == "/dashgate.v1.CallService/CancelCall") {
      reached.set_value();
      may_begin.get_future().wait();
    }
    return new Passing;  // gRPC owns it
  }

  std::promise<void> reached;
  std::promise<void> may_begin;

 private:
  class Passing final : public grpc::experimental::Interceptor {
    void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
      methods->Proceed();
    }
  };
};

TEST(StreamResume, TwoThreadsThatLeaveAtOnceEndTheCallOnce) {
  tests::Server server;
  wait_for_leaving(server);
  const auto hold = std::make_shared<HoldCancelCall>();
  dashgate::ClientOptions options = server.options();
  options.interceptors = {hold};
  std::string id;
  {
    const Client client(options);
    Stream stream = client.stream(tests::question());
    id = stream.request_id();
    ASSERT_NE(stream.begin(), stream.end());
    std::thread first([&] { stream.cancel(); });
    hold->reached.get_future().wait();
    // The first that returns may destroy the client, which waits for calls that have begun.
    auto second = std::async(std::launch::async, [&] { stream.cancel(); });
    EXPECT_EQ(second.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    hold->may_begin.set_value();
    first.join();
    second.get();
  }
  EXPECT_EQ(server.cancelled_ids(), std::vector<std::string>{id});
}

TEST(StreamResume, WithoutResumeNothingIsResumedOrCancelledByItsId) {
  tests::Server server;
  lose_connections(server);
  const Client client(server.options());
  CallOptions options;
  options.resume = false;
  EXPECT_EQ(failure_of([&] { client.stream(tests::question(), options).final_answer(); }).code(),
            grpc::StatusCode::UNAVAILABLE);
  wait_for_leaving(server);
  {
    Stream stream = client.stream(tests::question(), options);
    ASSERT_NE(stream.begin(), stream.end());
  }
  EXPECT_TRUE(server.wait_for_cancelled_calls(1));
  EXPECT_TRUE(server.cancelled_ids().empty());
}

}  // namespace
