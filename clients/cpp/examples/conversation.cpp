// Several turns about audio files, one of them uploaded: conversation FILE LARGE_FILE.
#include <dashgate/dashgate.h>

#include <exception>
#include <iostream>

int main(int count, char** arguments) try {
  if (count != 3) {
    std::cerr << "usage: conversation FILE LARGE_FILE\n";
    return 2;
  }
  const char* file = arguments[1];
  const char* large_file = arguments[2];
  const dashgate::Client client;

  // region conversation
  dashgate::Conversation conversation("qwen-audio-turbo", "Answer in one sentence.");
  conversation.user(dashgate::audio(file), "What is said in this audio?");
  conversation.append(client.converse(conversation));
  conversation.user("And how is it said?");
  conversation.append(client.converse(conversation));
  // endregion

  // region upload
  const auto uploaded = client.upload("qwen-audio-turbo", large_file);
  conversation.user(dashgate::audio(uploaded.uri()), "And what is in this one?");
  conversation.append(client.converse(conversation));
  // endregion

  for (const auto& message : conversation.raw().messages()) {
    std::cout << dashgate::v1::Role_Name(message.role()) << '\n';
    for (const auto& part : message.content()) {
      std::cout << "  " << (part.has_text() ? part.text() : "(audio)") << '\n';
    }
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
