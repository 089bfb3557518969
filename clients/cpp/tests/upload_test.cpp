#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <streambuf>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;

// The recorded upload.
struct Got {
  v1::MediaDescription description;
  std::string bytes;
  std::size_t largest = 0;
};

void take_all(tests::Server& server, Got& got) {
  server.upload = [&got](grpc::ServerContext&, tests::ChunkReader& reader,
                         v1::UploadMediaResponse& response) {
    v1::UploadMediaRequest request;
    while (reader.Read(&request)) {
      if (request.has_description()) got.description = request.description();
      got.bytes += request.chunk();
      got.largest = std::max(got.largest, request.chunk().size());
    }
    response.set_uri("oss://b/1");
    return grpc::Status::OK;
  };
}

const std::string kFilm = "RIFF1234AVI " + std::string(700'000, 'f');

TEST(Upload, OfAPathIsReadInChunks) {
  tests::Server server;
  Got got;
  take_all(server, got);
  const auto path =
      std::filesystem::temp_directory_path() / ("dashgate-" + std::to_string(getpid()) + ".bin");
  std::ofstream(path, std::ios::binary) << kFilm;
  const auto uploaded = Client(server.options()).upload("m", path);
  std::filesystem::remove(path);
  EXPECT_EQ(uploaded.uri(), "oss://b/1");
  EXPECT_EQ(got.bytes, kFilm);
  EXPECT_EQ(got.largest, 256U * 1024U);
  EXPECT_EQ(got.description.model(), "m");
  EXPECT_EQ(got.description.name(), path.filename().string());
  EXPECT_EQ(got.description.mime_type(), "video/x-msvideo");
  EXPECT_EQ(static_cast<std::size_t>(got.description.size_bytes()), kFilm.size());
  EXPECT_EQ(server.seen().at(0).metadata.find("x-request-id")->second.size(), 36U);
}

TEST(Upload, OfBytesAndOfAStream) {
  tests::Server server;
  Got got;
  take_all(server, got);
  const Client client(server.options());
  dashgate::UploadOptions options;
  options.name = "a.mkv";
  options.request_id = "mine";
  client.upload_bytes("m", "what", options);
  EXPECT_EQ(got.bytes, "what");
  EXPECT_EQ(got.description.mime_type(), "video/x-matroska");
  EXPECT_EQ(got.description.size_bytes(), 4);
  EXPECT_EQ(server.seen().at(0).metadata.find("x-request-id")->second, "mine");

  got = {};
  std::istringstream media("skip" + kFilm);
  media.seekg(4);
  client.upload("m", media);
  EXPECT_EQ(got.bytes, kFilm);
  EXPECT_EQ(static_cast<std::size_t>(got.description.size_bytes()), kFilm.size());

  got = {};
  client.upload_bytes("m", "");
  EXPECT_EQ(got.description.model(), "m");
  EXPECT_EQ(got.bytes, "");
}

// A source of unknown size that fails after a few bytes, if configured.
class Pipe : public std::streambuf {
 public:
  explicit Pipe(bool fails) : fails_(fails) {}

 protected:
  int_type underflow() override {
    if (pieces_-- == 0) {
      if (fails_) throw std::runtime_error("the pipe broke");
      return traits_type::eof();
    }
    setg(piece_.data(), piece_.data(), piece_.data() + piece_.size());
    return traits_type::to_int_type(piece_[0]);
  }

 private:
  std::string piece_ = std::string(300'000, 'p');
  int pieces_ = 3;
  bool fails_;
};

TEST(Upload, OfAPipeHasNoSize) {
  tests::Server server;
  Got got;
  take_all(server, got);
  Pipe pipe(false);
  std::istream media(&pipe);
  Client(server.options()).upload("m", media);
  EXPECT_EQ(got.bytes.size(), 900'000U);
  EXPECT_FALSE(got.description.has_size_bytes());
}

TEST(Upload, OfAPipeThatBreaksIsCancelled) {
  tests::Server server;
  Got got;
  take_all(server, got);
  Pipe pipe(true);
  std::istream media(&pipe);
  EXPECT_THROW(Client(server.options()).upload("m", media), std::ios_base::failure);
  EXPECT_TRUE(server.wait_for_cancelled_calls(1));
}

TEST(Upload, ARefusalEndsIt) {
  tests::Server server;
  server.upload = [](auto&&, auto&&, auto&&) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "too large");
  };
  try {
    Client(server.options()).upload_bytes("m", std::string(20'000'000, 'x'));
    FAIL() << "nothing was thrown";
  } catch (const dashgate::Error& error) {
    EXPECT_EQ(error.code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(error.message(), "too large");
    EXPECT_EQ(error.request_id().size(), 36U);
  }
}

TEST(Upload, AFileThatIsNotThereMakesNoCall) {
  tests::Server server;
  EXPECT_THROW(Client(server.options()).upload("m", std::filesystem::path("nothing.mp4")),
               std::filesystem::filesystem_error);
  EXPECT_TRUE(server.seen().empty());
}

}  // namespace
