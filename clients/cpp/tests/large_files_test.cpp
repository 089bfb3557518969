// Files that are uploaded before the call.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>

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
}

// Attaches a file, changes it, and expects that nothing is sent.
template <class Change>
void expect_changed(const tests::Server& server, const std::filesystem::path& path,
                    const Change& change) {
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::audio(path));
  change();
  const Client client(server.options());
  for (const auto& error : {failure_of([&] { client.converse(conversation); }),
                            failure_of([&] { client.stream(conversation); })}) {
    EXPECT_EQ(error.code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(error.message().find(path.string()), std::string::npos);
    EXPECT_NE(error.message().find("attach it again"), std::string::npos);
  }
  EXPECT_TRUE(server.seen().empty());
}

TEST_F(LargeFiles, ThatHaveChangedAreNotSent) {
  const auto path = write("a.wav", std::string(kLarge, 'x'));
  const auto time = std::filesystem::last_write_time(path);
  expect_changed(server_, path, [&] {
    write("a.wav", std::string(kLarge + 1, 'x'));
    std::filesystem::last_write_time(path, time);
  });
  expect_changed(server_, path, [&] {
    std::filesystem::last_write_time(path, time + std::chrono::nanoseconds(1000));
  });
}

TEST_F(LargeFiles, WhosePathNamesAnotherAreNotSent) {
  const auto path = write("a.wav", std::string(kLarge, 'x'));
  expect_changed(server_, path, [&] {
    const auto other = write("b.wav", std::string(kLarge, 'x'));
    std::filesystem::last_write_time(other, std::filesystem::last_write_time(path));
    std::filesystem::rename(other, path);
  });
  expect_changed(server_, path, [&] {
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);
  });
}

TEST_F(LargeFiles, ThatHaveChangedAreNotSentFromTheMemoryEither) {
  const auto path = write("a.wav", std::string(kLarge, 'x'));
  const Client client(server_.options());
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::audio(path));
  client.converse(conversation);
  write("a.wav", std::string(kLarge + 1, 'x'));
  EXPECT_EQ(failure_of([&] { client.converse(conversation); }).code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(asked_.size(), 1U);
}

TEST_F(LargeFiles, AreUploadedAgainForAnotherType) {
  const auto path = write("a.wav", std::string(kLarge, 'x'));
  const Client client(server_.options());
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::audio(path, "audio/webm"), dashgate::video(path, "video/webm"));
  client.converse(conversation);
  ASSERT_EQ(described_.size(), 2U);
  EXPECT_EQ(described_[0].mime_type(), "audio/webm");
  EXPECT_EQ(described_[1].mime_type(), "video/webm");
}

TEST_F(LargeFiles, AreUploadedOnceForCallsAtOnce) {
  const auto path = write("a.wav", std::string(kLarge, 'x'));
  server_.converse = [](auto&&...) { return grpc::Status::OK; };
  const Client client(server_.options());
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::audio(path));
  std::vector<std::future<void>> calls;
  for (int call = 0; call < 4; ++call) {
    calls.push_back(std::async(std::launch::async, [&] { client.converse(conversation); }));
  }
  for (auto& call : calls) call.get();
  EXPECT_EQ(described_.size(), 1U);
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
  const std::string first = files.add({"/a", {}});
  const std::string second = files.add({"/b", {}});
  for (int at = 0; at < 9'999; ++at) files.add({"/c", {}});
  EXPECT_FALSE(files.find(first));
  EXPECT_EQ(files.find(second)->path, "/b");
}

v1::UploadMediaResponse uploaded(const char* uri, std::int64_t expires = 0) {
  v1::UploadMediaResponse upload;
  upload.set_uri(uri);
  upload.mutable_expires_at()->set_seconds(expires);
  return upload;
}

TEST(UploadCache, ForgetsWhatExpiresAndTheOldest) {
  UploadCache cache;
  const auto now = UploadCache::Time() + std::chrono::hours(1000);
  const v1::UploadMediaResponse upload = uploaded("oss://1", 1002 * 3600);
  const UploadKey key;
  cache.add(key, upload);
  cache.add(key, upload);
  EXPECT_EQ(cache.find(key, now), "oss://1");
  EXPECT_FALSE(cache.find(key, now + std::chrono::hours(1)));
  UploadKey other = key;
  other.model = "another";
  EXPECT_FALSE(cache.find(other, now));
  other = key;
  other.mime_type = "another";
  EXPECT_FALSE(cache.find(other, now));
  for (std::uint64_t at = 1; at <= 1000; ++at) {
    other.file.inode = at;
    cache.add(other, upload);
  }
  EXPECT_FALSE(cache.find(key, now));
  EXPECT_TRUE(cache.find(other, now));
}

// Callers of one cache that need the same upload.
class SharedUpload : public testing::Test {
 protected:
  // Begins a call in a thread of its own.
  std::future<std::string> begin(const UploadCache::Upload& upload,
                                 const dashgate::CancellationToken& cancellation = {},
                                 const dashgate::detail::Deadline& deadline = {}) {
    return std::async(std::launch::async, [this, upload, cancellation, deadline] {
      const auto late = [] { return dashgate::detail::expired("r"); };
      return cache_.get({}, upload, late, deadline, cancellation, "r");
    });
  }

  // Begins a call that makes the upload, and waits until it does.
  std::future<std::string> begin_first(const UploadCache::Upload& upload) {
    std::promise<void> begun;
    auto call = begin([&begun, upload] {
      begun.set_value();
      return upload();
    });
    begun.get_future().wait();
    return call;
  }

  static v1::UploadMediaResponse never() {
    ADD_FAILURE() << "it was uploaded twice";
    return {};
  }

  UploadCache cache_;
  std::promise<void> gate_;
};

TEST_F(SharedUpload, IsMadeOnceForCallsAtOnce) {
  auto first = begin_first([this] {
    gate_.get_future().wait();
    return uploaded("oss://1");  // which expires too soon to be kept
  });
  auto second = begin(never);
  auto third = begin(never);
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  gate_.set_value();
  EXPECT_EQ(first.get(), "oss://1");
  EXPECT_EQ(second.get(), "oss://1");
  EXPECT_EQ(third.get(), "oss://1");
}

TEST_F(SharedUpload, IsMadeByAnotherCallerIfItFails) {
  auto first = begin_first([this]() -> v1::UploadMediaResponse {
    gate_.get_future().wait();
    throw std::runtime_error("no");
  });
  std::atomic<int> uploads{0};
  const auto upload = [&] {
    ++uploads;
    return uploaded("oss://2", std::time(nullptr) + 7200);
  };
  auto second = begin(upload);
  auto third = begin(upload);
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  gate_.set_value();
  EXPECT_THROW(first.get(), std::runtime_error);
  EXPECT_EQ(second.get(), "oss://2");
  EXPECT_EQ(third.get(), "oss://2");
  EXPECT_EQ(uploads, 1);
}

TEST_F(SharedUpload, IsNotWaitedForAfterACancellationOrTheDeadline) {
  auto first = begin_first([this] {
    gate_.get_future().wait();
    return uploaded("oss://1");
  });
  dashgate::CancellationSource source;
  auto second = begin(never, source.token());
  auto third = begin(never, {}, std::chrono::system_clock::now() + std::chrono::milliseconds(20));
  const auto late = failure_of([&] { third.get(); });
  EXPECT_EQ(late.code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(late.raw_reason(), "DEADLINE_EXCEEDED");
  source.cancel();
  EXPECT_EQ(failure_of([&] { second.get(); }).code(), grpc::StatusCode::CANCELLED);
  gate_.set_value();
  EXPECT_EQ(first.get(), "oss://1");
}

}  // namespace
