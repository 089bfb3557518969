#include <gtest/gtest.h>

#include <atomic>
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
using dashgate::SpeechSession;
using std::chrono::milliseconds;
using tests::failure_of;
using tests::LiveServer;
using tests::Messages;

// Starts the session, and then waits until the call is cancelled.
void fall_silent(LiveServer& server, std::promise<void>* cancelled = nullptr) {
  server.live = [cancelled](int, grpc::ServerContext& context, auto&&, Messages& messages) {
    messages.Write(tests::session_started(1));
    if (tests::Server::wait_for_cancel(context) && cancelled != nullptr) cancelled->set_value();
    return grpc::Status::OK;
  };
}

TEST(Live, SendsEachKindOfMessageInOrder) {
  LiveServer server;
  std::vector<v1::ConverseLiveRequest> received;
  server.live = [&](int, auto&&, auto&&, Messages& messages) {
    messages.Write(tests::session_started(1));
    for (v1::ConverseLiveRequest request; messages.Read(&request);) received.push_back(request);
    messages.Write(tests::session_ended(2));
    return grpc::Status::OK;
  };
  const Client client(server.options());
  LiveSession session = client.live("m");
  session.send_audio(std::string_view("\0\1", 2));
  session.send_image("\xff\xd8");
  session.send_text("text");
  session.commit();
  session.clear();
  session.create_response("briefly", {"text"});
  session.cancel_response();
  session.send_tool_result("call-1", "{}");
  v1::UpdateSession update;
  update.set_instructions("slowly");
  session.update(update);
  session.delete_item("item-1");
  session.finish();
  for (const auto& event : session) EXPECT_TRUE(event.sequence() > 0);
  ASSERT_EQ(received.size(), 10U);
  EXPECT_EQ(received[0].audio(), std::string("\0\1", 2));
  EXPECT_EQ(received[1].image(), "\xff\xd8");
  EXPECT_EQ(received[2].text(), "text");
  EXPECT_TRUE(received[3].has_commit());
  EXPECT_TRUE(received[4].has_clear());
  EXPECT_EQ(received[5].create_response().instructions(), "briefly");
  EXPECT_EQ(received[5].create_response().modalities(0), "text");
  EXPECT_TRUE(received[6].has_cancel_response());
  EXPECT_EQ(received[7].tool_result().tool_call_id(), "call-1");
  EXPECT_EQ(received[7].tool_result().output(), "{}");
  EXPECT_EQ(received[8].update().instructions(), "slowly");
  EXPECT_EQ(received[9].delete_item().item_id(), "item-1");
}

TEST(Live, MessagesAndEventsAlternateInOneThread) {
  LiveServer server;
  tests::echo_all(server);
  const Client client(server.options());
  LiveSession session = client.live("m");
  EXPECT_EQ(session.session_id(), "");
  EXPECT_FALSE(session.resumption());
  EXPECT_TRUE(session.next()->has_session_started());
  EXPECT_EQ(session.session_id(), "session-1");
  for (const char* text : {"one", "two"}) {
    session.send_text(text);
    for (const auto& event : session) {
      EXPECT_EQ(event.response_delta().text(), text);
      break;
    }
  }
  EXPECT_EQ(session.resumption()->last_sequence(), 3);
  EXPECT_FALSE(session.ended());
  session.finish();
  EXPECT_THROW(session.send_text("late"), std::logic_error);
  EXPECT_TRUE(session.next()->has_session_ended());
  EXPECT_FALSE(session.next());
  EXPECT_EQ(session.begin(), session.end());
  EXPECT_EQ(session.ended()->responses(), 1);
  EXPECT_EQ(session.resumes(), 0);
  EXPECT_THROW(session.send_text("late"), std::logic_error);
}

TEST(Live, SendingWaitsWhileTheGatewayReadsNothing) {
  LiveServer server;
  std::promise<void> reads;
  server.live = [&](int, auto&&, auto&&, Messages& messages) {
    messages.Write(tests::session_started(1));
    reads.get_future().wait();
    v1::ConverseLiveRequest request;
    while (messages.Read(&request)) {
    }
    messages.Write(tests::session_ended(2));
    return grpc::Status::OK;
  };
  const Client client(server.options());
  LiveSession session = client.live("m");
  constexpr int kPieces = 512;
  std::atomic<int> sent{0};
  auto sender = std::async(std::launch::async, [&] {
    const std::string piece(65536, '\0');
    for (; sent < kPieces; ++sent) session.send_audio(piece);
    session.finish();
  });
  EXPECT_TRUE(session.next()->has_session_started());
  EXPECT_EQ(sender.wait_for(milliseconds(300)), std::future_status::timeout);
  const int before = sent;
  EXPECT_EQ(sender.wait_for(milliseconds(300)), std::future_status::timeout);
  EXPECT_EQ(sent, before);
  EXPECT_LT(before, kPieces / 4);
  reads.set_value();
  sender.get();
  EXPECT_TRUE(session.next()->has_session_ended());
}

TEST(Live, UnreadEventsPrecedeTheErrorForASenderToo) {
  LiveServer server;
  server.live = [](int, auto&&, auto&&, Messages& messages) {
    messages.Write(tests::session_started(1));
    messages.Write(tests::response_delta(2, "unread"));
    return grpc::Status(grpc::StatusCode::ABORTED, "taken over");
  };
  const Client client(server.options());
  LiveSession session = client.live("m");
  for (int number = 0; number < 20; ++number) {
    session.send_text("still");
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_TRUE(session.next()->has_session_started());
  EXPECT_EQ(tests::text_of(session.next()), "unread");
  for (int round = 0; round < 2; ++round) {
    const Error error = failure_of([&] { session.next(); });
    EXPECT_EQ(error.code(), grpc::StatusCode::ABORTED);
    EXPECT_TRUE(error.output_started());
    EXPECT_EQ(error.request_id(), session.request_id());
  }
  EXPECT_EQ(failure_of([&] { session.send_text("late"); }).code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(server.seen().size(), 1U);
}

// Every stream breaks, while one thread sends and another one reads.
TEST(Live, OkWithoutTheLastEventIsAnError) {
  LiveServer server;
  server.live = [](int, auto&&, auto&&, Messages& messages) {
    messages.Write(tests::session_started(1));
    return grpc::Status::OK;
  };
  const Client client(server.options());
  LiveSession session = client.live("m");
  EXPECT_TRUE(session.next()->has_session_started());
  EXPECT_EQ(failure_of([&] { session.next(); }).reason(), v1::STREAM_TRUNCATED);
}

TEST(Live, CloseWakesReadersAndReachesTheServer) {
  LiveServer server;
  std::promise<void> cancelled;
  fall_silent(server, &cancelled);
  const Client client(server.options());
  LiveSession session = client.live("m");
  EXPECT_TRUE(session.next()->has_session_started());
  auto reader = std::async(std::launch::async, [&] { session.next(); });
  EXPECT_EQ(reader.wait_for(milliseconds(50)), std::future_status::timeout);
  session.close();
  EXPECT_EQ(failure_of([&] { reader.get(); }).message(), "the session was closed");
  EXPECT_EQ(failure_of([&] { session.next(); }).code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(failure_of([&] { session.send_text("a"); }).code(), grpc::StatusCode::CANCELLED);
  cancelled.get_future().wait();
}

TEST(Live, CloseWakesASenderThatWaits) {
  LiveServer server;
  fall_silent(server);
  const Client client(server.options());
  LiveSession session = client.live("m");
  auto sender = std::async(std::launch::async, [&] {
    while (true) session.send_audio(std::string(65536, '\0'));
  });
  EXPECT_EQ(sender.wait_for(milliseconds(200)), std::future_status::timeout);
  session.close();
  EXPECT_EQ(failure_of([&] { sender.get(); }).code(), grpc::StatusCode::CANCELLED);
}

TEST(Live, DestroyingASessionCancelsItsCall) {
  LiveServer server;
  std::promise<void> cancelled;
  fall_silent(server, &cancelled);
  const Client client(server.options());
  {
    LiveSession session = client.live("m");
    LiveSession moved = std::move(session);
    EXPECT_TRUE(moved.next()->has_session_started());
  }
  cancelled.get_future().wait();
}

TEST(Live, ATokenEndsTheSession) {
  LiveServer server;
  fall_silent(server);
  const Client client(server.options());
  dashgate::CancellationSource source;
  SessionOptions options;
  options.cancellation = source.token();
  LiveSession session = client.live("m", options);
  EXPECT_TRUE(session.next()->has_session_started());
  source.cancel();
  EXPECT_EQ(failure_of([&] { session.next(); }).code(), grpc::StatusCode::CANCELLED);
  LiveSession late = client.live("m", options);
  EXPECT_EQ(failure_of([&] { late.next(); }).code(), grpc::StatusCode::CANCELLED);
}

TEST(Live, InvalidMetadataIsRefused) {
  LiveServer server;
  tests::echo_all(server);
  const Client client(server.options());
  SessionOptions options;
  options.metadata = {{"Tenant", "a"}};
  EXPECT_THROW(client.live("m", options), std::invalid_argument);
}

TEST(Speech, SpeaksATextAndReturnsItsAudio) {
  LiveServer server;
  std::vector<std::string> received;
  server.speak = [&](int, auto&&, const v1::SynthesisSetup& setup, tests::Texts& texts) {
    EXPECT_EQ(setup.voice(), "Cherry");
    v1::SynthesizeLiveResponse event;
    event.set_sequence(1);
    event.mutable_session_started()->set_session_id("session-1");
    texts.Write(event);
    v1::SynthesizeLiveRequest request;
    std::int32_t sequence = 1;
    while (texts.Read(&request)) {
      received.push_back(request.has_text()     ? request.text()
                         : request.has_commit() ? "commit"
                                                : "clear");
      event.set_sequence(++sequence);
      event.mutable_response_delta()->set_audio(request.text());
      texts.Write(event);
    }
    event.set_sequence(++sequence);
    event.mutable_session_ended()->set_responses(1);
    texts.Write(event);
    return grpc::Status::OK;
  };
  v1::SynthesisSetup setup;
  setup.set_model("m");
  setup.set_voice("Cherry");
  const Client client(server.options());
  SpeechSession session = client.speak(setup);
  session.send_text("one");
  session.commit();
  session.clear();
  session.send_text("two");
  session.finish();
  std::vector<std::string> audio;
  for (const std::string& piece : session.audio()) audio.push_back(piece);
  EXPECT_EQ(audio, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(received, (std::vector<std::string>{"one", "commit", "clear", "two"}));
  EXPECT_EQ(session.ended()->responses(), 1);
}

}  // namespace
