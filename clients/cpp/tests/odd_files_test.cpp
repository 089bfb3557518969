// Paths that name no regular file.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "folder.h"
#include "server.h"

namespace {

using dashgate::Client;

class OddFiles : public tests::FolderTest {
 protected:
  OddFiles() {
    EXPECT_EQ(mkfifo((folder_ / "pipe.wav").c_str(), 0600), 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (folder_ / "socket").c_str(), sizeof(address.sun_path) - 1);
    socket_ = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::filesystem::create_directory(folder_ / "directory");
    std::filesystem::create_symlink(folder_ / "pipe.wav", folder_ / "link.wav");
  }
  ~OddFiles() override { close(socket_); }

  std::vector<std::filesystem::path> all() const {
    return {folder_ / "pipe.wav",  folder_ / "link.wav", folder_ / "socket",
            folder_ / "directory", "/dev/zero",          folder_ / "nothing"};
  }

  int socket_ = -1;
};

// A file that waits would run into the limit of the tests.
template <class Read>
void expect_refused(const std::filesystem::path& path, const Read& read) {
  try {
    read();
    FAIL() << path;
  } catch (const std::filesystem::filesystem_error& error) {
    EXPECT_EQ(error.path1(), path);
  }
}

TEST_F(OddFiles, AreNotAttached) {
  for (const auto& path : all()) {
    expect_refused(path, [&] { dashgate::audio(path); });
    expect_refused(path, [&] { dashgate::image(path, "image/png"); });
    expect_refused(path, [&] { dashgate::video(std::vector<dashgate::Source>{path}); });
    expect_refused(path, [&] { dashgate::audio("file://" + path.string()); });
  }
}

// The system would read the name up to there.
TEST_F(OddFiles, ANameWithANulIsNoFile) {
  std::ofstream(folder_ / "private") << "secret";
  const std::filesystem::path path((folder_ / "private").string() + '\0' + ".wav");
  expect_refused(path, [&] { dashgate::audio(path); });
  expect_refused(path, [&] { dashgate::audio(path.string()); });
  expect_refused(path, [&] { dashgate::TlsOptions::from_files(path, {}, {}); });
  expect_refused(path,
                 [&] { dashgate::audio("file://" + (folder_ / "private").string() + "%00.wav"); });
}

TEST_F(OddFiles, AreNotUploaded) {
  tests::Server server;
  const Client client(server.options());
  for (const auto& path : all()) expect_refused(path, [&] { client.upload("m", path); });
  EXPECT_TRUE(server.seen().empty());
}

TEST_F(OddFiles, AreNotSentInPlaceOfALargeFile) {
  tests::Server server;
  const Client client(server.options());
  const auto path = write("a.wav", std::string(5'000'000, 'x'));
  dashgate::Conversation conversation("m");
  conversation.user(dashgate::audio(path));
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  // The path names another file than the one that was attached.
  for (const auto& error : {tests::failure_of([&] { client.converse(conversation); }),
                            tests::failure_of([&] { client.stream(conversation); })}) {
    EXPECT_EQ(error.code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(error.message().find(path.string()), std::string::npos);
  }
  EXPECT_TRUE(server.seen().empty());
}

TEST_F(OddFiles, OfTheSystemAreReadWithoutASize) {
  EXPECT_FALSE(dashgate::audio("/proc/self/status", "audio/wav").audio().data().empty());
}

}  // namespace
