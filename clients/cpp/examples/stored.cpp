// A conversation that the gateway stores: stored NAME, for example conversations/harbour.
#include <dashgate/dashgate.h>

#include <exception>
#include <iostream>

int main(int count, char** arguments) try {
  if (count != 2) {
    std::cerr << "usage: stored NAME\n";
    return 2;
  }
  const std::string name = arguments[1];
  const std::string id = name.substr(name.find('/') + 1);
  const dashgate::Client client;

  // region stored
  dashgate::ConversationValues values;
  values.model = "qwen3.6-plus";
  values.labels = dashgate::Labels{{"team", "harbour"}};
  client.create_conversation(id, values);

  dashgate::Conversation conversation("", "", "conversations/" + id);
  conversation.user("When is high water?");
  conversation.append(client.converse(conversation));
  conversation.user("And low water?");  // only this is sent
  conversation.append(client.converse(conversation));

  for (const auto& turn : client.list_turns("conversations/" + id)) {
    std::cout << turn.number() << ": " << turn.answer().content(0).text() << '\n';
  }
  // endregion
  client.delete_conversation("conversations/" + id);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
