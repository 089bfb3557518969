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

TEST(Base64, IsDecodedWithOrWithoutItsPadding) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("aGk="), "hi");
  EXPECT_EQ(decode_base64("aGk"), "hi");
  EXPECT_EQ(decode_base64("aA=="), "h");
  EXPECT_EQ(decode_base64("aA"), "h");
  EXPECT_EQ(decode_base64("++//"), "\xfb\xef\xff");
  for (const char* wrong :
       {"a", "aGk==", "aA=", "a===", "=", "a?k=", "aG k", "aGk\n", "====", "--__"}) {
    EXPECT_FALSE(decode_base64(wrong)) << wrong;
  }
}

TEST(DataUri, HasATypeAndBytes) {
  EXPECT_EQ(parse_data_uri("data:audio/wav;base64,aGk=")->bytes, "hi");
  EXPECT_EQ(parse_data_uri("data:audio/wav;base64,aGk=")->mime_type, "audio/wav");
  EXPECT_EQ(parse_data_uri("data:;charset=x,a")->mime_type, "");
  EXPECT_EQ(parse_data_uri("data:;base64,aGk=")->mime_type, "");
  EXPECT_EQ(parse_data_uri("data:text/plain,a%20b")->bytes, "a b");
  EXPECT_EQ(parse_data_uri("DATA:audio/wav;BASE64,aGk")->bytes, "hi");
  for (const char* wrong :
       {"data:audio/wav", "data:,%2", "data:;base64,?", "data:;base64,aGk%3D", "file:a,"}) {
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

TEST(MessageList, AToolCallHasATypeAndAnIndex) {
  const auto conversation =
      Conversation::from_messages("m", R"([{"role": "assistant", "tool_calls": [
        {"function": {"name": "f"}}, {"id": "c", "index": 7, "function": {"name": "g"}}]}])");
  const auto& calls = conversation.raw().messages(0).tool_calls();
  EXPECT_EQ(calls[0].ShortDebugString(), R"(type: "function" name: "f")");
  EXPECT_EQ(calls[1].ShortDebugString(), R"(index: 7 id: "c" type: "function" name: "g")");
}

TEST(MessageList, TheTypeOfDataIsThatOfTheUriThenOfTheFormat) {
  const auto conversation = Conversation::from_messages("m", R"([{"role": "user", "content": [
    {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "mp3"}},
    {"type": "input_audio", "input_audio": {"data": "data:,a", "format": "mp3"}},
    {"type": "input_audio", "input_audio": {"data": "data:audio/flac,a", "format": "mp3"}},
    {"audio": "data:;base64,UklGRiQAAABXQVZF"}, {"type": "video", "video": "https://x"}]}])");
  const auto& content = conversation.raw().messages(0).content();
  EXPECT_EQ(content[0].audio().mime_type(), "audio/mpeg");
  EXPECT_EQ(content[1].audio().mime_type(), "audio/mpeg");
  EXPECT_EQ(content[2].audio().mime_type(), "audio/flac");
  EXPECT_EQ(content[3].audio().mime_type(), "audio/wav");
  EXPECT_EQ(content[4].video().uri(), "https://x");
}

TEST(MessageList, AKeyWhoseValueIsNullIsAbsent) {
  const auto conversation = Conversation::from_messages("m", R"([
    {"role": "user", "name": null, "tool_calls": null, "content": [
      {"type": null, "text": "what?", "image": null, "x": null},
      {"type": "input_audio", "input_audio": {"data": "aGk", "format": null}, "text": null}]},
    {"role": "assistant", "content": null, "audio": null, "refusal": null, "tool_calls": [
      {"id": "c", "type": null, "function": {"name": "f", "arguments": null}}]}])");
  const v1::Conversation& raw = conversation.raw();
  EXPECT_EQ(raw.messages(0).content(0).text(), "what?");
  EXPECT_EQ(raw.messages(0).content(1).audio().data(), "hi");
  EXPECT_EQ(raw.messages(1).tool_calls(0).id(), "c");
  EXPECT_NE(refusal_of_list(R"([{"role": null}])").find("messages[0]: it has no role"),
            std::string::npos);
}

TEST(MessageList, SchemesAreReadInAnyCase) {
  const auto conversation = Conversation::from_messages("m", R"([{"role": "user", "content": [
      {"audio": "HTTPS://x/a.mp3"}, {"image": "Data:image/png;base64,aGk"},
      {"video": ["Oss://x/1.png"]},
      {"type": "input_audio", "input_audio": {"data": "DATA:;base64,aGk", "format": "wav"}}]}])");
  const v1::Message& user = conversation.raw().messages(0);
  EXPECT_EQ(user.content(0).audio().uri(), "HTTPS://x/a.mp3");
  EXPECT_EQ(user.content(1).image().data(), "hi");
  EXPECT_EQ(user.content(2).video().frames().frames(0).uri(), "Oss://x/1.png");
  EXPECT_EQ(user.content(3).audio().data(), "hi");
}

TEST(MessageList, ErrorsHaveNothingOfItsValues) {
  for (const char* messages : {
           R"([{"role": "SECRET"}])",
           R"([{"role": "user", "content": [{"type": "SECRET"}]}])",
           R"([{"role": "user", "content": [{"image": "SECRET"}]}])",
           R"([{"role": "user", "content": [{"audio": "data:SECRET"}]}])",
           R"([{"role": "user", "content": "SECRET" SECRET}])",
           R"([{"role": "user", "content": "SECRET \ud800"}])",
           R"([{"role": "user", "content": "SECRET \udc00"}])",
           R"([{"SECRET": 1, "SECRET": 2}])",
           R"({"SECRET": 1})",
           "SECRET",
       }) {
    EXPECT_EQ(refusal_of_list(messages).find("SECRET"), std::string::npos)
        << refusal_of_list(messages);
  }
  EXPECT_THROW(Conversation::from_json(R"({"name": "SECRET", "ttl": "SECRET"})"),
               std::invalid_argument);
}

TEST(MessageList, ATextThatIsNotUnicodeIsRefusedWithItsPlace) {
  google::protobuf::ListValue list;
  auto& fields = *list.add_values()->mutable_struct_value()->mutable_fields();
  fields["role"].set_string_value("user");
  for (const char* wrong : {"a\xed\xa0\x80", "\xff", "\xc0\x80", "\xe2\x82", "\xf4\x90\x80\x80"}) {
    fields["content"].set_string_value(wrong);
    try {
      Conversation::from_messages("m", list);
      ADD_FAILURE() << wrong;
    } catch (const std::invalid_argument& refused) {
      EXPECT_STREQ(refused.what(), "dashgate: messages[0].content: it is not Unicode");
    }
  }
  for (const char* right :
       {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xf0\x9f\x98\x80"}) {
    fields["content"].set_string_value(right);
    EXPECT_EQ(Conversation::from_messages("m", list).raw().messages(0).content(0).text(), right);
  }
}

TEST(MessageList, WhatIsUnknownIsRefusedWithItsPlace) {
  const auto part = [](const std::string& json) {
    return R"([{"role": "user", "content": "a"}, {"role": "user", "content": [)" + json + "]}]";
  };
  const auto call = [](const std::string& json) {
    return R"([{"role": "assistant", "tool_calls": [{)" + json + "}]}]";
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
      {part(R"({"type": "input_audio", "input_audio": {"data": "/etc/hostname"}})"),
       "messages[1].content[0].input_audio.data"},
      {part(R"({"text": "a", "image": "https://x"})"), "messages[1].content[0]"},
      {part("{}"), "messages[1].content[0]"},
      {part(R"({"audio": "data:audio/wav;base64,"})"), "messages[1].content[0].audio"},
      {part(R"({"type": "input_audio", "input_audio": {"data": ""}})"),
       "messages[1].content[0].input_audio.data: it has no data"},
      {part(R"({"video": []})"), "messages[1].content[0].video: it has no images"},
      {part(R"({"type": "video", "video": []})"), "messages[1].content[0].video"},
      {R"([{"role": "assistant", "tool_calls": [{"id": "c"}]}])",
       "messages[0].tool_calls[0]: it has no function"},
      {call(R"("function": {"name": ""})"), "messages[0].tool_calls[0].function.name"},
      {call(R"("function": {"name": "f"}, "type": "code")"), "messages[0].tool_calls[0].type"},
      {call(R"("function": {"name": "f"}, "index": "0")"), "messages[0].tool_calls[0].index"},
      {call(R"("function": {"name": "f"}, "index": -1)"), "messages[0].tool_calls[0].index"},
      {call(R"("function": {"name": "f"}, "index": 0.5)"), "messages[0].tool_calls[0].index"},
      {call(R"("function": {"name": "f"}, "index": 1e10)"), "messages[0].tool_calls[0].index"},
  };
  for (const auto& [messages, place] : refusals) {
    EXPECT_NE(refusal_of_list(messages).find(place), std::string::npos)
        << refusal_of_list(messages);
  }
  refusal_of_list("{");
  refusal_of_list("{}");
}

TEST(MessageList, OfLaxJsonIsRefused) {
  const auto list = [](const std::string& content) {
    return R"([{"role": "user", "content": )" + content + "}]";
  };
  for (const std::string& lax : {
           std::string(),
           std::string(" "),
           std::string("[]]"),
           std::string("[] []"),
           std::string("\xef\xbb\xbf[]"),
           std::string("[] // none"),
           std::string("/* none */ []"),
           std::string("[],"),
           std::string("[,]"),
           std::string(R"([{"role": "user", "content": "a"},])"),
           std::string(R"([{"role": "user", "content": "a",}])"),
           std::string(R"([{"role": "user" "content": "a"}])"),
           std::string(R"([{role: "user", "content": "a"}])"),
           std::string(R"([{'role': "user", "content": "a"}])"),
           std::string(R"([{"role"= "user", "content": "a"}])"),
           list("'a'"),
           list("a"),
           list("True"),
           list("nul"),
           list("NaN"),
           list("01"),
           list("+1"),
           list("1."),
           list(".5"),
           list("1e"),
           list("0x1"),
           list("\"a\nb\""),
           list("\"a\tb\""),
           list(R"("\x41")"),
           list(R"("\u12g4")"),
           list(R"("\u12)"),
           list(R"("\)"),
           list("\"a"),
       }) {
    const std::string refusal = refusal_of_list(lax);
    EXPECT_EQ(refusal.rfind("dashgate: invalid JSON at byte ", 0), 0U) << lax << ": " << refusal;
  }
  const std::string odd = " [ { \"role\" :\t\"user\" ,\r\n\"content\": \"\\u0041\\/\\\"\x7f\" } ] ";
  const Conversation read = Conversation::from_messages("m", odd);
  EXPECT_EQ(read.raw().messages(0).content(0).text(), "A/\"\x7f");
  // Numbers and words where the schema has them.
  const std::string call = R"([{"role": "assistant", "content": null, "tool_calls":
    [{"index": 1e0, "function": {"name": "f"}}, {"index": -0.0E+1, "function": {"name": "g"}}]}])";
  EXPECT_EQ(Conversation::from_messages("m", call).raw().messages(0).tool_calls_size(), 2);
  EXPECT_THROW(Conversation::from_json(R"({"model": 'm'})"), std::invalid_argument);
}

TEST(MessageList, ThatIsDeepIsRefusedAtOnce) {
  const std::size_t depth = 1000 * 1000;
  const auto within = [&](const std::string& begin, const std::string& end) {
    std::string list = R"([{"role":"user","content":)";
    for (std::size_t level = 0; level < depth; ++level) list += begin;
    for (std::size_t level = 0; level < depth; ++level) list += end;
    return list + "}]";
  };
  const std::string refusal = "dashgate: the JSON is nested too deeply";
  EXPECT_EQ(refusal_of_list(within("[", "]")), refusal);
  EXPECT_EQ(refusal_of_list(within(R"({"a":)", "}")), refusal);
  EXPECT_NE(refusal_of_list(within(R"({'"':)", "}")), "");
  EXPECT_THROW(Conversation::from_json(within("[", "]")), std::invalid_argument);
  // Brackets of texts are none.
  const std::string text = R"([{"role":"user","content":"\"[)" + std::string(depth, '{') + "\"}]";
  EXPECT_EQ(Conversation::from_messages("m", text).raw().messages_size(), 1);
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
