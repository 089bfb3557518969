#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <thread>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using dashgate::Error;
using std::chrono::milliseconds;
using tests::failure_of;

grpc::Status unavailable(grpc::ServerContext& context, const char* pushback) {
  context.AddTrailingMetadata("grpc-retry-pushback-ms", pushback);
  return {grpc::StatusCode::UNAVAILABLE, "wait"};
}

TEST(Converse, AnswersAndSendsAllOptions) {
  tests::Server server;
  v1::ConverseRequest asked;
  server.converse = [&](int, grpc::ServerContext&, const v1::ConverseRequest& request,
                        v1::ConverseResponse& response) {
    asked = request;
    response.add_choices()->mutable_message()->add_content()->set_text("hi");
    return grpc::Status::OK;
  };
  const Client client(server.options());
  dashgate::CallOptions options;
  options.generation.set_seed(0);
  const dashgate::Answer answer = client.converse(tests::question("hello"), options);
  EXPECT_EQ(answer.text(), "hi");
  EXPECT_EQ(asked.conversation().messages(0).content(0).text(), "hello");
  EXPECT_TRUE(asked.options().has_seed());
  EXPECT_EQ(asked.request_id().size(), 36U);
}

TEST(Client, ConnectsWithTheFirstCall) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("dashgate-" + std::to_string(getpid()))).string();
  dashgate::ClientOptions options;
  options.target = "unix:" + path;
  options.api_key = "";
  const Client client(options);  // no server listens yet
  tests::Server server("unix:" + path);
  server.converse = [](auto&&...) { return grpc::Status::OK; };
  client.converse(tests::question());
  EXPECT_EQ(server.seen().size(), 1U);
}

TEST(Client, UsesAChannelThatExists) {
  tests::Server server;
  server.converse = [](auto&&...) { return grpc::Status::OK; };
  const auto channel = grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials());
  dashgate::ClientOptions options;
  options.metadata = {{"x-mine", "1"}};
  {
    const Client client(channel, options);
    client.converse(tests::question());
    EXPECT_EQ(client.channel(), channel);
  }
  EXPECT_EQ(server.seen().at(0).metadata.count("x-mine"), 1U);
  // The client is destroyed; the channel of its owner is still open.
  v1::ConversationService::NewStub(channel);
  EXPECT_EQ(channel->GetState(false), GRPC_CHANNEL_READY);

  options.target = "elsewhere:1";
  EXPECT_THROW(Client(channel, options), std::invalid_argument);
  EXPECT_THROW(Client(std::shared_ptr<grpc::ChannelInterface>()), std::invalid_argument);
}

TEST(Client, GivesItsChannelToGeneratedClasses) {
  tests::Server server;
  server.converse = [](auto&&...) { return grpc::Status::OK; };
  dashgate::ClientOptions options = server.options();
  options.api_key = "k";
  const Client client(options);
  const auto service = v1::ConversationService::NewStub(client.channel());
  grpc::ClientContext context;
  client.prepare(context);
  v1::ConverseResponse response;
  EXPECT_TRUE(service->Converse(&context, {}, &response).ok());
  EXPECT_EQ(server.seen().at(0).metadata.find("authorization")->second, "Bearer k");
}

TEST(Client, CanBeMoved) {
  tests::Server server;
  server.converse = [](auto&&...) { return grpc::Status::OK; };
  Client client(server.options());
  client.converse(tests::question());
  const Client moved = std::move(client);
  moved.converse(tests::question());
  EXPECT_EQ(server.seen().size(), 2U);
}

TEST(Retry, RepeatsUnavailableUnderTheSameName) {
  tests::Server server;
  server.converse = [](int number, grpc::ServerContext& context, auto&&...) {
    return number < 3 ? unavailable(context, "1") : grpc::Status::OK;
  };
  Client(server.options()).converse(tests::question());
  const auto seen = server.seen();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].request_id, seen[2].request_id);
}

TEST(Retry, GivesUpAfterFiveAttempts) {
  tests::Server server;
  server.stream = [](int, grpc::ServerContext& context, auto&&...) {
    return unavailable(context, "1");
  };
  const Client client(server.options());
  const Error error = failure_of([&] { client.stream(tests::question()).final_answer(); });
  EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server.seen().size(), 5U);
}

TEST(Retry, IsForbiddenByPushbackAndForOtherCodes) {
  tests::Server server;
  server.converse = [](int number, grpc::ServerContext& context, auto&&...) {
    if (number == 1) return unavailable(context, "-1");
    if (number == 2) return unavailable(context, "soon");
    return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
  };
  const Client client(server.options());
  for (const auto code :
       {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::INTERNAL}) {
    EXPECT_EQ(failure_of([&] { client.converse(tests::question()); }).code(), code);
  }
  EXPECT_EQ(server.seen().size(), 3U);
}

TEST(Retry, KeepsALargeRequest) {
  tests::Server server;
  std::size_t size = 0;
  server.converse = [&](int number, grpc::ServerContext& context,
                        const v1::ConverseRequest& request, auto&&...) {
    size = request.conversation().messages(0).content(0).text().size();
    return number < 2 ? unavailable(context, "1") : grpc::Status::OK;
  };
  Client(server.options()).converse(tests::question(std::string(12'000'000, 'x')));
  EXPECT_EQ(server.seen().size(), 2U);
  EXPECT_EQ(size, 12'000'000U);
}

TEST(Retry, EndsWithTheFirstEvent) {
  tests::Server server;
  server.stream = [](int, grpc::ServerContext& context, const v1::ConverseStreamRequest&,
                     tests::EventWriter& writer) {
    writer.Write(tests::started());
    return unavailable(context, "1");
  };
  const Client client(server.options());
  failure_of([&] { client.stream(tests::question()).final_answer(); });
  EXPECT_EQ(server.seen().size(), 1U);
}

TEST(Deadline, IsTheCallsThenTheClientsThenTenMinutes) {
  tests::Server server;
  std::vector<std::chrono::seconds> left;
  server.converse = [&](int number, grpc::ServerContext& context, auto&&...) {
    left.push_back(std::chrono::duration_cast<std::chrono::seconds>(
        context.deadline() - std::chrono::system_clock::now()));
    if (number == 3) tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  Client(server.options()).converse(tests::question());
  dashgate::ClientOptions options = server.options();
  options.timeout = std::chrono::seconds(100);
  const Client client(options);
  client.converse(tests::question());
  dashgate::CallOptions call;
  call.timeout = milliseconds(100);
  EXPECT_EQ(failure_of([&] { client.converse(tests::question(), call); }).code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GT(left[0], std::chrono::seconds(590));
  EXPECT_LE(left[0], std::chrono::seconds(600));
  EXPECT_GT(left[1], std::chrono::seconds(90));
  EXPECT_LE(left[1], std::chrono::seconds(100));
  call.timeout = milliseconds::max();
  client.converse(tests::question(), call);
}

TEST(Cancellation, EndsAUnaryCallFromAnotherThread) {
  tests::Server server;
  std::promise<void> begun;
  std::promise<bool> cancelled;
  server.converse = [&](int, grpc::ServerContext& context, auto&&...) {
    begun.set_value();
    cancelled.set_value(tests::Server::wait_for_cancel(context));
    return grpc::Status::OK;
  };
  const Client client(server.options());
  dashgate::CancellationSource source;
  dashgate::CallOptions options;
  options.cancellation = source.token();
  std::thread other([&] {
    begun.get_future().wait();
    source.cancel();
  });
  const Error error = failure_of([&] { client.converse(tests::question(), options); });
  other.join();
  EXPECT_EQ(error.code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(cancelled.get_future().get());
  // A call that is already cancelled does not start.
  EXPECT_TRUE(options.cancellation.is_cancelled());
  failure_of([&] { client.converse(tests::question(), options); });
  EXPECT_EQ(server.seen().size(), 1U);
}

}  // namespace
