#include <dashgate/content.h>
#include <dashgate/conversation.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "channel.h"
#include "folder.h"
#include "sniffing.h"

namespace {

namespace v1 = dashgate::v1;
using google::protobuf::Struct;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

Struct parse(const std::string& json) {
  Struct fields;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &fields).ok());
  return fields;
}

std::string bytes(std::string_view hex) {
  std::string all;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    all += static_cast<char>(std::stoi(std::string(hex.substr(at, 2)), nullptr, 16));
  }
  return all;
}

class Files : public tests::FolderTest {};

TEST(Sniffing, TablesAreThoseOfTheSuite) {
  const Struct suite = parse(read(DASHGATE_ROOT "/tests/conformance/sniffing.json"));
  const auto& rules = suite.fields().at("rules").list_value().values();
  ASSERT_EQ(static_cast<std::size_t>(rules.size()), dashgate::detail::kRules.size());
  int at = 0;
  for (const auto& ours : dashgate::detail::kRules) {
    const auto& rule = rules.at(at++).struct_value().fields();
    EXPECT_EQ(rule.at("match").string_value(), ours.match);
    EXPECT_EQ(rule.at("types").string_value(), ours.types);
  }
  const auto& extensions = suite.fields().at("extensions").struct_value().fields();
  ASSERT_EQ(extensions.size(), dashgate::detail::kExtensions.size());
  for (const auto& [extension, types] : dashgate::detail::kExtensions) {
    EXPECT_EQ(extensions.at(std::string(extension)).string_value(), types);
  }
}

TEST(Sniffing, EverySampleOfTheSuiteIsTold) {
  const Struct suite = parse(read(DASHGATE_ROOT "/tests/conformance/sniffing.json"));
  for (const auto& value : suite.fields().at("samples").list_value().values()) {
    const auto& sample = value.struct_value().fields();
    const std::string head = bytes(sample.at("head").string_value());
    const std::string& name = sample.at("name").string_value();
    EXPECT_EQ(dashgate::sniff(head, name, sample.at("kind").string_value()),
              sample.at("mime_type").string_value())
        << sample.at("head").string_value() << " " << name;
  }
}

TEST(Sniffing, BytesComeFirstThenTheExtensionThenNothing) {
  EXPECT_EQ(dashgate::sniff("RIFF1234WAVEfmt ", "film.mp4"), "audio/wav");
  EXPECT_EQ(dashgate::sniff("RIFF1234WAV", "film.MP4"), "video/mp4");
  EXPECT_EQ(dashgate::sniff("what", "sound"), "");
  EXPECT_EQ(dashgate::sniff("", "sound.xyz"), "");
  EXPECT_EQ(dashgate::sniff("fLaC"), "audio/flac");
}

TEST(ServiceConfig, IsThatOfAllClients) {
  const std::string ours(dashgate::detail::service_config());
  const std::string all = read(DASHGATE_ROOT "/clients/service-config.json");
  EXPECT_EQ(parse(ours).SerializeAsString().empty(), false);
  EXPECT_EQ(ours, all);
}

TEST_F(Files, AFileIsReadAndItsPathIsNotSent) {
  const auto path = write("sound.mp3", "ID3 and so on");
  for (const dashgate::Source& source :
       {dashgate::Source(path), dashgate::Source(path.string()), dashgate::Source::file(path)}) {
    const v1::Content content = dashgate::audio(source);
    EXPECT_EQ(content.audio().data(), "ID3 and so on");
    EXPECT_EQ(content.audio().mime_type(), "audio/mpeg");
    EXPECT_EQ(content.SerializeAsString().find("sound.mp3"), std::string::npos);
  }
}

TEST_F(Files, AFileThatCannotBeReadIsNamed) {
  for (const auto& path : {folder_ / "nothing.wav", folder_}) {
    try {
      dashgate::audio(path);
      FAIL() << path;
    } catch (const std::filesystem::filesystem_error& error) {
      EXPECT_EQ(error.path1(), path);
    }
  }
}

TEST_F(Files, AFileUriIsThePathThatItNames) {
  const auto path = write("a b.mp3", "ID3");
  std::string escaped = path.string();
  escaped.replace(escaped.find(' '), 1, "%20");
  for (const std::string& uri :
       {"file://" + escaped, "file:" + escaped, "file://localhost" + escaped}) {
    EXPECT_EQ(dashgate::audio(uri).audio().data(), "ID3") << uri;
  }
  for (const char* wrong : {"file://elsewhere/a", "file:", "file:///a%2"}) {
    EXPECT_THROW(dashgate::audio(wrong), std::invalid_argument) << wrong;
  }
}

TEST_F(Files, AReaderIsReadToItsEnd) {
  std::ifstream file(write("sound", "ID3 and so on"), std::ios::binary);
  file.seekg(4);
  EXPECT_EQ(dashgate::audio(file).audio().data(), "and so on");
  std::istringstream media("ID3");
  EXPECT_EQ(dashgate::audio(media).audio().mime_type(), "audio/mpeg");
  std::ifstream missing(folder_ / "nothing");
  EXPECT_THROW(dashgate::audio(missing), std::ios_base::failure);
}

TEST_F(Files, ALargeFileIsReadWhole) {
  std::string bytes(700'001, 'x');
  bytes.back() = 'y';
  EXPECT_EQ(dashgate::image(write("large", bytes)).image().data(), bytes);
}

TEST(Content, AUriIsTakenAsItIs) {
  for (const char* uri :
       {"https://x/a.wav", "http://x/a.wav", "oss://b/a.wav", "data:audio/wav,"}) {
    EXPECT_EQ(dashgate::audio(uri).audio().uri(), uri);
    EXPECT_EQ(dashgate::audio(uri).audio().mime_type(), "");
  }
  EXPECT_EQ(dashgate::video(dashgate::Source::uri("rtsp://x")).video().uri(), "rtsp://x");
  EXPECT_EQ(dashgate::image("oss://b/x", "image/png").image().mime_type(), "image/png");
}

TEST(Content, BytesAndFrames) {
  const std::vector<std::uint8_t> bytes{0xff, 0xd8, 0xff, 0};
  EXPECT_EQ(dashgate::image(bytes).image().mime_type(), "image/jpeg");
  EXPECT_EQ(dashgate::image(bytes).image().data(), std::string("\xff\xd8\xff\0", 4));
  const std::string bitmap("BM\x36\0\0\0\0\0\0\0", 10);
  const v1::Content film = dashgate::video({"https://x/1.png", dashgate::Source::bytes(bitmap)});
  ASSERT_EQ(film.video().frames().frames_size(), 2);
  EXPECT_EQ(film.video().frames().frames(0).uri(), "https://x/1.png");
  EXPECT_EQ(film.video().frames().frames(1).mime_type(), "image/bmp");
}

TEST(Conversation, GrowsByTurns) {
  dashgate::Conversation conversation("m", "be brief");
  const std::vector<v1::Content> pictures{dashgate::image("https://x/1"),
                                          dashgate::image("https://x/2")};
  const std::string text = "which?";
  conversation.user(pictures, text).assistant("the first");
  v1::ConverseResponse raw;
  v1::Message& said = *raw.add_choices()->mutable_message();
  said.set_role(v1::ROLE_ASSISTANT);
  said.add_tool_calls()->set_id("c");
  const dashgate::Answer answer(raw);
  conversation.append(answer).tool_result(answer.tool_calls()[0], "done");
  ASSERT_EQ(conversation.raw().messages_size(), 5);
  EXPECT_EQ(conversation.raw().messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(conversation.raw().messages(1).content_size(), 3);
  EXPECT_EQ(conversation.raw().messages(1).content(2).text(), "which?");
  EXPECT_EQ(conversation.raw().messages(3).tool_calls_size(), 1);
  EXPECT_EQ(conversation.raw().messages(4).role(), v1::ROLE_TOOL);
  EXPECT_EQ(conversation.raw().messages(4).tool_call_id(), "c");
}

TEST(Conversation, AToolOfTheSameNameIsReplaced) {
  dashgate::Conversation conversation("m");
  conversation.declare_tool("f", "old", "{}")
      .declare_tool("g", "", "")
      .declare_tool("f", "new", "{}");
  ASSERT_EQ(conversation.raw().tools_size(), 2);
  EXPECT_EQ(conversation.raw().tools(0).function().description(), "new");
  conversation.tool_choice(v1::TOOL_CHOICE_MODE_NONE);
  EXPECT_EQ(conversation.raw().tool_choice().mode(), v1::TOOL_CHOICE_MODE_NONE);
  conversation.tool_choice("f");
  EXPECT_EQ(conversation.raw().tool_choice().function_name(), "f");
}

}  // namespace
