// Message lists, and the JSON form of conversations.
#include <dashgate/conversation.h>
#include <gtest/gtest.h>

#include "data_uri.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Conversation;
using dashgate::detail::decode_base64;
using dashgate::detail::parse_data_uri;

std::string refusal_of_list(const std::string& messages) {
  try {
    Conversation::from_messages("m", messages);
  } catch (const std::invalid_argument& refused) {
    return refused.what();
  }
  ADD_FAILURE() << messages;
  return {};
}

TEST(Base64, IsDecodedWithItsPadding) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("aGk="), "hi");
  EXPECT_EQ(decode_base64("++//"), "\xfb\xef\xff");
  for (const char* wrong : {"a", "aGk", "aGk==", "a?k=", "aG k", "====", "--__"}) {
    EXPECT_FALSE(decode_base64(wrong)) << wrong;
  }
}

TEST(DataUri, HasATypeAndBytes) {
  EXPECT_EQ(parse_data_uri("data:audio/wav;base64,aGk=")->bytes, "hi");
  EXPECT_EQ(parse_data_uri("data:audio/wav;base64,aGk%3D")->mime_type, "audio/wav");
  EXPECT_EQ(parse_data_uri("data:;base64,aGk=")->mime_type, "");
  EXPECT_EQ(parse_data_uri("data:text/plain,a%20b")->bytes, "a b");
  for (const char* wrong : {"data:audio/wav", "data:,%2", "data:;base64,?", "file:a,"}) {
    EXPECT_FALSE(parse_data_uri(wrong)) << wrong;
  }
}

TEST(MessageList, OfOpenAi) {
  const auto conversation = Conversation::from_messages("m", R"([
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": [
      {"type": "text", "text": "what?"},
      {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
      {"type": "input_audio", "input_audio": {"data": "data:;base64,aGk=", "format": "wav"}},
      {"type": "video", "video": ["https://x/1.png", "data:image/png;base64,aGk="]},
      {"type": "video_url", "video_url": {"url": "oss://b/a.mp4"}}]},
    {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
      {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c", "content": "done"}])");
  const v1::Conversation& raw = conversation.raw();
  ASSERT_EQ(raw.messages_size(), 4);
  EXPECT_EQ(raw.messages(0).role(), v1::ROLE_SYSTEM);
  const v1::Message& user = raw.messages(1);
  EXPECT_EQ(user.content(0).text(), "what?");
  EXPECT_EQ(user.content(1).audio().data(), "hi");
  EXPECT_EQ(user.content(1).audio().mime_type(), "audio/mpeg");
  EXPECT_EQ(user.content(2).audio().mime_type(), "audio/wav");
  EXPECT_EQ(user.content(3).video().frames().frames(0).uri(), "https://x/1.png");
  EXPECT_EQ(user.content(3).video().frames().frames(1).mime_type(), "image/png");
  EXPECT_EQ(user.content(4).video().uri(), "oss://b/a.mp4");
  EXPECT_EQ(raw.messages(2).content_size(), 0);
  EXPECT_EQ(raw.messages(2).reasoning_text(), "hm");
  EXPECT_EQ(raw.messages(2).tool_calls(0).name(), "f");
  EXPECT_EQ(raw.messages(3).tool_call_id(), "c");
}

TEST(MessageList, OfDashScope) {
  const auto conversation = Conversation::from_messages("m", R"([{"role": "user", "content": [
      {"audio": "https://x/a.mp3"}, {"image": "data:image/png;base64,aGk="},
      {"video": ["https://x/1.png"]}, {"video": "https://x/a.mp4"}, {"text": "what?"}]}])");
  const v1::Message& user = conversation.raw().messages(0);
  EXPECT_EQ(user.content(0).audio().uri(), "https://x/a.mp3");
  EXPECT_EQ(user.content(1).image().data(), "hi");
  EXPECT_EQ(user.content(2).video().frames().frames_size(), 1);
  EXPECT_EQ(user.content(3).video().uri(), "https://x/a.mp4");
  EXPECT_EQ(user.content(4).text(), "what?");
}

TEST(MessageList, WhatIsUnknownIsRefusedWithItsPlace) {
  const auto part = [](const std::string& json) {
    return R"([{"role": "user", "content": "a"}, {"role": "user", "content": [)" + json + "]}]";
  };
  const std::vector<std::pair<std::string, std::string>> refusals{
      {R"([{"role": "judge"}])", "messages[0].role"},
      {R"([{"content": "a"}])", "messages[0]: it has no role"},
      {R"([{"role": "user", "name": "x"}])", "messages[0].name"},
      {R"([{"role": "user", "content": 7}])", "messages[0].content"},
      {R"(["a"])", "messages[0]: it is not an object"},
      {part(R"({"type": "smell"})"), "messages[1].content[0].type"},
      {part(R"({"type": "text", "text": "a", "x": 1})"), "messages[1].content[0].x"},
      {part(R"({"type": "image_url", "image_url": {"url": "a.png"}})"),
       "messages[1].content[0].image_url.url"},
      {part(R"({"image": "file:///etc/hostname"})"), "messages[1].content[0].image"},
      {part(R"({"audio": "dashgate-file:1"})"), "messages[1].content[0].audio"},
      {part(R"({"audio": "data:x"})"), "messages[1].content[0].audio"},
      {part(R"({"type": "input_audio", "input_audio": {"data": "/etc/x"}})"),
       "messages[1].content[0].input_audio.data"},
      {part(R"({"text": "a", "image": "https://x"})"), "messages[1].content[0]"},
      {part("{}"), "messages[1].content[0]"},
      {R"([{"role": "assistant", "tool_calls": [{"id": "c"}]}])",
       "messages[0].tool_calls[0]: it has no function"},
  };
  for (const auto& [messages, place] : refusals) {
    EXPECT_NE(refusal_of_list(messages).find(place), std::string::npos)
        << refusal_of_list(messages);
  }
  refusal_of_list("{");
  refusal_of_list("{}");
}

TEST(Conversation, IsWrittenAndReadAsJson) {
  Conversation conversation("m", "be brief");
  conversation.user(dashgate::audio(dashgate::Source::bytes("ID3")), "what?");
  const Conversation read = Conversation::from_json(conversation.to_json());
  EXPECT_EQ(read.raw().SerializeAsString(), conversation.raw().SerializeAsString());
  EXPECT_THROW(Conversation::from_json("{"), std::invalid_argument);
  v1::ConverseResponse raw;
  raw.set_model("m");
  EXPECT_EQ(dashgate::Answer(raw).to_json(), R"({"model":"m"})");
}

}  // namespace
