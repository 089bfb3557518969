// Stored conversations.
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <mutex>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using tests::failure_of;

// A gateway that notes the requests of the management.
class Store final : public v1::ConversationService::Service {
 public:
  Store() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    options.target = "127.0.0.1:" + std::to_string(port);
    options.api_key = "";
  }
  ~Store() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status CreateConversation(grpc::ServerContext* /*context*/,
                                  const v1::CreateConversationRequest* request,
                                  v1::CreateConversationResponse* response) override {
    created.push_back(*request);
    if (failures-- > 0) return {grpc::StatusCode::UNAVAILABLE, "down"};
    *response->mutable_conversation() = request->conversation();
    response->mutable_conversation()->set_name("conversations/" + request->conversation_id());
    return grpc::Status::OK;
  }
  grpc::Status GetConversation(grpc::ServerContext* /*context*/,
                               const v1::GetConversationRequest* request,
                               v1::GetConversationResponse* response) override {
    response->mutable_conversation()->set_name(request->name());
    return failures-- > 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "down") : grpc::Status::OK;
  }
  grpc::Status ListConversations(grpc::ServerContext* /*context*/,
                                 const v1::ListConversationsRequest* request,
                                 v1::ListConversationsResponse* response) override {
    response->add_conversations()->set_name("conversations/" + request->page_token());
    if (request->page_token().empty()) response->set_next_page_token("2");
    return grpc::Status::OK;
  }
  grpc::Status UpdateConversation(grpc::ServerContext* /*context*/,
                                  const v1::UpdateConversationRequest* request,
                                  v1::UpdateConversationResponse* /*response*/) override {
    updated = *request;
    return grpc::Status::OK;
  }
  grpc::Status DeleteConversation(grpc::ServerContext* /*context*/,
                                  const v1::DeleteConversationRequest* request,
                                  v1::DeleteConversationResponse* /*response*/) override {
    deleted = request->name();
    return grpc::Status::OK;
  }
  grpc::Status ListTurns(grpc::ServerContext* /*context*/, const v1::ListTurnsRequest* request,
                         v1::ListTurnsResponse* response) override {
    listed = *request;
    response->add_turns()->set_number(1);
    return grpc::Status::OK;
  }
  grpc::Status DeleteTurn(grpc::ServerContext* /*context*/, const v1::DeleteTurnRequest* request,
                          v1::DeleteTurnResponse* /*response*/) override {
    deleted = request->name();
    return grpc::Status::OK;
  }
  grpc::Status ForkConversation(grpc::ServerContext* /*context*/,
                                const v1::ForkConversationRequest* request,
                                v1::ForkConversationResponse* response) override {
    forked.push_back(*request);
    response->mutable_conversation()->set_name("conversations/fork");
    return failures-- > 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "down") : grpc::Status::OK;
  }
  grpc::Status CancelTurn(grpc::ServerContext* /*context*/, const v1::CancelTurnRequest* request,
                          v1::CancelTurnResponse* response) override {
    response->set_request_id(request->request_id());
    return grpc::Status::OK;
  }
  grpc::Status Converse(grpc::ServerContext* /*context*/, const v1::ConverseRequest* request,
                        v1::ConverseResponse* response) override {
    asked.push_back(*request);
    response->mutable_history_used()->set_turn(static_cast<int>(asked.size()));
    return grpc::Status::OK;
  }

  dashgate::ClientOptions options;
  int failures = 0;
  std::vector<v1::CreateConversationRequest> created;
  std::vector<v1::ForkConversationRequest> forked;
  std::vector<v1::ConverseRequest> asked;
  v1::UpdateConversationRequest updated;
  v1::ListTurnsRequest listed;
  std::string deleted;

 private:
  std::unique_ptr<grpc::Server> server_;
};

TEST(Stored, AConversationSendsWhatIsNewAndItsLastTurn) {
  Store store;
  const Client client(store.options);
  dashgate::Conversation conversation("m", "be brief", "conversations/a");
  conversation.declare_tool("f", "", "{}").user("one");
  conversation.append(client.converse(conversation));
  EXPECT_EQ(conversation.last_turn(), 1);
  EXPECT_EQ(conversation.raw().messages_size(), 0);
  EXPECT_EQ(conversation.raw().tools_size(), 1);
  conversation.user("two");
  client.converse(conversation);
  dashgate::CallOptions options;
  options.expected_turn = 0;
  options.history.emplace().set_max_turns(3);
  client.converse(conversation, options);
  EXPECT_EQ(store.asked[0].conversation().messages_size(), 2);
  EXPECT_FALSE(store.asked[0].has_expected_turn());
  EXPECT_EQ(store.asked[1].conversation().messages_size(), 1);
  EXPECT_EQ(store.asked[1].expected_turn(), 1);
  // Which is the gateway's to set.
  EXPECT_EQ(store.asked[1].conversation().last_turn(), 0);
  EXPECT_TRUE(store.asked[2].has_expected_turn());
  EXPECT_EQ(store.asked[2].expected_turn(), 0);
  EXPECT_EQ(store.asked[2].history().max_turns(), 3);
}

TEST(Stored, ValuesThatAreSetAreInTheMask) {
  Store store;
  const Client client(store.options);
  dashgate::ConversationValues values;
  values.labels.emplace();
  values.ttl = std::chrono::hours(1);
  client.update_conversation("conversations/a", values);
  EXPECT_EQ(store.updated.conversation().name(), "conversations/a");
  EXPECT_EQ(store.updated.conversation().ttl().seconds(), 3600);
  ASSERT_EQ(store.updated.update_mask().paths_size(), 2);
  EXPECT_EQ(store.updated.update_mask().paths(0), "labels");
  EXPECT_EQ(store.updated.update_mask().paths(1), "ttl");
}

TEST(Stored, ConversationsAreManaged) {
  Store store;
  const Client client(store.options);
  dashgate::ConversationValues values;
  values.model = "m";
  values.labels = dashgate::Labels{{"team", "red"}};
  const v1::Conversation made = client.create_conversation("a", values);
  EXPECT_EQ(made.name(), "conversations/a");
  EXPECT_EQ(made.labels().at("team"), "red");
  EXPECT_EQ(client.get_conversation("conversations/a").name(), "conversations/a");
  EXPECT_EQ(client.list_conversations().size(), 2U);
  dashgate::TurnOptions turns;
  turns.newest_first = true;
  turns.include_media = true;
  turns.page_size = 3;
  EXPECT_EQ(client.list_turns("conversations/a", turns).size(), 1U);
  EXPECT_TRUE(store.listed.newest_first() && store.listed.include_media());
  EXPECT_EQ(store.listed.page_size(), 3);
  EXPECT_EQ(client.fork_conversation("conversations/a", 0, "b").name(), "conversations/fork");
  EXPECT_TRUE(store.forked.at(0).has_last_turn());
  EXPECT_EQ(client.cancel_turn("conversations/a", "r").request_id(), "r");
  client.delete_turn("conversations/a/turns/1");
  EXPECT_EQ(store.deleted, "conversations/a/turns/1");
  client.delete_conversation("conversations/a");
  EXPECT_EQ(store.deleted, "conversations/a");
}

TEST(Stored, OnlyConversationsWithAnIdAreMadeAgain) {
  Store store;
  const Client client(store.options);
  store.failures = 1;
  failure_of([&] { client.create_conversation(); });
  EXPECT_EQ(store.created.size(), 1U);
  store.failures = 1;
  failure_of([&] { client.fork_conversation("conversations/a"); });
  EXPECT_EQ(store.forked.size(), 1U);
  store.failures = 2;
  client.create_conversation("a");
  EXPECT_EQ(store.created.size(), 4U);
  store.failures = 1;
  client.fork_conversation("conversations/a", std::nullopt, "b");
  EXPECT_EQ(store.forked.size(), 3U);
  // By gRPC.
  store.failures = 1;
  client.get_conversation("conversations/a");
}

}  // namespace
