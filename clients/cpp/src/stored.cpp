// Stored conversations.
#include <dashgate/client.h>

#include <iterator>
#include <utility>

#include "client_impl.h"
#include "query.h"

namespace dashgate {
namespace {

using ServiceStub = v1::ConversationService::StubInterface;

// A method of the service.
template <class Request, class Response>
using Method = grpc::Status (ServiceStub::*)(grpc::ClientContext*, const Request&, Response*);

template <class Request, class Response, class Impl>
Response ask(Impl& client, const QueryOptions& options, const char* name,
             Method<Request, Response> method, const Request& request, bool is_retried = false) {
  return detail::query<Response>(
      client, options, client.unary_deadline(options.timeout), name,
      [&](detail::Connection& to, grpc::ClientContext& context, Response& response) {
        return ((*to.conversations).*method)(&context, request, &response);
      },
      is_retried);
}

// Sets the values of a conversation that a program chooses.
void set_values(v1::Conversation& conversation, const ConversationValues& values) {
  if (values.model) conversation.set_model(*values.model);
  if (values.labels) {
    conversation.mutable_labels()->insert(values.labels->begin(), values.labels->end());
  }
  if (values.ttl) conversation.mutable_ttl()->set_seconds(values.ttl->count());
}

}  // namespace

v1::Conversation Client::create_conversation(const std::string& id,
                                             const ConversationValues& values,
                                             const QueryOptions& options) const {
  v1::CreateConversationRequest request;
  request.set_conversation_id(id);
  set_values(*request.mutable_conversation(), values);
  // Without an id, another attempt would make another conversation.
  auto response = ask(*impl_, options, "CreateConversation", &ServiceStub::CreateConversation,
                      request, !id.empty());
  return std::move(*response.mutable_conversation());
}

v1::Conversation Client::get_conversation(const std::string& name,
                                          const QueryOptions& options) const {
  v1::GetConversationRequest request;
  request.set_name(name);
  auto response = ask(*impl_, options, "GetConversation", &ServiceStub::GetConversation, request);
  return std::move(*response.mutable_conversation());
}

std::vector<v1::Conversation> Client::list_conversations(const ListOptions& options) const {
  std::vector<v1::Conversation> conversations;
  v1::ListConversationsRequest request;
  request.set_page_size(options.page_size);
  do {
    auto page = ask(*impl_, options, "ListConversations", &ServiceStub::ListConversations, request);
    conversations.insert(conversations.end(),
                         std::make_move_iterator(page.mutable_conversations()->begin()),
                         std::make_move_iterator(page.mutable_conversations()->end()));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return conversations;
}

v1::Conversation Client::update_conversation(const std::string& name,
                                             const ConversationValues& values,
                                             const QueryOptions& options) const {
  v1::UpdateConversationRequest request;
  request.mutable_conversation()->set_name(name);
  set_values(*request.mutable_conversation(), values);
  if (values.model) request.mutable_update_mask()->add_paths("model");
  if (values.labels) request.mutable_update_mask()->add_paths("labels");
  if (values.ttl) request.mutable_update_mask()->add_paths("ttl");
  auto response =
      ask(*impl_, options, "UpdateConversation", &ServiceStub::UpdateConversation, request);
  return std::move(*response.mutable_conversation());
}

void Client::delete_conversation(const std::string& name, const QueryOptions& options) const {
  v1::DeleteConversationRequest request;
  request.set_name(name);
  ask(*impl_, options, "DeleteConversation", &ServiceStub::DeleteConversation, request);
}

std::vector<v1::Turn> Client::list_turns(const std::string& name,
                                         const TurnOptions& options) const {
  std::vector<v1::Turn> turns;
  v1::ListTurnsRequest request;
  request.set_name(name);
  request.set_page_size(options.page_size);
  request.set_newest_first(options.newest_first);
  request.set_include_media(options.include_media);
  do {
    auto page = ask(*impl_, options, "ListTurns", &ServiceStub::ListTurns, request);
    turns.insert(turns.end(), std::make_move_iterator(page.mutable_turns()->begin()),
                 std::make_move_iterator(page.mutable_turns()->end()));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return turns;
}

void Client::delete_turn(const std::string& name, const QueryOptions& options) const {
  v1::DeleteTurnRequest request;
  request.set_name(name);
  ask(*impl_, options, "DeleteTurn", &ServiceStub::DeleteTurn, request);
}

v1::Conversation Client::fork_conversation(const std::string& name, std::optional<int> last_turn,
                                           const std::string& id,
                                           const QueryOptions& options) const {
  v1::ForkConversationRequest request;
  request.set_name(name);
  if (last_turn) request.set_last_turn(*last_turn);
  request.set_conversation_id(id);
  // As for create_conversation.
  auto response = ask(*impl_, options, "ForkConversation", &ServiceStub::ForkConversation, request,
                      !id.empty());
  return std::move(*response.mutable_conversation());
}

v1::CancelTurnResponse Client::cancel_turn(const std::string& name, const std::string& request_id,
                                           const QueryOptions& options) const {
  v1::CancelTurnRequest request;
  request.set_name(name);
  request.set_request_id(request_id);
  return ask(*impl_, options, "CancelTurn", &ServiceStub::CancelTurn, request);
}

}  // namespace dashgate
