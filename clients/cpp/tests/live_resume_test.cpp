#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>

#include "live_server.h"
#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using dashgate::Error;
using dashgate::LiveSession;
using dashgate::SessionOptions;
using std::chrono::milliseconds;
using tests::failure_of;
using tests::LiveServer;
using tests::Messages;

const grpc::Status kBroken(grpc::StatusCode::UNAVAILABLE, "the connection broke");

TEST(LiveResume, ResumesAfterTheLastEventAndSkipsRepeatedOnes) {
  LiveServer server;
  std::vector<v1::LiveSetup> setups;
  server.live = [&](int call, auto&&, const v1::LiveSetup& setup, Messages& messages) {
    setups.push_back(setup);
    if (call == 1) {
      messages.Write(tests::session_started(1));
      messages.Write(tests::response_delta(2, "one"));
      return kBroken;
    }
    messages.Write(tests::session_started(2, true));
    messages.Write(tests::response_delta(2, "one"));
    messages.Write(tests::response_delta(3, "two"));
    // The input is ended again.
    v1::ConverseLiveRequest request;
    EXPECT_FALSE(messages.Read(&request));
    messages.Write(tests::session_ended(4));
    return grpc::Status::OK;
  };
  SessionOptions options;
  options.metadata = {{"tenant", "a"}};
  const Client client(server.options());
  LiveSession session = client.live("m", options);
  session.finish();
  std::string text;
  int resumed = 0;
  for (const auto& event : session) {
    text += event.response_delta().text() + ";";
    if (event.session_started().resumed()) ++resumed;
  }
  EXPECT_EQ(text, ";one;;two;;");
  EXPECT_EQ(resumed, 1);
  EXPECT_EQ(session.resumes(), 1);
  ASSERT_EQ(setups.size(), 2U);
  EXPECT_EQ(setups[0].model(), "m");
  EXPECT_EQ(setups[1].model(), "");
  EXPECT_EQ(setups[1].resume().token(), "token-1");
  EXPECT_EQ(setups[1].resume().last_sequence(), 2);
  for (const auto& metadata : server.seen()) {
    EXPECT_EQ(metadata.find("x-request-id")->second, session.request_id());
    EXPECT_EQ(metadata.find("tenant")->second, "a");
  }
}

TEST(LiveResume, ASenderResumesAlone) {
  LiveServer server;
  server.live = [](int call, auto&&, const v1::LiveSetup& setup, Messages& messages) {
    if (call > 1) return tests::echo(setup, messages);
    messages.Write(tests::session_started(1));
    messages.Write(tests::response_delta(2, "unread"));
    return kBroken;
  };
  const Client client(server.options());
  LiveSession session = client.live("m");
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (session.resumes() == 0 && std::chrono::steady_clock::now() < limit) {
    session.send_text("still");
  }
  EXPECT_EQ(session.resumes(), 1);
  session.finish();
  // What was received by the sender is read first, and has not been read before.
  EXPECT_TRUE(session.next()->has_session_started());
  EXPECT_EQ(session.resumption()->last_sequence(), 1);
  EXPECT_EQ(tests::text_of(session.next()), "unread");
  EXPECT_TRUE(session.next()->session_started().resumed());
  EXPECT_EQ(tests::text_of(session.next()), "still");
}

TEST(LiveResume, TwoThreadsAndBrokenStreamsLoseAndRepeatNoEvent) {
  constexpr int kEvents = 200;
  LiveServer server;
  server.live = [](int, auto&&, const v1::LiveSetup& setup, Messages& messages) {
    std::int32_t sequence = setup.has_resume() ? setup.resume().last_sequence() : 1;
    messages.Write(tests::session_started(sequence, setup.has_resume()));
    v1::ConverseLiveRequest request;
    for (int answer = 0; answer < 40; ++answer) {
      if (!messages.Read(&request)) break;
      ++sequence;
      if (sequence > kEvents) {
        messages.Write(tests::session_ended(sequence));
        return grpc::Status::OK;
      }
      messages.Write(tests::response_delta(sequence, "a"));
    }
    return kBroken;
  };
  const Client client(server.options());
  LiveSession session = client.live("m");
  std::thread sender([&] {
    try {
      while (true) session.send_text("a");
    } catch (const std::logic_error&) {  // the session has ended
    }
  });
  std::int32_t last = 0;
  for (const auto& event : session) {
    EXPECT_EQ(event.sequence(), event.session_started().resumed() ? last : last + 1);
    last = event.sequence();
  }
  sender.join();
  EXPECT_EQ(last, kEvents + 1);
  EXPECT_GE(session.resumes(), 4);
}

TEST(LiveResume, ASessionThatHasNotStartedIsNotResumed) {
  LiveServer server;
  server.live = [](int, auto&&, auto&&, Messages&) { return kBroken; };
  const Client client(server.options());
  LiveSession session = client.live("m");
  EXPECT_EQ(failure_of([&] { session.next(); }).code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server.seen().size(), 1U);
  EXPECT_EQ(session.resumes(), 0);
}

TEST(LiveResume, CloseEndsTheWaitForTheNextAttempt) {
  LiveServer server;
  std::promise<void> broken;
  server.live = [&](int call, grpc::ServerContext& context, auto&&, Messages& messages) {
    messages.Write(tests::session_started(1));
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "5000");
    if (call == 1) broken.set_value();
    return kBroken;
  };
  const Client client(server.options());
  LiveSession session = client.live("m");
  auto reader = std::async(std::launch::async, [&] {
    while (session.next()) {
    }
  });
  broken.get_future().wait();
  while (session.resumes() == 0) std::this_thread::sleep_for(milliseconds(2));
  const auto begun = std::chrono::steady_clock::now();
  session.close();
  EXPECT_EQ(failure_of([&] { reader.get(); }).code(), grpc::StatusCode::CANCELLED);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  EXPECT_EQ(server.seen().size(), 1U);
}

TEST(LiveResume, TheDeadlineCoversTheWaitForTheNextAttempt) {
  LiveServer server;
  server.live = [&](int, grpc::ServerContext& context, auto&&, Messages& messages) {
    messages.Write(tests::session_started(1));
    messages.Write(tests::response_delta(2, "one"));
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "5000");
    return kBroken;
  };
  SessionOptions options;
  options.timeout = milliseconds(500);
  const Client client(server.options());
  LiveSession session = client.live("m", options);
  EXPECT_TRUE(session.next()->has_session_started());
  EXPECT_EQ(tests::text_of(session.next()), "one");
  const auto begun = std::chrono::steady_clock::now();
  const Error error = failure_of([&] { session.next(); });
  // As the attempts were.
  EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE) << error.what();
  EXPECT_TRUE(error.retryable());
  EXPECT_TRUE(error.output_started());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(3));
}

TEST(LiveResume, OutlivesItsClient) {
  LiveServer server;
  server.live = [](int call, auto&&, const v1::LiveSetup& setup, Messages& messages) {
    if (call > 1) return tests::echo(setup, messages);
    messages.Write(tests::session_started(1));
    return kBroken;
  };
  LiveSession session = Client(server.options()).live("m");
  session.finish();
  while (session.next()) {
  }
  EXPECT_EQ(session.resumes(), 1);
  EXPECT_TRUE(session.ended());
}

TEST(LiveResume, ContinuesTheSessionOfAnotherObject) {
  LiveServer server;
  tests::echo_all(server);
  const Client client(server.options());
  v1::LiveSetup setup;
  setup.mutable_resume()->set_session_id("session-1");
  setup.mutable_resume()->set_token("token-1");
  setup.mutable_resume()->set_last_sequence(7);
  LiveSession session = client.live(setup);
  session.finish();
  EXPECT_EQ(session.next()->sequence(), 7);
  EXPECT_EQ(session.next()->sequence(), 8);
  EXPECT_FALSE(session.next());
}

}  // namespace
