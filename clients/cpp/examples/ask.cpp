// Asks about an audio file, and prints the answer: ask FILE [QUESTION].
#include <dashgate/dashgate.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>

namespace {

void ask(const std::string& file, const std::string& question) {
  // region ask
  dashgate::Client client;
  dashgate::Conversation conversation("qwen-audio-turbo");
  conversation.user(dashgate::audio(file), question);
  const dashgate::Answer answer = client.converse(conversation);
  std::cout << answer.text() << '\n'
            << answer.usage().input_tokens() << " tokens in, " << answer.usage().output_tokens()
            << " out\n";
  // endregion
}

}  // namespace

int main(int count, char** arguments) try {
  if (count < 2) {
    std::cerr << "usage: ask FILE [QUESTION]\n";
    return 2;
  }
  const std::string file = arguments[1];
  const std::string question = count > 2 ? arguments[2] : "What is said in this audio?";
  // region errors
  try {
    ask(file, question);
  } catch (const dashgate::Error& error) {
    std::cerr << error.what() << '\n';  // code, raw_reason, message and request id
    for (const dashgate::FieldViolation& wrong : error.field_violations()) {
      std::cerr << "  " << wrong.field << ": " << wrong.description << '\n';
    }
    if (error.retry_after()) {
      std::cerr << "retry in " << error.retry_after()->count() << " ms\n";
    } else if (error.retryable()) {  // for example because the gateway is down
      std::cerr << "retry later\n";
    }
    return 1;
  }
  // endregion
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
