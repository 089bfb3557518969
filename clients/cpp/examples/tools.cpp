// Runs a function that the model calls: tools [QUESTION].
#include <dashgate/dashgate.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>

#include <exception>
#include <iostream>
#include <vector>

namespace {

void ask_by_generated_classes(const dashgate::Client& client,
                              const dashgate::Conversation& conversation) {
  // region raw
  auto service = dashgate::v1::ConversationService::NewStub(client.channel());
  grpc::ClientContext context;
  client.prepare(context);  // the key and the metadata of the client
  dashgate::v1::ConverseRequest request;
  *request.mutable_conversation() = conversation.raw();
  dashgate::v1::ConverseResponse response;
  const grpc::Status status = service->Converse(&context, request, &response);
  if (!status.ok()) throw dashgate::Error::from_status(status, context);
  // endregion
  std::cout << dashgate::Answer(response).text() << '\n';
}

void stream_answers(const dashgate::Client& client, dashgate::Conversation& conversation,
                    const std::vector<dashgate::Tool>& tools) {
  // region stream
  dashgate::ToolOptions options;
  options.parallel = true;  // the functions of an answer run at the same time
  for (const auto& text : client.stream_tools(conversation, tools, options).text_deltas()) {
    std::cout << text << std::flush;
  }
  // endregion
  std::cout << '\n';
}

}  // namespace

int main(int count, char** arguments) try {
  const char* question = count > 1 ? arguments[1] : "What does the tide_table say for Dover?";
  const dashgate::Client client;
  dashgate::Conversation conversation("qwen3.6-plus");
  conversation.user(question);
  ask_by_generated_classes(client, conversation);

  // region tools
  dashgate::Tool tide_table;
  tide_table.name = "tide_table";
  tide_table.description = "The next high water of a port";
  tide_table.parameters =
      R"({"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]})";
  tide_table.function = [](const std::string& given) {  // a JSON text
    std::cout << "asked for " << given << '\n';
    return R"({"high_water": "09:12"})";
  };
  const dashgate::Answer answer = client.run_tools(conversation, {tide_table});
  std::cout << answer.text() << '\n';
  // endregion
  conversation.user(question);
  stream_answers(client, conversation, {tide_table});
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
