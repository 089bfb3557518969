// Files that are uploaded before the call.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "attached_files.h"
#include "folder.h"
#include "server.h"
#include "upload_cache.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using dashgate::detail::AttachedFiles;
using dashgate::detail::UploadCache;
using dashgate::detail::UploadKey;
using tests::failure_of;

const std::size_t kLarge = dashgate::detail::kMostInMessage + 1;

// A gateway that takes uploads and answers, and a folder.
class LargeFiles : public tests::FolderTest {
 protected:
  LargeFiles() {
    server_.upload = [this](grpc::ServerContext&, tests::ChunkReader& reader,
                            v1::UploadMediaResponse& response) {
      v1::UploadMediaRequest request;
      std::size_t bytes = 0;
      while (reader.Read(&request)) {
        if (request.has_description()) described_.push_back(request.description());
        bytes += request.chunk().size();
      }
      EXPECT_GT(bytes, dashgate::detail::kMostInMessage);
      response.set_uri("oss://b/" + std::to_string(described_.size()));
      response.mutable_expires_at()->set_seconds(std::time(nullptr) + 7200);
      return grpc::Status::OK;
    };
    server_.converse = [this](int, grpc::ServerContext&, const v1::ConverseRequest& request,
                              v1::ConverseResponse&) {
      asked_.push_back(request.conversation());
      return grpc::Status::OK;
    };
  }

  tests::Server server_;
  std::vector<v1::MediaDescription> described_;
  std::vector<v1::Conversation> asked_;
};

TEST_F(LargeFiles, AreUploadedOnceForAllTurns) {
  const auto path = write("a.wav", "RIFF1234WAVE" + std::string(kLarge, 'x'));
  const Client client(server_.options());
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::audio(path), dashgate::video(std::vector<dashgate::Source>{path}));
  const v1::Message& message = conversation.raw().messages(0);
  EXPECT_TRUE(AttachedFiles::is_uri(message.content(0).audio().uri()));
  EXPECT_EQ(message.content(0).audio().mime_type(), "audio/wav");
  EXPECT_EQ(message.SerializeAsString().find(path.string()), std::string::npos);
  client.converse(conversation);
  client.converse(conversation);
  ASSERT_EQ(described_.size(), 1U);
  EXPECT_EQ(described_[0].model(), "m");
  EXPECT_EQ(asked_[1].messages(0).content(0).audio().uri(), "oss://b/1");
  EXPECT_EQ(asked_[1].messages(0).content(1).video().frames().frames(0).uri(), "oss://b/1");
  // The conversation of the caller can be sent to another model.
  EXPECT_TRUE(AttachedFiles::is_uri(conversation.raw().messages(0).content(0).audio().uri()));

  write("a.wav", "RIFF1234WAVE" + std::string(kLarge + 1, 'x'));
  client.converse(conversation);
  EXPECT_EQ(described_.size(), 2U);
}

TEST_F(LargeFiles, SmallOnesAreReadIntoTheMessage) {
  const auto path = write("a.wav", std::string(kLarge - 1, 'x'));
  EXPECT_EQ(dashgate::audio(path).audio().data().size(), kLarge - 1);
}

TEST_F(LargeFiles, ThatAreGoneAreNamed) {
  const auto path = write("a.wav", std::string(kLarge, 'x'));
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::audio(path));
  std::filesystem::remove(path);
  try {
    Client(server_.options()).converse(conversation);
    FAIL() << "nothing was thrown";
  } catch (const std::filesystem::filesystem_error& error) {
    EXPECT_EQ(error.path1(), path);
  }
}

TEST_F(LargeFiles, OfAnotherProcessAreRefused) {
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::image(dashgate::Source::uri("dashgate-file:1")));
  const Client client(server_.options());
  for (const auto& error : {failure_of([&] { client.converse(conversation); }),
                            failure_of([&] { client.stream(conversation); })}) {
    EXPECT_EQ(error.code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(error.message().find("attach it again"), std::string::npos);
  }
  EXPECT_TRUE(server_.seen().empty());
}

TEST(AttachedFiles, TheOldestIsForgotten) {
  AttachedFiles files;
  const std::string first = files.add("/a");
  const std::string second = files.add("/b");
  for (int at = 0; at < 9'999; ++at) files.add("/c");
  EXPECT_FALSE(files.find(first));
  EXPECT_EQ(files.find(second), "/b");
}

TEST(UploadCache, ForgetsWhatExpiresAndTheOldest) {
  UploadCache cache;
  const auto now = UploadCache::Time() + std::chrono::hours(1000);
  v1::UploadMediaResponse upload;
  upload.set_uri("oss://1");
  upload.mutable_expires_at()->set_seconds(1002 * 3600);
  UploadKey key;
  key.path = "/0";
  cache.add(key, upload);
  cache.add(key, upload);
  EXPECT_EQ(cache.find(key, now), "oss://1");
  EXPECT_FALSE(cache.find(key, now + std::chrono::hours(1)));
  UploadKey other = key;
  other.model = "another";
  EXPECT_FALSE(cache.find(other, now));
  for (int at = 1; at <= 1000; ++at) {
    other.path = "/" + std::to_string(at);
    cache.add(other, upload);
  }
  EXPECT_FALSE(cache.find(key, now));
  EXPECT_TRUE(cache.find(other, now));
}

}  // namespace
