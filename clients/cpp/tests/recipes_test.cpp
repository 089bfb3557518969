// The recipes of RECIPES.md.
#include "../examples/recipes/recipes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;

TEST(Recipes, ABatchHasABoundedPoolAndReportsItsProgress) {
  tests::Server server;
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  server.converse = [&](int, grpc::ServerContext&, const v1::ConverseRequest& request,
                        v1::ConverseResponse& response) {
    const int now = ++running;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    const std::string bytes = request.conversation().messages(0).content(0).audio().data();
    response.add_choices()->mutable_message()->add_content()->set_text("of " + bytes);
    --running;
    return bytes == "3" ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no") : grpc::Status::OK;
  };
  const auto folder = std::filesystem::temp_directory_path() /
                      ("dashgate-batch-" + std::to_string(server.address().size()));
  std::filesystem::create_directories(folder);
  std::vector<std::filesystem::path> files;
  for (int at = 0; at < 6; ++at) {
    files.push_back(folder / std::to_string(at));
    std::ofstream(files.back()) << at;
  }
  std::vector<std::size_t> done;
  const dashgate::Client client(server.options());
  const auto transcripts = recipes::transcribe(
      client, files, 2, [&](std::size_t now, std::size_t) { done.push_back(now); });
  std::filesystem::remove_all(folder);
  EXPECT_EQ(done, (std::vector<std::size_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_LE(most, 2);
  EXPECT_EQ(transcripts.at(5).text, "of 5");
  EXPECT_FALSE(transcripts.at(5).error);
  EXPECT_EQ(transcripts.at(3).error->code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(Recipes, AChatStreamsAndRunsTools) {
  tests::Server server;
  server.stream = [](int number, auto&&, auto&&, tests::EventWriter& writer) {
    if (number == 3) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no");
    writer.Write(tests::started());
    if (number == 1) {
      v1::ConverseStreamResponse event;
      event.mutable_delta()->mutable_tool_call()->set_name("f");
      writer.Write(event);
    } else {
      writer.Write(tests::text_delta("done"));
    }
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
  std::istringstream input("one\ntwo\n");
  std::ostringstream output;
  int runs = 0;
  recipes::chat(dashgate::Client(server.options()),
                {{"f", "", "", [&](auto&&) { return std::to_string(++runs); }}}, input, output);
  EXPECT_EQ(output.str().find("done\nINVALID_ARGUMENT: no"), 0U) << output.str();
  EXPECT_EQ(runs, 1);
}

TEST(Recipes, AThrottledCallIsMadeAgainAndThenPostponed) {
  tests::Server server;
  server.converse = [](int number, grpc::ServerContext& context, auto&&...) {
    if (number == 6) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no");
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "1");
    return number == 1 ? grpc::Status::OK : grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "");
  };
  const dashgate::Client client = recipes::make_patient_client(server.options());
  EXPECT_TRUE(recipes::answer_or_postpone(client, tests::question()));
  EXPECT_FALSE(recipes::answer_or_postpone(client, tests::question()));
  EXPECT_EQ(server.seen().size(), 5U);
  EXPECT_THROW(recipes::answer_or_postpone(client, tests::question()), dashgate::Error);
}

TEST(Recipes, TheTraceReachesTheGateway) {
  tests::Server server;
  server.converse = [](auto&&...) { return grpc::Status::OK; };
  std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const dashgate::Client client =
      recipes::make_traced_client(server.options(), [&] { return trace; });
  client.converse(tests::question());
  EXPECT_EQ(server.seen().at(0).metadata.find("traceparent")->second, trace);
  trace.clear();
  client.converse(tests::question());
  EXPECT_EQ(server.seen().at(1).metadata.count("traceparent"), 0U);
}

}  // namespace
