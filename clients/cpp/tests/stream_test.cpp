#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using dashgate::Error;
using dashgate::Stream;
using tests::failure_of;

void answer_all(tests::Server& server) {
  server.stream = [](int, auto&&, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::started());
    writer.Write({});
    for (const char* text : {"It is ", "", "nine."}) writer.Write(tests::text_delta(text));
    writer.Write(tests::text_delta("another", 1));
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
}

// Sends one delta, and then nothing until the call is cancelled.
void fall_silent(tests::Server& server) {
  server.stream = [](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::text_delta("one"));
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
}

TEST(Stream, GivesEventsAndTheirSum) {
  tests::Server server;
  answer_all(server);
  const Client client(server.options());
  Stream stream = client.stream(tests::question());
  int count = 0;
  for (const auto& event : stream) count += event.has_delta() ? 1 : 0;
  EXPECT_EQ(count, 4);
  EXPECT_EQ(stream.begin(), stream.end());
  EXPECT_EQ(stream.final_answer().text(), "It is nine.");
  EXPECT_EQ(stream.request_id().size(), 36U);
}

TEST(Stream, GivesTheTextsOfChoiceZero) {
  tests::Server server;
  answer_all(server);
  const Client client(server.options());
  std::vector<std::string> texts;
  // Of a temporary stream, which the text deltas keep alive.
  for (const std::string& text : client.stream(tests::question()).text_deltas()) {
    texts.push_back(text);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"It is ", "nine."}));
}

TEST(Stream, CanBeReadInPartAndThenToItsEnd) {
  tests::Server server;
  answer_all(server);
  Stream stream = Client(server.options()).stream(tests::question());  // which outlives its client
  for (const auto& event : stream) {
    if (event.has_delta()) break;
  }
  EXPECT_EQ(stream.final_answer().text(), "It is nine.");
}

TEST(Stream, HasNoDeadlineOfItsOwn) {
  tests::Server server;
  std::vector<bool> has_deadline;
  server.stream = [&](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    has_deadline.push_back(context.deadline() <
                           std::chrono::system_clock::now() + std::chrono::hours(24));
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
  Client(server.options()).stream(tests::question()).final_answer();
  dashgate::ClientOptions options = server.options();
  options.timeout = std::chrono::seconds(30);
  Client(options).stream(tests::question()).final_answer();
  EXPECT_EQ(has_deadline, (std::vector<bool>{false, true}));
}

TEST(Stream, WithoutCompletedFails) {
  tests::Server server;
  server.stream = [](int, auto&&, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::text_delta("half"));
    return grpc::Status::OK;
  };
  const Client client(server.options());
  Stream stream = client.stream(tests::question());
  for (int round = 0; round < 2; ++round) {
    const Error error = failure_of([&] { stream.final_answer(); });
    EXPECT_EQ(error.code(), grpc::StatusCode::INTERNAL);
    EXPECT_EQ(error.reason(), dashgate::v1::STREAM_TRUNCATED);
    EXPECT_TRUE(error.output_started());
    EXPECT_EQ(error.request_id(), stream.request_id());
  }
}

TEST(Stream, AnErrorAfterEventsIsThrownByTheReadThatMeetsIt) {
  tests::Server server;
  server.stream = [](int, auto&&, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::text_delta("half"));
    return grpc::Status(grpc::StatusCode::INTERNAL, "broke");
  };
  const Client client(server.options());
  std::string read;
  const Error error = failure_of([&] {
    for (const auto& text : client.stream(tests::question()).text_deltas()) read += text;
  });
  EXPECT_EQ(read, "half");
  EXPECT_EQ(error.message(), "broke");
}

TEST(Stream, SilenceEndsIt) {
  tests::Server server;
  fall_silent(server);
  dashgate::ClientOptions options = server.options();
  options.idle_timeout = std::chrono::milliseconds(100);
  const Client client(options);
  Stream stream = client.stream(tests::question());
  const Error error = failure_of([&] { stream.final_answer(); });
  EXPECT_EQ(error.code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(error.raw_reason(), "STREAM_IDLE");
  EXPECT_FALSE(error.retry_after());
  EXPECT_TRUE(server.wait_for_cancelled_calls(1));
}

TEST(Stream, HeartbeatsKeepItAlive) {
  tests::Server server;
  server.stream = [](int, auto&&, auto&&, tests::EventWriter& writer) {
    v1::ConverseStreamResponse heartbeat;
    heartbeat.mutable_heartbeat();
    // Together longer than the idle timeout.
    std::mutex mutex;
    std::condition_variable never;
    for (int beat = 0; beat < 8; ++beat) {
      std::unique_lock lock(mutex);
      never.wait_for(lock, std::chrono::milliseconds(100));
      writer.Write(heartbeat);
    }
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
  dashgate::ClientOptions options = server.options();
  options.idle_timeout = std::chrono::milliseconds(600);
  Client(options).stream(tests::question()).final_answer();
  options.idle_timeout = std::chrono::milliseconds::max();
  Client(options).stream(tests::question()).final_answer();
}

TEST(Stream, CancelFromAnotherThreadReachesReaderAndServer) {
  tests::Server server;
  fall_silent(server);
  const Client client(server.options());
  Stream stream = client.stream(tests::question());
  std::promise<void> begun;
  std::thread other([&] {
    begun.get_future().wait();
    stream.cancel();
  });
  const Error error = failure_of([&] {
    for (const auto& event : stream) {
      EXPECT_TRUE(event.has_delta());
      begun.set_value();
    }
  });
  other.join();
  EXPECT_EQ(error.code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(server.wait_for_cancelled_calls(1));
}

TEST(Stream, ATokenCancelsIt) {
  tests::Server server;
  fall_silent(server);
  const Client client(server.options());
  dashgate::CancellationSource source;
  dashgate::CallOptions options;
  options.cancellation = source.token();
  Stream stream = client.stream(tests::question(), options);
  ASSERT_NE(stream.begin(), stream.end());
  source.cancel();
  // The server receives the cancellation although no client thread reads.
  EXPECT_TRUE(server.wait_for_cancelled_calls(1));
  EXPECT_EQ(failure_of([&] { stream.final_answer(); }).code(), grpc::StatusCode::CANCELLED);
}

TEST(Stream, LeavingItCancelsIt) {
  tests::Server server;
  fall_silent(server);
  const Client client(server.options());
  for (const auto& text : client.stream(tests::question()).text_deltas()) {
    EXPECT_EQ(text, "one");
    break;
  }
  EXPECT_TRUE(server.wait_for_cancelled_calls(1));
  // Also before the first event, and after a move.
  {
    Stream stream = client.stream(tests::question());
    Stream moved = std::move(stream);
    ASSERT_NE(moved.begin(), moved.end());
  }
  EXPECT_TRUE(server.wait_for_cancelled_calls(2));
  client.stream(tests::question());
}

TEST(Stream, ManyAtOnceOnOneClient) {
  tests::Server server;
  answer_all(server);
  const Client client(server.options());
  std::vector<std::future<std::string>> answers;
  for (int number = 0; number < 24; ++number) {
    answers.push_back(std::async(std::launch::async, [&] {
      return client.stream(tests::question()).final_answer().text();
    }));
  }
  for (auto& answer : answers) EXPECT_EQ(answer.get(), "It is nine.");
}

TEST(StreamPartial, IsTheAnswerSoFar) {
  tests::Server server;
  server.stream = [](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    context.AddInitialMetadata("x-first", "a");
    context.AddInitialMetadata("x-bytes-bin", "b");
    context.AddTrailingMetadata("x-last", "c");
    v1::ConverseStreamResponse heartbeat;
    heartbeat.mutable_heartbeat();
    writer.Write(heartbeat);
    writer.Write(tests::started());
    writer.Write(tests::text_delta("half"));
    return grpc::Status(grpc::StatusCode::INTERNAL, "no");
  };
  const Client client(server.options());
  dashgate::CallOptions options;
  options.resume = false;
  dashgate::Stream stream = client.stream(tests::question(), options);
  EXPECT_FALSE(stream.partial());
  EXPECT_TRUE(stream.headers().empty());
  auto event = stream.begin();
  EXPECT_TRUE(event->has_heartbeat());
  EXPECT_FALSE(stream.partial());
  EXPECT_EQ(stream.headers().find("x-first")->second, "a");
  EXPECT_EQ(stream.headers().count("x-bytes-bin"), 0U);
  EXPECT_EQ(stream.headers().count("x-last"), 0U);
  ++event;
  EXPECT_EQ(stream.partial()->model(), "m");
  const Error error = tests::failure_of([&] { stream.final_answer(); });
  EXPECT_EQ(error.headers().find("x-last")->second, "c");
  EXPECT_EQ(stream.headers(), error.headers());
  ASSERT_TRUE(stream.partial());
  EXPECT_EQ(stream.partial()->text(), "half");
  EXPECT_EQ(stream.partial()->finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
  EXPECT_EQ(stream.partial()->message().role(), v1::ROLE_ASSISTANT);
}

TEST(StreamPartial, RemainsAfterACancel) {
  tests::Server server;
  server.stream = [](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::text_delta("half"));
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  const Client client(server.options());
  dashgate::Stream stream = client.stream(tests::question());
  EXPECT_NE(stream.begin(), stream.end());
  stream.cancel();
  tests::failure_of([&] { stream.final_answer(); });
  EXPECT_EQ(stream.partial()->text(), "half");
}

}  // namespace
