// region five_lines
#include <dashgate/dashgate.h>

#include <iostream>

const char* const kWelcome = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3";

int main() {
  dashgate::Client client;
  dashgate::Conversation conversation("qwen-audio-turbo");
  conversation.user(dashgate::audio(kWelcome), "What is said in this audio?");
  const dashgate::Answer answer = client.converse(conversation);
  std::cout << answer.text() << '\n';
}
// endregion
