// region five_lines
#include <dashgate/dashgate.h>

#include <iostream>

int main() {
  dashgate::Client client;
  dashgate::Conversation conversation("qwen-audio-turbo");
  conversation.user("Say hello to a harbour.");
  const dashgate::Answer answer = client.converse(conversation);
  std::cout << answer.text() << '\n';
}
// endregion
