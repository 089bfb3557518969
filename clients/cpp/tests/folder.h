// Tests with files of their own.
#ifndef DASHGATE_TESTS_FOLDER_H_
#define DASHGATE_TESTS_FOLDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tests {

// A folder that is removed after the test.
class FolderTest : public testing::Test {
 protected:
  FolderTest() {
    // mkdtemp replaces six of this letter.
    std::string name = std::filesystem::temp_directory_path() / ("dashgate-" + std::string(6, 'X'));
    folder_ = mkdtemp(name.data());
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }

  std::filesystem::path folder_;
};

}  // namespace tests

#endif  // DASHGATE_TESTS_FOLDER_H_
