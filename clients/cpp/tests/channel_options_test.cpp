// Interceptors and options of the gRPC library.
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>
#include <gtest/gtest.h>

#include <mutex>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
namespace experimental = grpc::experimental;
using dashgate::Client;
using tests::failure_of;

using Notes = std::vector<std::string>;

// Notes the metadata of a call, and adds some.
class Note final : public experimental::Interceptor {
 public:
  Note(std::string name, Notes& notes) : name_(std::move(name)), notes_(notes) {}

  void Intercept(experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      auto& metadata = *methods->GetSendInitialMetadata();
      const auto found = metadata.find("authorization");
      notes_.push_back(name_ + ":" + (found == metadata.end() ? "" : found->second));
      metadata.emplace("x-" + name_, "1");
    }
    methods->Proceed();
  }

 private:
  const std::string name_;
  Notes& notes_;
};

class NoteFactory final : public experimental::ClientInterceptorFactoryInterface {
 public:
  NoteFactory(std::string name, Notes& notes) : name_(std::move(name)), notes_(notes) {}

  experimental::Interceptor* CreateClientInterceptor(
      experimental::ClientRpcInfo* /*info*/) override {
    return new Note(name_, notes_);  // gRPC owns it
  }

 private:
  const std::string name_;
  Notes& notes_;
};

TEST(Interceptors, RunInOrderAndSeeTheMetadataOfTheClient) {
  tests::Server server;
  server.converse = [](auto&&...) { return grpc::Status::OK; };
  server.stream = [](int, auto&&, auto&&, tests::EventWriter& writer) {
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
  Notes notes;
  dashgate::ClientOptions options = server.options();
  options.api_key = "k";
  options.interceptors = {std::make_shared<NoteFactory>("outer", notes),
                          std::make_shared<NoteFactory>("inner", notes)};
  const Client client(options);
  client.converse(tests::question());
  EXPECT_EQ(notes, (Notes{"outer:Bearer k", "inner:Bearer k"}));
  client.stream(tests::question()).final_answer();
  for (const tests::Seen& seen : server.seen()) {
    EXPECT_EQ(seen.metadata.count("x-outer"), 1U);
    EXPECT_EQ(seen.metadata.count("x-inner"), 1U);
  }
}

TEST(ChannelArguments, ReplaceSingleOptionsAndKeepTheOthers) {
  tests::Server server;
  server.converse = [](int, grpc::ServerContext&, auto&&, v1::ConverseResponse& response) {
    response.set_model(std::string(2000, 'x'));
    return grpc::Status::OK;
  };
  dashgate::ClientOptions options = server.options();
  options.channel_arguments = [](grpc::ChannelArguments& arguments) {
    arguments.SetMaxReceiveMessageSize(1000);
  };
  const Client client(options);
  EXPECT_EQ(failure_of([&] { client.converse(tests::question()); }).code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server.seen().at(0).metadata.find("user-agent")->second.find("dashgate-cpp/"), 0U);
}

TEST(ChannelOptions, AreNotForAChannelThatExists) {
  const auto channel = Client().channel();
  dashgate::ClientOptions options;
  options.channel_arguments = [](grpc::ChannelArguments&) {};
  EXPECT_THROW(Client(channel, options), std::invalid_argument);
  options.channel_arguments = nullptr;
  options.interceptors = {nullptr};
  EXPECT_THROW(Client{options}, std::invalid_argument);
}

}  // namespace
