// Asks about a sound file and prints the answer: ask [FILE [QUESTION]].
#include <dashgate/dashgate.h>

#include <iostream>

int main(int count, char** arguments) try {
  const char* file = count > 1 ? arguments[1] : "sentence-en.wav";
  const char* question = count > 2 ? arguments[2] : "What is said in this audio?";

  dashgate::Client client;
  dashgate::Conversation conversation("qwen-audio-turbo");
  conversation.user(dashgate::audio(file), question);
  const dashgate::Answer answer = client.converse(conversation);

  std::cout << answer.text() << '\n'
            << answer.usage().input_tokens() << " tokens in, " << answer.usage().output_tokens()
            << " out (call " << answer.request_id() << ")\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
