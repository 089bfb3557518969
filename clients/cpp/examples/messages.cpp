// Message lists, JSON, and answers of a type: messages.
#include <dashgate/dashgate.h>

#include <exception>
#include <iostream>

#include "city.pb.h"

namespace {

void convert() {
  // region messages
  const auto conversation = dashgate::Conversation::from_messages("qwen3-omni-flash", R"([
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": [
          {"type": "text", "text": "What is it?"},
          {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}])");
  const std::string saved = conversation.to_json();
  const auto restored = dashgate::Conversation::from_json(saved);
  // endregion
  std::cout << restored.raw().messages_size() << " messages\n";
}

void describe(const dashgate::Client& client, const dashgate::Conversation& conversation) {
  // region structured
  // message City { string name = 1; int32 people = 2; repeated string rivers = 3; }
  dashgate::OutputOptions options;
  options.repair = true;  // shows the model an error of its answer, once
  const auto city = client.converse_as<example::City>(conversation, options);
  std::cout << city.value.name() << ": " << city.value.people() << " people\n";
  // endregion
}

}  // namespace

int main() try {
  convert();
  dashgate::Conversation conversation("qwen3.6-plus");
  conversation.user("Describe Oslo.");
  describe(dashgate::Client(), conversation);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
