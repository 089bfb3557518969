// The recipe of RECIPES.md for browsers.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "../examples/recipes/browser.h"
#include "server.h"

namespace {

// A gateway and an HTTP server in front of it.
class BrowserRecipe : public testing::Test {
 protected:
  BrowserRecipe() {
    recipes::add_answers(web_, client_);
    port_ = web_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { web_.listen_after_bind(); });
  }
  ~BrowserRecipe() override {
    web_.stop();
    thread_.join();
  }

  // Requests an answer; `take` returns whether the browser stays.
  httplib::Result get(const httplib::ContentReceiver& take) {
    return httplib::Client("127.0.0.1", port_).Get("/answer?q=what", take);
  }

  tests::Server gateway_;
  dashgate::Client client_{gateway_.options()};
  httplib::Server web_;
  int port_ = 0;
  std::thread thread_;
};

TEST_F(BrowserRecipe, AnAnswerIsSentAsEvents) {
  gateway_.stream = [](int, auto&&, const dashgate::v1::ConverseStreamRequest& request,
                       tests::EventWriter& writer) {
    writer.Write(tests::text_delta(request.conversation().messages(0).content(0).text()));
    writer.Write(tests::text_delta("two\nlines"));
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
  std::string events;
  const auto result = get([&](const char* data, std::size_t size) {
    events.append(data, size);
    return true;
  });
  ASSERT_TRUE(result);
  EXPECT_EQ(result->get_header_value("Content-Type"), "text/event-stream");
  EXPECT_EQ(events,
            "event: text\ndata: what\n\nevent: text\ndata: two\ndata: lines\n\n"
            "event: done\ndata: \n\n");
}

TEST_F(BrowserRecipe, AnErrorIsAnEventWithoutItsMessage) {
  gateway_.stream = [](auto&&...) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "private");
  };
  std::string events;
  get([&](const char* data, std::size_t size) {
    events.append(data, size);
    return true;
  });
  EXPECT_EQ(events, "event: error\ndata: " + gateway_.seen().at(0).request_id + "\n\n");
}

TEST_F(BrowserRecipe, ABrowserThatLeavesCancelsTheCall) {
  gateway_.stream = [](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::text_delta("one"));
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  EXPECT_FALSE(get([](const char*, std::size_t) { return false; }));
  EXPECT_TRUE(gateway_.wait_for_cancelled_calls(1));
}

}  // namespace
